//! `indicia services`: the catalogue.

mod check;
mod show;
mod try_out;

use indicia_catalog::service::Origin;
use indicia_catalog::{Catalogue, Service};
use serde_json::{Value, json};

use crate::args::{Services, ServicesCommand};
use crate::commands::word;
use crate::failure::Failure;
use crate::home::Cx;

/// Does what was asked.
pub fn run(cx: &Cx, args: Services) -> Result<(), Failure> {
    match (args.command, args.name) {
        (Some(ServicesCommand::Show { name }), _) | (None, Some(name)) => show::run(cx, &name),
        (Some(ServicesCommand::Check { file }), _) => check::run(cx, file.as_deref()),
        (Some(ServicesCommand::Try { file, seed }), _) => try_out::run(cx, &file, seed),
        (Some(ServicesCommand::List) | None, _) => list(cx),
    }
}

fn list(cx: &Cx) -> Result<(), Failure> {
    let catalogue: Catalogue = cx.catalogue()?;
    let services: Vec<_> = catalogue.ids().iter().filter_map(|id| catalogue.service(id)).collect();
    if cx.out.json {
        let services: Vec<Value> = services.iter().map(|service| brief(service)).collect();
        let problems: Vec<Value> = catalogue.problems().iter().map(check::document).collect();
        return cx.out.document(&json!({ "services": services, "problems": problems }));
    }
    let rows: Vec<Vec<String>> = services
        .iter()
        .map(|service| {
            let flows: Vec<String> = service.flows.iter().map(word).collect();
            vec![
                service.id.clone(),
                service.name.clone(),
                service.surface.clone(),
                flows.join(", "),
                origin(service),
            ]
        })
        .collect();
    cx.out.table(&["NAME", "SERVICE", "API", "FLOWS", "FROM"], &rows)?;
    for problem in catalogue.problems() {
        cx.out.warning(&problem.to_string());
    }
    cx.out.note("one in full, with how to register there: indicia services show NAME");
    Ok(())
}

/// One line of the list, as JSON.
fn brief(service: &Service) -> Value {
    json!({
        "id": service.id,
        "name": service.name,
        "surface": service.surface,
        "flows": service.flows,
        "origin": origin(service),
    })
}

/// Where the service's file comes from.
fn origin(service: &Service) -> String {
    match &service.origin {
        Origin::Shipped => "shipped".to_owned(),
        Origin::Own(path) => path.display().to_string(),
        Origin::Overrides(path) => format!("overridden by {}", path.display()),
    }
}
