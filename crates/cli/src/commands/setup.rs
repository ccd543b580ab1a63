//! `indicia setup SERVICE`: the guided way from nothing to the first token. It asks what the other
//! commands want to be told, and does nothing that they couldn't.
//!
//! What would surprise: it can be left at any question. What was done by then stays, and is not
//! asked for again.

use std::collections::BTreeMap;

use indicia_broker::Error;
use indicia_broker::clients::NewClient;
use indicia_broker::list::ConnectionQuery;
use indicia_broker::probe::Probed;
use indicia_broker::view::{ClientView, ConnectionState, ConnectionView};
use indicia_catalog::template::{Input, InputFrom, Level};
use indicia_catalog::{Capability, ClientKind, Flow, Service};
use indicia_oauth::ClientSecret;
use serde_json::json;

use crate::args::{Connect, SecretSource, Setup};
use crate::commands::{clients, connect};
use crate::failure::Failure;
use crate::home::{Cx, beside};
use crate::prompt;
use crate::words::shown;

/// Goes through it.
pub fn run(cx: &Cx, args: &Setup) -> Result<(), Failure> {
    let catalogue = cx.catalogue()?;
    let service = catalogue.service(&args.service);
    let service = service.ok_or_else(|| Error::no_service(&catalogue, &args.service))?;
    if !prompt::somebody_is_there() {
        let id = &service.id;
        let hint = format!(
            "without a terminal: `indicia services show {id}`, `indicia clients add {id} …`, \
             `indicia connect {id}`"
        );
        return Err(Failure::usage("needs_terminal", "setup asks questions", hint));
    }
    let view = cx.block_on(async {
        let client = client(cx, &service, args).await?;
        let view = connection(cx, &service, &client).await?;
        check(cx, &view).await?;
        Ok(view)
    })?;
    if cx.out.json {
        let line = format!("indicia token {}", view.id);
        return cx.out.document(&json!({ "connection": view, "next": line }));
    }
    cx.out.say("done. A script gets a token that is valid now by");
    cx.out.line(&format!("indicia token {}", view.id))?;
    cx.out.say(&format!("or runs with one: indicia exec {} -- COMMAND", view.id));
    Ok(())
}

/// The client that is there, or a new one.
async fn client(cx: &Cx, service: &Service, args: &Setup) -> Result<ClientView, Failure> {
    let broker = cx.broker().await?;
    let all = broker.clients().await?;
    if let Some(client) = all.into_iter().find(|client| client.service == service.id) {
        cx.out.say(&format!("client {} is there: going on with it", client.id));
        return Ok(client);
    }
    let mut new = NewClient { service: service.id.clone(), ..NewClient::default() };
    new.environment = clients::environment(args.sandbox.as_deref())?;
    portal(cx, service);
    new.inputs = ask_inputs(service, Level::Client).await?;
    for setting in &service.settings {
        let question = format!("{} ({})", shown(&setting.help), setting.values.join(", "));
        let check = |text: &str| service.check_setting(&setting.name, text).map_err(words);
        let value = ask(question, Some(setting.default.clone()), check).await?;
        new.settings.insert(setting.name.clone(), value);
    }
    if service.registers() {
        credentials(service, &mut new).await?;
    }
    let added = broker.add_client(new).await?;
    clients::tell_key(cx, added.secrets.first());
    cx.out.say(&format!("added as client {}", added.id));
    Ok(added)
}

/// What to click there.
fn portal(cx: &Cx, service: &Service) {
    cx.out.say(&format!("{}: register an application at", shown(&service.name)));
    cx.out.say(&shown(&service.portal_url));
    for (n, step) in service.portal_steps.iter().enumerate() {
        cx.out.say(&format!("  {}. {}", n + 1, shown(step)));
    }
    if service.flows.contains(&Flow::AuthorizationCode) {
        let uri = service.redirect.default_uri(&service.id, cx.options.callback_port);
        cx.out.say(&format!("  redirect URI to enter there: {}", shown(&uri)));
        let caught = uri.starts_with("http://");
        cx.out.say(match caught {
            true => "  (the answer is caught on this machine)",
            false => "  (nothing needs to be there: the address is pasted back here)",
        });
    }
    if !service.redirect.note.is_empty() {
        cx.out.say(&format!("  {}", shown(&service.redirect.note)));
    }
}

async fn credentials(service: &Service, new: &mut NewClient) -> Result<(), Failure> {
    let some = |text: &str| match text.len() {
        0..=4_096 => Ok(()),
        _ => Err("it is longer than 4096 bytes".to_owned()),
    };
    new.client_id = Some(ask("client ID".to_owned(), None, some).await?);
    let kind = service.client_kinds.first().copied().unwrap_or(ClientKind::Confidential);
    if kind == ClientKind::Public {
        return Ok(());
    }
    let keys = service.client_keys.as_ref();
    let generate_key = match keys {
        None => false,
        Some(rule) if rule.only => true,
        Some(_) => {
            let question = "Make a private key in place of a client secret (safer)?";
            beside(move || prompt::confirm(question)).await?
        }
    };
    let source = SecretSource { secret_stdin: false, secret_file: None, generate_key };
    let algorithm = keys.and_then(|rule| rule.algorithms.first()).copied();
    new.secret = match algorithm.filter(|_| generate_key) {
        Some(algorithm) => Some(indicia::client_key::generate(algorithm)?),
        None => {
            let typed = beside(move || prompt::secret("client secret", &source)).await?;
            typed.map(|secret| ClientSecret::new(secret.as_str()))
        }
    };
    Ok(())
}

/// The client's connection that works, or a new one.
async fn connection(
    cx: &Cx,
    service: &Service,
    client: &ClientView,
) -> Result<ConnectionView, Failure> {
    let broker = cx.broker().await?;
    let query = ConnectionQuery { client: Some(client.id.clone()), ..ConnectionQuery::default() };
    let (there, _) = broker.connections(query, None, LOOKED_AT_MAX).await?;
    let works = |view: &&ConnectionView| {
        matches!(view.state, ConnectionState::Active | ConnectionState::Attention)
    };
    if let Some(view) = there.iter().find(works) {
        cx.out.say(&format!("connection {} is there", view.id));
        return Ok(view.clone());
    }
    // One that ended is renewed under its id.
    let id = there.first().map(|view| view.id.clone());
    let can = capabilities(cx, service).await?;
    let inputs = ask_inputs(service, Level::Connection).await?;
    let args = Connect {
        client: client.id.clone(),
        id,
        can: can.iter().map(ToString::to_string).collect(),
        scopes: Vec::new(),
        flow: None,
        inputs: inputs.into_iter().collect(),
        labels: Vec::new(),
        no_browser: false,
        other_account: false,
    };
    connect::connect(cx, args).await
}

/// What it must be able to do, and which scopes that takes: the portal may want them ticked.
async fn capabilities(cx: &Cx, service: &Service) -> Result<Vec<Capability>, Failure> {
    let known = &service.scopes.capabilities;
    let by_key = service.flows.first() == Some(&Flow::ApiKey);
    let Some(first) = known.keys().next().filter(|_| !by_key) else { return Ok(Vec::new()) };
    let names: Vec<&str> = known.keys().map(|c| c.as_str()).collect();
    cx.out.say(&format!("it can be: {}", names.join(", ")));
    let read = |text: &str| -> Result<Vec<Capability>, String> {
        let parts = text.split([',', ' ']).filter(|part| !part.is_empty());
        let parse = |part: &str| match part.parse::<Capability>() {
            Ok(capability) if known.contains_key(&capability) => Ok(capability),
            _ => Err(format!("there is no {part:?} here")),
        };
        parts.map(parse).collect()
    };
    let question = "what must the connection be able to do?".to_owned();
    let check = |text: &str| read(text).map(drop);
    let text = ask(question, Some(first.to_string()), check).await?;
    let wanted = read(&text).unwrap_or_default();
    let flow = service.flows.first().copied().unwrap_or(Flow::AuthorizationCode);
    if let Ok((scopes, optional)) = service.scopes_for_flow(flow, &wanted) {
        let all: Vec<String> = scopes.into_iter().chain(optional).collect();
        cx.out.say(&format!("where the portal lists scopes, tick these: {}", all.join(" ")));
    }
    Ok(wanted)
}

/// Inputs that somebody has to type.
async fn ask_inputs(service: &Service, level: Level) -> Result<BTreeMap<String, String>, Failure> {
    let mut given = BTreeMap::new();
    let needed =
        |input: &&Input| input.level == level && input.from == InputFrom::User && !input.optional;
    for input in service.inputs.iter().filter(needed) {
        let default = input.default.as_ref().map(|text| text.as_str().to_owned());
        // A default that is made from other inputs is filled in by itself.
        if default.as_ref().is_some_and(|text| text.contains('{')) {
            continue;
        }
        let question =
            format!("{} ({}, such as {})", input.name, shown(&input.help), input.example);
        let check = |text: &str| input.check(text).map_err(words);
        given.insert(input.name.clone(), ask(question, default, check).await?);
    }
    Ok(given)
}

/// Asks until the answer is one.
async fn ask(
    question: String,
    default: Option<String>,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<String, Failure> {
    loop {
        let (asked, usual) = (question.clone(), default.clone());
        let typed = beside(move || prompt::line_or(&asked, usual)).await?;
        match check(&typed) {
            Ok(()) => return Ok(typed.to_string()),
            Err(why) => beside(move || prompt::not_taken(&why)).await?,
        }
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A harmless call, where there is one.
async fn check(cx: &Cx, view: &ConnectionView) -> Result<(), Failure> {
    let broker = cx.broker().await?;
    let probed = cx.out.wait("trying the API", broker.probe(&view.id)).await?;
    match probed {
        Probed::Taken => {
            let account = view.account.as_ref().map(|account| {
                account.name.clone().unwrap_or_else(|| account.id.clone())
            });
            let of = account.map_or(String::new(), |name| format!(" (account {})", shown(&name)));
            cx.out.say(&format!("the API takes the token{of}"));
        }
        Probed::NoCall => {}
        Probed::Refused(status) => cx.out.warning(&format!(
            "the API refuses the token (status {status}): see which scopes the application has there"
        )),
        Probed::Unknown(why) => cx.out.warning(&format!("the API could not be tried: {why}")),
    }
    Ok(())
}

/// Connections that are looked through.
const LOOKED_AT_MAX: usize = 100;
