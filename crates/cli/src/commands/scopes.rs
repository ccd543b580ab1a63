//! `indicia scopes`: what was asked, what was granted, what is needed, what could be better.

use indicia_broker::scopes::{ScopeUse, ScopesReport};

use crate::args::Scopes;
use crate::commands::connect::capabilities;
use crate::failure::Failure;
use crate::home::Cx;

/// Compares.
pub fn run(cx: &Cx, args: &Scopes) -> Result<(), Failure> {
    let report = cx.block_on(async {
        let of_client = args.client.as_deref();
        let Some(id) = args.id.as_deref() else {
            let client = of_client.unwrap_or_default();
            cx.must_be_there("client", client)?;
            let broker = cx.broker().await?;
            let needed = capabilities(&broker, client, &args.can).await?;
            return Ok(broker.scopes_of_client(client, &needed).await?);
        };
        cx.must_be_there("connection", id)?;
        let broker = cx.broker().await?;
        let client = broker.connection(id).await?.client;
        let needed = capabilities(&broker, &client, &args.can).await?;
        Ok(broker.scopes(id, &needed).await?)
    })?;
    if cx.out.json {
        return cx.out.document(&report);
    }
    tell(cx, &report)
}

fn tell(cx: &Cx, report: &ScopesReport) -> Result<(), Failure> {
    let ScopesReport { connections, scopes, allows, advice, .. } = report;
    let one = report.connection.is_some();
    let rows: Vec<Vec<String>> = scopes.iter().map(|scope| row(scope, *connections, one)).collect();
    if rows.is_empty() {
        cx.out.line("no scopes were asked for or granted")?;
    } else {
        let head = ["SCOPE", "ASKED", "GRANTED", "NEEDED", "WHAT IT ALLOWS"];
        cx.out.table(&head, &rows)?;
    }
    if !allows.is_empty() {
        let allows = allows.iter().map(|capability| capability.as_str()).collect::<Vec<_>>();
        cx.out.note(&format!("it can: {}", allows.join(", ")));
    }
    for advice in advice {
        cx.out.line(&format!("{}\n  next: {}", advice.detail, advice.next_step))?;
    }
    if scopes.iter().any(|scope| scope.needed.is_none()) && !report.full_access {
        cx.out.note("which are needed is told with --can and what it must be able to do");
    }
    Ok(())
}

fn row(scope: &ScopeUse, connections: u64, one: bool) -> Vec<String> {
    let yes_no = |yes| if yes { "yes" } else { "no" }.to_owned();
    let count = |n: u64| if one { yes_no(n > 0) } else { format!("{n} of {connections}") };
    vec![
        scope.scope.clone(),
        count(scope.asked),
        count(scope.granted),
        scope.needed.map_or_else(|| "–".to_owned(), yes_no),
        scope.meaning.clone().unwrap_or_default(),
    ]
}
