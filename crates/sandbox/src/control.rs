//! The start page, and the control calls under `/_sandbox/`: record, clock, faults, clients,
//! clicks.
//!
//! Nothing here asks for a password, so a page in somebody's browser must not reach it: calls that
//! change something are JSON, and only a `Host` of this machine is answered.

use std::collections::BTreeMap;

use indicia_catalog::ClientKind;
use indicia_oauth::Answer;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::clients::Registration;
use crate::faults::Fault;
use crate::http::{OwnHost, Shared, locked};
use crate::model::Model;
use crate::pages::{self, ServiceLine};
use crate::wire::{self, Incoming, Params};

/// A problem as JSON.
pub(crate) fn problem(status: u16, code: &str, detail: &str) -> Answer {
    wire::json(status, &json!({ "code": code, "detail": detail }))
}

/// Answers `/` and everything under `/_sandbox/`.
pub(crate) fn answer(shared: &Shared, request: &Incoming, own_host: OwnHost) -> Answer {
    if own_host == OwnHost::No {
        let detail = format!("ask for http://{} itself, not by another name", shared.addr);
        return problem(421, "wrong_host", &detail);
    }
    let result = match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/") => return wire::page(200, start_page(shared)),
        ("GET", "/_sandbox/record") => record(shared, request),
        ("POST", "/_sandbox/clock") => body(request).map(|clock| move_clock(shared, &clock)),
        ("GET", "/_sandbox/clock") => Ok(clock_now(shared)),
        ("GET", "/_sandbox/faults") => Ok(list_faults(shared)),
        ("POST", "/_sandbox/faults") => body(request).and_then(|add| add_faults(shared, &add)),
        ("DELETE", "/_sandbox/faults") => Ok(clear_faults(shared)),
        ("POST", "/_sandbox/register") => body(request).and_then(|client| register(shared, client)),
        ("POST", "/_sandbox/keys") => body(request).and_then(|key| add_key(shared, &key)),
        ("POST", "/_sandbox/approve") => body(request).and_then(|click| approve(shared, &click)),
        ("POST", "/_sandbox/owner-revokes") => {
            body(request).and_then(|owner| owner_revokes(shared, &owner))
        }
        ("POST", "/_sandbox/secrets") => {
            body(request).and_then(|secrets| set_secrets(shared, secrets))
        }
        (method, path) => Err(problem(
            404,
            "not_found",
            &format!("there is no {method} {path}; there are: {}", CALLS.join(", ")),
        )),
    };
    match result {
        Ok(value) => wire::json(200, &value),
        Err(problem) => problem,
    }
}

/// The control calls.
const CALLS: [&str; 12] = [
    "GET /",
    "GET /_sandbox/record?service=ID",
    "GET /_sandbox/clock",
    "POST /_sandbox/clock",
    "GET /_sandbox/faults",
    "POST /_sandbox/faults",
    "DELETE /_sandbox/faults",
    "POST /_sandbox/register",
    "POST /_sandbox/keys",
    "POST /_sandbox/approve",
    "POST /_sandbox/owner-revokes",
    "POST /_sandbox/secrets",
];

fn body<T: DeserializeOwned>(request: &Incoming) -> Result<T, Answer> {
    if request.media_type() != "application/json" {
        let detail = "send a JSON body with Content-Type: application/json";
        return Err(problem(415, "not_json", detail));
    }
    serde_json::from_slice(&request.body)
        .map_err(|error| problem(400, "bad_body", &format!("the body can't be read: {error}")))
}

fn unknown_service(shared: &Shared, id: &str) -> Answer {
    let known: Vec<&str> = shared.services().map(String::as_str).collect();
    let detail = format!("no service {id:?} here; there are: {}", known.join(", "));
    problem(404, "unknown_service", &detail)
}

fn with_model<T>(
    shared: &Shared,
    service: &str,
    work: impl FnOnce(&mut Model) -> T,
) -> Result<T, Answer> {
    let model = shared.model(service);
    let mut model = model.ok_or_else(|| unknown_service(shared, service))?;
    Ok(work(&mut model))
}

fn start_page(shared: &Shared) -> String {
    let line = |id: &String| {
        let model = shared.model(id)?;
        let service = model.service();
        let flows = json!(service.flows);
        let flows = flows.as_array().into_iter().flatten().filter_map(Value::as_str);
        Some(ServiceLine {
            id: id.clone(),
            name: service.name.clone(),
            surface: service.surface.clone(),
            flows: flows.collect::<Vec<_>>().join(", "),
        })
    };
    pages::start(&shared.services().filter_map(line).collect::<Vec<_>>())
}

fn record(shared: &Shared, request: &Incoming) -> Result<Value, Answer> {
    let query = Params::of_query(&request.query);
    if let Some(service) = query.value("service") {
        return with_model(shared, service, |model| model.record().to_json());
    }
    let one = |id: &String| Some((id.clone(), shared.model(id)?.record().to_json()));
    let services: serde_json::Map<String, Value> = shared.services().filter_map(one).collect();
    Ok(json!({ "now": shared.now(), "services": services }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clock {
    advance_seconds: i64,
}

fn move_clock(shared: &Shared, clock: &Clock) -> Value {
    shared.advance(clock.advance_seconds);
    clock_now(shared)
}

fn clock_now(shared: &Shared) -> Value {
    json!({ "now": crate::when::rfc3339(shared.now()), "now_millis": shared.now() })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddFaults {
    add: Vec<String>,
}

fn list_faults(shared: &Shared) -> Value {
    json!({ "faults": locked(&shared.faults).list() })
}

/// All or none.
fn add_faults(shared: &Shared, add: &AddFaults) -> Result<Value, Answer> {
    let parsed: Result<Vec<Fault>, _> = add.add.iter().map(|text| text.parse()).collect();
    let parsed = parsed.map_err(|error| problem(400, "bad_fault", &error.to_string()))?;
    for fault in parsed {
        if !locked(&shared.faults).add(fault) {
            return Err(problem(400, "too_many_faults", "take some back first"));
        }
    }
    shared.apply_skews();
    Ok(list_faults(shared))
}

fn clear_faults(shared: &Shared) -> Value {
    locked(&shared.faults).clear();
    shared.apply_skews();
    list_faults(shared)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    service: String,
    client_id: String,
    #[serde(default)]
    secrets: Vec<String>,
    kind: Option<ClientKind>,
    #[serde(default)]
    redirect_uris: Vec<String>,
    #[serde(default)]
    inputs: BTreeMap<String, String>,
    #[serde(default)]
    settings: BTreeMap<String, String>,
}

fn register(shared: &Shared, client: Register) -> Result<Value, Answer> {
    let kind = match (client.kind, client.secrets.is_empty()) {
        (Some(kind), _) => kind,
        (None, true) => ClientKind::Public,
        (None, false) => ClientKind::Confidential,
    };
    let told = json!({ "service": client.service, "client_id": client.client_id, "kind": kind });
    let service = client.service;
    let registration = Registration {
        client_id: client.client_id,
        secrets: client.secrets,
        kind,
        redirect_uris: client.redirect_uris,
        inputs: client.inputs,
        settings: client.settings,
    };
    with_model(shared, &service, |model| model.register(registration))?;
    Ok(told)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    service: String,
    key: String,
    #[serde(default)]
    account: String,
}

/// Plays an account's owner who makes an API key.
fn add_key(shared: &Shared, new: &NewKey) -> Result<Value, Answer> {
    let now = shared.now();
    let checked = with_model(shared, &new.service, |model| {
        let checked = model.service().check_api_key(&new.key);
        if checked.is_ok() {
            model.add_key(&new.key, &new.account, now);
        }
        checked
    })?;
    match checked {
        Ok(()) => Ok(json!({ "service": new.service, "account": new.account })),
        Err(error) => Err(problem(400, "bad_key", &error.to_string())),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Click {
    authorize_url: String,
    #[serde(default)]
    account: String,
    #[serde(default)]
    deny: bool,
    /// Allows these alone.
    scopes: Option<Vec<String>>,
}

/// Plays the click of the account's owner.
fn approve(shared: &Shared, click: &Click) -> Result<Value, Answer> {
    let request = Incoming::get(&click.authorize_url);
    let found = request.as_ref().and_then(|request| shared.service_at(request));
    let Some((service, _)) = found else {
        let detail = "authorize_url is no address of a service here";
        return Err(problem(400, "bad_authorize_url", detail));
    };
    let now = shared.now();
    let Click { authorize_url, account, .. } = click;
    let clicked = with_model(shared, service, |model| match (&click.scopes, click.deny) {
        (_, true) => model.deny(authorize_url, account, now),
        (None, false) => model.approve(authorize_url, account, now),
        (Some(only), false) => model.approve_only(authorize_url, account, only, now),
    })?;
    match clicked {
        Ok(callback_url) => Ok(json!({ "callback_url": callback_url })),
        Err(refused) => {
            let mut answer = json!({ "code": refused.code, "detail": refused.to_string() });
            if let (Some(url), Value::Object(members)) = (refused.callback_url, &mut answer) {
                members.insert("callback_url".to_owned(), json!(url));
            }
            Err(wire::json(400, &answer))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    service: String,
    account: String,
    client_id: String,
}

fn owner_revokes(shared: &Shared, owner: &Owner) -> Result<Value, Answer> {
    let now = shared.now();
    let ended = with_model(shared, &owner.service, |model| {
        model.owner_revokes(&owner.account, &owner.client_id, now)
    })?;
    Ok(json!({ "grants_ended": ended }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Secrets {
    service: String,
    client_id: String,
    secrets: Vec<String>,
}

fn set_secrets(shared: &Shared, wanted: Secrets) -> Result<Value, Answer> {
    let count = wanted.secrets.len();
    let set = with_model(shared, &wanted.service, |model| {
        model.set_secrets(&wanted.client_id, wanted.secrets)
    })?;
    match set {
        true => Ok(json!({ "client_id": wanted.client_id, "secrets": count })),
        false => {
            let detail = format!("client {:?} isn't registered", wanted.client_id);
            Err(problem(404, "unknown_client", &detail))
        }
    }
}
