//! `indicia sandbox`: the simulated services over HTTP, until it is stopped.

use std::sync::Arc;

use indicia_catalog::template::{InputFrom, Level};
use indicia_catalog::{ClientKind, Service};
use indicia_sandbox::faults::{ENDPOINTS, Fault, KINDS};
use indicia_sandbox::{Options, Sandbox as Running, StartOptions};
use serde_json::json;

use crate::args::Sandbox;
use crate::failure::Failure;
use crate::home::Cx;

/// Runs until a signal comes.
pub fn run(cx: &Cx, args: Sandbox) -> Result<(), Failure> {
    let options = start_options(cx, &args)?;
    let services = options.services.clone();
    cx.block_on(async {
        let running = Running::start(options).await.map_err(|error| {
            let hint = "choose another loopback address with --listen, such as 127.0.0.1:0";
            Failure::failed("cannot_listen", format!("{}: {error}", args.listen), hint)
        })?;
        announce(cx, &running, &services)?;
        std::future::pending::<Result<(), Failure>>().await
    })
    .or_else(|failure| match failure {
        // Being stopped is how it ends.
        Failure::Interrupted(_) => Ok(()),
        other => Err(other),
    })
}

fn start_options(cx: &Cx, args: &Sandbox) -> Result<StartOptions, Failure> {
    let listen = args.listen.parse().map_err(|_| {
        let detail = format!("--listen: {:?} is no address with a port", args.listen);
        Failure::usage("listen_refused", detail, "write it like 127.0.0.1:8918")
    })?;
    let mut faults = Vec::new();
    let mut problems = Vec::new();
    for text in &args.faults {
        match text.parse::<Fault>() {
            Ok(fault) => faults.push(fault),
            Err(error) => problems.push(format!("--fault: {error}")),
        }
    }
    if !problems.is_empty() {
        let hint = format!("kinds: {}; endpoints: {}", KINDS.join(", "), ENDPOINTS.join(", "));
        return Err(Failure::usage("fault_refused", problems.join("\n"), hint));
    }
    let catalogue = cx.catalogue()?;
    Ok(StartOptions {
        listen,
        services: catalogue.ids().iter().filter_map(|id| catalogue.service(id)).collect(),
        options: Options {
            seed: args.seed,
            life_max: args.life,
            accept_any_client: true,
            ..Options::default()
        },
        faults,
    })
}

/// The address, and what to type next.
fn announce(cx: &Cx, running: &Running, services: &[Arc<Service>]) -> Result<(), Failure> {
    let address = running.addr.to_string();
    if cx.out.json {
        let clients: Vec<_> = services
            .iter()
            .map(|service| json!({ "service": service.id, "add": line(service, &address) }))
            .collect();
        return cx.out.document(&json!({
            "address": address,
            "record": format!("http://{address}/_sandbox/record"),
            "clients": clients,
        }));
    }
    cx.out.line(&format!("the sandbox listens on http://{address}"))?;
    cx.out.note("\na client for each service (any client ID and secret will do):");
    for service in services {
        cx.out.note(&format!("  {}", line(service, &address)));
    }
    cx.out.note(&format!(
        "\nthen `indicia connect SERVICE`, and log in as anybody\n\
         what it saw: http://{address}/_sandbox/record\n\
         its clock:   curl -d '{{\"advance_seconds\":3600}}' -H content-type:application/json \
         http://{address}/_sandbox/clock\n\
         add a fault: curl -d '{{\"add\":[\"error-before=503@refresh\"]}}' \
         -H content-type:application/json http://{address}/_sandbox/faults\n\
         no faults:   curl -X DELETE http://{address}/_sandbox/faults\n\
         (endpoints: {}; kinds: indicia sandbox --help)\n\
         stop it with Ctrl-C",
        ENDPOINTS.join(", ")
    ));
    Ok(())
}

/// The line that adds a client of this service.
fn line(service: &Service, address: &str) -> String {
    let kind = service.client_kinds.first().copied().unwrap_or(ClientKind::Confidential);
    let mut line = format!("indicia clients add {} --client-id demo", service.id);
    for input in &service.inputs {
        let typed = input.from == InputFrom::User && input.level == Level::Client;
        if typed && !input.optional && input.default.is_none() {
            line += &format!(" --input {}={}", input.name, input.example);
        }
    }
    line += &format!(" --sandbox {address}");
    match kind {
        ClientKind::Confidential => format!("echo demo | {line} --secret-stdin"),
        ClientKind::Public => line,
    }
}
