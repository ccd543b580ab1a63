//! `indicia clients`: registered applications and their secrets. Works offline.

mod rotate;

use std::collections::BTreeMap;

use indicia_broker::Error;
use indicia_broker::clients::NewClient;
use indicia_broker::model::{Environment, SecretState};
use indicia_broker::view::{ClientView, SecretView};
use indicia_catalog::{ClientKind, Flow, Service};
use indicia_oauth::{ClientSecret, Timestamp};
use serde_json::json;

use crate::args::{Clients, ClientsAdd, ClientsCommand, Kind, SecretSource, SecretsCommand};
use crate::commands::connections::OVERRIDDEN;
use crate::commands::word;
use crate::failure::Failure;
use crate::home::Cx;
use crate::output::{day, now, when};
use crate::prompt;

/// Does what was asked.
pub fn run(cx: &Cx, args: Clients) -> Result<(), Failure> {
    match args.command {
        None | Some(ClientsCommand::List) => list(cx),
        Some(ClientsCommand::Add(args)) => add(cx, *args),
        Some(ClientsCommand::Show { id }) => {
            let view = cx.block_on(async {
                cx.must_be_there("client", &id)?;
                Ok(cx.broker().await?.client(&id).await?)
            })?;
            show(cx, &view)
        }
        Some(ClientsCommand::Set { id, settings }) => {
            let settings = once("setting", settings)?;
            let view = cx.block_on(async {
                cx.must_be_there("client", &id)?;
                Ok(cx.broker().await?.set_client(&id, &settings).await?)
            })?;
            show(cx, &view)
        }
        Some(ClientsCommand::Remove { id }) => {
            cx.block_on(async {
                cx.must_be_there("client", &id)?;
                Ok(cx.broker().await?.remove_client(&id).await?)
            })?;
            match cx.out.json {
                true => cx.out.document(&json!({ "removed": id })),
                false => cx.out.line(&format!("client {id} is removed")),
            }
        }
        Some(ClientsCommand::Secrets { client, command }) => secrets(cx, &client, command),
        Some(ClientsCommand::Rotate { id }) => rotate::run(cx, &id),
    }
}

fn add(cx: &Cx, args: ClientsAdd) -> Result<(), Failure> {
    let catalogue = cx.catalogue()?;
    let service = catalogue.service(&args.service);
    let service = service.ok_or_else(|| Error::no_service(&catalogue, &args.service))?;
    let kind = args.kind.map(|kind| match kind {
        Kind::Confidential => ClientKind::Confidential,
        Kind::Public => ClientKind::Public,
    });
    let mut problems = Vec::new();
    let environment = told(environment(args.sandbox.as_deref()), &mut problems);
    let secret_expires_at = args.secret_expires.as_deref().map(last_day).transpose();
    let secret_expires_at = told(secret_expires_at, &mut problems);
    let inputs = told(once("--input", args.inputs), &mut problems);
    let settings = told(once("--set", args.settings), &mut problems);
    // A person is asked only once all else is right.
    let asks = !problems.is_empty() && prompt::somebody_is_there();
    let secret = match asks {
        true => None,
        false => told(secret_for(&service, kind, &args.secret), &mut problems),
    };
    let all = (environment, secret_expires_at, inputs, settings, secret);
    let (Some(environment), Some(secret_expires_at), Some(inputs), Some(settings), Some(secret)) =
        all
    else {
        return Err(Failure::all(problems));
    };
    let new = NewClient {
        service: args.service,
        id: args.id,
        client_id: args.client_id,
        secret,
        secret_expires_at,
        kind,
        redirect_uri: args.redirect_uri,
        inputs,
        settings,
        environment,
    };
    let view = cx.block_on(async { Ok(cx.broker().await?.add_client(new).await?) })?;
    if cx.out.json {
        return cx.out.document(&view);
    }
    cx.out.line(&view.id)?;
    if let Some(path) = &view.overridden {
        let path = crate::words::shown(path);
        cx.out.note(&format!("{} is overridden by your own file {path}", view.service));
    }
    if service.flows.contains(&Flow::AuthorizationCode) {
        let uri = crate::words::shown(&view.redirect_uri);
        cx.out.note(&format!("redirect URI to enter in the portal: {uri}"));
    }
    tell_key(cx, view.secrets.first());
    cx.out.note(&format!("next: indicia connect {}", view.id));
    Ok(())
}

/// Takes what is right, and notes what isn't.
fn told<T>(read: Result<T, Failure>, problems: &mut Vec<Failure>) -> Option<T> {
    read.map_err(|failure| problems.push(failure)).ok()
}

/// The client's secret. A client that keeps one is asked for it; who can't be asked must say where
/// it is, or that there is none.
fn secret_for(
    service: &Service,
    kind: Option<ClientKind>,
    source: &SecretSource,
) -> Result<Option<ClientSecret>, Failure> {
    let said = source.secret_stdin || source.secret_file.is_some() || source.generate_key;
    let kind = kind.or_else(|| service.client_kinds.first().copied());
    if !said && kind != Some(ClientKind::Confidential) {
        return Ok(None);
    }
    if let Some(secret) = new_secret(service, "client secret", source)? {
        return Ok(Some(secret));
    }
    // RFC 9700 §2.5: what never leaves this machine can't leak elsewhere.
    let by_key =
        if service.client_keys.is_some() { "make a key with --generate-key, or " } else { "" };
    let hint = format!(
        "{by_key}give it with --secret-stdin or --secret-file FILE; a client without one: \
         --kind public"
    );
    let detail =
        format!("a confidential client of {} has a secret, and none was given", service.name);
    Err(Failure::usage("secret_missing", detail, hint))
}

/// A secret from where it was said to be, or a key that is made now.
fn new_secret(
    service: &Service,
    what: &str,
    source: &SecretSource,
) -> Result<Option<ClientSecret>, Failure> {
    if !source.generate_key {
        let secret = prompt::secret(what, source)?;
        return Ok(secret.map(|secret| ClientSecret::new(secret.as_str())));
    }
    let algorithm = service.client_keys.as_ref().and_then(|rule| rule.algorithms.first());
    let Some(algorithm) = algorithm else {
        let detail = format!("{} takes no keys, only client secrets", service.name);
        let hint = "leave --generate-key out; --secret-stdin reads the secret";
        return Err(Failure::usage("keys_not_offered", detail, hint));
    };
    Ok(Some(indicia::client_key::generate(*algorithm)?))
}

/// A key's public part, for the portal: the JWK in one line, and the same as PEM.
pub(super) fn tell_key(cx: &Cx, secret: Option<&SecretView>) {
    if let Some(key) = secret.and_then(|secret| secret.key.as_ref()) {
        cx.out.note(&format!("public key to enter in the portal, as JWK: {}", key.jwk));
        cx.out.note(&format!("or as PEM:\n{}", key.pem.trim_end()));
    }
}

pub(crate) fn environment(sandbox: Option<&str>) -> Result<Environment, Failure> {
    let Some(typed) = sandbox else {
        return Ok(Environment::Live);
    };
    let address = typed.strip_prefix("http://").unwrap_or(typed).trim_end_matches('/');
    match address.parse::<std::net::SocketAddr>() {
        Ok(parsed) if parsed.ip().is_loopback() => {
            Ok(Environment::Sandbox { address: parsed.to_string() })
        }
        _ => Err(Failure::usage(
            "sandbox_refused",
            format!("--sandbox: {typed:?} is no loopback address with a port"),
            "give the address that `indicia sandbox` prints, such as 127.0.0.1:8918",
        )),
    }
}

/// The end of a day, UTC.
fn last_day(text: &str) -> Result<Timestamp, Failure> {
    day(text, 1).ok_or_else(|| {
        Failure::usage("date_refused", format!("{text:?} is no date"), "write it as YYYY-MM-DD")
    })
}

/// A map of what may be said once each.
pub fn once(
    option: &str,
    pairs: Vec<(String, String)>,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        if map.insert(key.clone(), value).is_some() {
            let detail = format!("{option}: {key:?} is given twice");
            return Err(Failure::usage("given_twice", detail, "say it once"));
        }
    }
    Ok(map)
}

fn list(cx: &Cx) -> Result<(), Failure> {
    let views = match cx.home_is_there() {
        false => Vec::new(),
        true => cx.block_on(async { Ok(cx.broker().await?.clients().await?) })?,
    };
    if cx.out.json {
        return cx.out.document(&json!({ "clients": views }));
    }
    let rows: Vec<Vec<String>> = views
        .iter()
        .map(|view| {
            vec![
                view.id.clone(),
                match view.overridden {
                    Some(_) => format!("{}{OVERRIDDEN}", view.service),
                    None => view.service.clone(),
                },
                environment_word(&view.environment),
                word(&view.kind),
                view.client_id.clone(),
                if view.refused.is_some() { "refused by the service" } else { "" }.to_owned(),
            ]
        })
        .collect();
    cx.out.table(&["ID", "SERVICE", "ENVIRONMENT", "KIND", "CLIENT ID", ""], &rows)?;
    if rows.is_empty() {
        cx.out.note("there are no clients; `indicia services show NAME` tells how to register one");
    }
    Ok(())
}

fn environment_word(environment: &Environment) -> String {
    match environment {
        Environment::Live => "live".to_owned(),
        Environment::Sandbox { address } => format!("sandbox {address}"),
    }
}

fn show(cx: &Cx, view: &ClientView) -> Result<(), Failure> {
    if cx.out.json {
        return cx.out.document(view);
    }
    let pairs = |map: &BTreeMap<String, String>| {
        map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("\n")
    };
    cx.out.facts(&[
        ("client", view.id.clone()),
        ("service", view.service.clone()),
        ("overridden", view.overridden.clone().unwrap_or_default()),
        ("environment", environment_word(&view.environment)),
        ("client id", view.client_id.clone()),
        ("kind", word(&view.kind)),
        ("redirect URI", view.redirect_uri.clone()),
        ("inputs", pairs(&view.inputs)),
        ("settings", pairs(&view.settings)),
        ("public keys", keys(&view.secrets)),
        ("refused", view.refused.clone().unwrap_or_default()),
        ("added", when(view.created_at, now())),
    ])?;
    if !view.secrets.is_empty() {
        cx.out.line("")?;
    }
    secrets_table(cx, &view.secrets)
}

/// Public keys that the portal must know now, a JWK in each line.
fn keys(secrets: &[SecretView]) -> String {
    let live = secrets.iter().filter(|secret| secret.state != SecretState::Retired);
    let keys = live.filter_map(|secret| Some(secret.key.as_ref()?.jwk.to_string()));
    keys.collect::<Vec<_>>().join("\n")
}

fn secrets(cx: &Cx, client: &str, command: SecretsCommand) -> Result<(), Failure> {
    cx.must_be_there("client", client)?;
    let view = match command {
        SecretsCommand::List => {
            cx.block_on(async { Ok(cx.broker().await?.client(client).await?) })?
        }
        SecretsCommand::Promote { n } => {
            cx.block_on(async { Ok(cx.broker().await?.promote_secret(client, n).await?) })?
        }
        SecretsCommand::Retire { n } => {
            cx.block_on(async { Ok(cx.broker().await?.retire_secret(client, n).await?) })?
        }
        SecretsCommand::Add { secret, expires, for_input } => {
            let expires_at = expires.as_deref().map(last_day).transpose()?;
            let catalogue = cx.catalogue()?;
            let known = cx.block_on(async { Ok(cx.broker().await?.client(client).await?) })?;
            let service = catalogue.service(&known.service);
            let service = service.ok_or_else(|| Error::no_service(&catalogue, &known.service))?;
            let Some(secret) = new_secret(&service, "new client secret", &secret)? else {
                return Err(Failure::usage(
                    "secret_missing",
                    "no secret was given",
                    "give it with --secret-stdin or --secret-file FILE",
                ));
            };
            let view = cx.block_on(async {
                let broker = cx.broker().await?;
                Ok(broker.add_secret(client, secret, expires_at, for_input).await?)
            })?;
            tell_key(cx, view.secrets.last().filter(|_| !cx.out.json));
            view
        }
    };
    match cx.out.json {
        true => cx.out.document(&view),
        false => secrets_table(cx, &view.secrets),
    }
}

fn secrets_table(cx: &Cx, secrets: &[SecretView]) -> Result<(), Failure> {
    let rows: Vec<Vec<String>> = secrets
        .iter()
        .map(|secret| {
            vec![
                secret.n.to_string(),
                word(&secret.state),
                match secret.key {
                    Some(_) => "private key".to_owned(),
                    None => "secret".to_owned(),
                },
                when(secret.added_at, now()),
                secret.expires_at.map(|end| when(end, now())).unwrap_or_default(),
            ]
        })
        .collect();
    cx.out.table(&["SECRET", "STATE", "KIND", "ADDED", "LAST DAY ENDS"], &rows)
}
