//! `indicia services show NAME`: one service in full, with how to register there.

use std::collections::BTreeMap;
use std::time::Duration;

use indicia_broker::Error;
use indicia_catalog::service::RedirectRule;
use indicia_catalog::template::{Input, InputFrom, Level};
use indicia_catalog::{
    ApiBase, ClientKind, Context, RefreshRule, RevocationRule, Rotation, Service,
};
use serde_json::{Value, json};

use crate::commands::word;
use crate::failure::Failure;
use crate::home::Cx;
use crate::words::{shown, spoken};

/// What is asked of the catalogue for a client that has told nothing of itself yet.
struct Unregistered {
    inputs: BTreeMap<String, String>,
    settings: BTreeMap<String, String>,
    kind: ClientKind,
}

impl Unregistered {
    /// With the example of each input, so that addresses can be shown.
    fn of(service: &Service) -> Self {
        let inputs = service.inputs.iter().map(|i| (i.name.clone(), i.example.clone())).collect();
        let kind = service.client_kinds.first().copied().unwrap_or(ClientKind::Confidential);
        Self { inputs, settings: BTreeMap::new(), kind }
    }

    fn context(&self) -> Context<'_> {
        Context { kind: self.kind, inputs: &self.inputs, settings: &self.settings }
    }
}

/// Shows it.
pub fn run(cx: &Cx, name: &str) -> Result<(), Failure> {
    let catalogue = cx.catalogue()?;
    let service = catalogue.service(name).ok_or_else(|| Error::no_service(&catalogue, name))?;
    if cx.out.json {
        return cx.out.document(&document(cx, &service));
    }
    cx.out.facts(&[
        ("service", format!("{} ({})", service.name, service.id)),
        ("API", service.surface.clone()),
        ("from", super::origin(&service)),
        ("flows", words(&service.flows)),
        ("clients", words(&service.client_kinds)),
        ("PKCE", word(&service.pkce)),
        ("scopes", scopes_in_short(&service)),
        ("refresh", refresh(&service)),
        ("revocation", revocation(&service)),
        ("API calls to", api_base(&service)),
        ("API keys", api_keys(&service)),
        ("client keys", keys(&service)),
        ("client secrets", secrets(&service)),
        ("grant", grant(&service).to_owned()),
        ("limits", limits(&service)),
        ("ends", pairs(&service.ends)),
        ("not verified", unverified(&service).join(", ")),
    ])?;
    register(cx, &service)?;
    inputs(cx, &service)?;
    scopes(cx, &service)?;
    cx.out.line("\nsources:")?;
    for source in &service.sources {
        let (title, url) = (shown(&source.title), shown(&source.url));
        cx.out.line(&format!("  {title}, read {}\n    {url}", shown(&source.read)))?;
    }
    Ok(())
}

fn register(cx: &Cx, service: &Service) -> Result<(), Failure> {
    cx.out.line(&format!("\nhow to register a client, at {}:", shown(&service.portal_url)))?;
    for (n, step) in service.portal_steps.iter().enumerate() {
        cx.out.line(&format!("  {}. {}", n + 1, shown(step)))?;
    }
    let uri = default_uri(cx, service);
    cx.out.line(&format!("  redirect URI: {}", shown(&uri)))?;
    if !service.redirect.note.is_empty() {
        cx.out.line(&format!("  {}", shown(&service.redirect.note)))?;
    }
    let mut command = format!("indicia clients add {} --client-id X", service.id);
    for input in service.inputs.iter().filter(|i| is_needed(i)) {
        command += &format!(" --input {}={}", input.name, input.example);
    }
    cx.out.line(&format!("  then: {}", shown(&command)))
}

fn is_needed(input: &Input) -> bool {
    let typed = input.from == InputFrom::User && input.level == Level::Client;
    typed && !input.optional && input.default.is_none()
}

fn default_uri(cx: &Cx, service: &Service) -> String {
    let redirect: &RedirectRule = &service.redirect;
    redirect.default_uri(&service.id, cx.options.callback_port)
}

fn inputs(cx: &Cx, service: &Service) -> Result<(), Failure> {
    let rows: Vec<Vec<String>> = service
        .inputs
        .iter()
        .map(|input| {
            let given = match (&input.from, input.level) {
                (InputFrom::User, Level::Client) => "clients add --input",
                (InputFrom::User, Level::Connection) => "connect --input",
                _ => "learnt",
            };
            vec![input.name.clone(), given.to_owned(), input.example.clone(), input.help.clone()]
        })
        .collect();
    titled(cx, "inputs", &["INPUT", "GIVEN BY", "EXAMPLE", "WHAT IT IS"], &rows)?;
    let rows: Vec<Vec<String>> = service
        .settings
        .iter()
        .map(|setting| {
            let values = match setting.values.is_empty() {
                true => String::new(),
                false => setting.values.join(", "),
            };
            vec![setting.name.clone(), values, setting.default.clone(), setting.help.clone()]
        })
        .collect();
    titled(
        cx,
        "settings (clients add --set)",
        &["SETTING", "VALUES", "DEFAULT", "WHAT IT IS"],
        &rows,
    )
}

fn scopes(cx: &Cx, service: &Service) -> Result<(), Failure> {
    let known = &service.scopes.known;
    let rows: Vec<Vec<String>> =
        known.iter().map(|scope| vec![scope.name.clone(), scope.meaning.clone()]).collect();
    titled(cx, "scopes (connect --scope)", &["SCOPE", "WHAT IT ALLOWS"], &rows)?;
    let capabilities = &service.scopes.capabilities;
    let rows: Vec<Vec<String>> = capabilities
        .iter()
        .map(|(c, scopes)| vec![c.as_str().to_owned(), scopes.join(" ")])
        .collect();
    titled(cx, "capabilities (connect --can)", &["CAPABILITY", "LEAST SCOPES"], &rows)
}

fn titled(cx: &Cx, title: &str, head: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    if rows.is_empty() {
        return Ok(());
    }
    cx.out.line(&format!("\n{title}:"))?;
    cx.out.table(head, rows)
}

fn words(values: &[impl serde::Serialize]) -> String {
    values.iter().map(word).collect::<Vec<_>>().join(", ")
}

fn pairs(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}: {value}")).collect::<Vec<_>>().join("\n")
}

fn scopes_in_short(service: &Service) -> String {
    match (service.scopes.full_access, service.scopes.known.len()) {
        (true, _) => "none: a token is full access to the account".to_owned(),
        (false, 0) => "as the client is registered".to_owned(),
        (false, n) => format!("{n} known"),
    }
}

fn rule(service: &Service) -> RefreshRule {
    service.refresh_rule(Unregistered::of(service).context())
}

fn refresh(service: &Service) -> String {
    let rule = rule(service);
    if !rule.supported {
        return "no refresh tokens".to_owned();
    }
    let mut told = vec![match rule.rotation {
        Rotation::Rotates => "a new refresh token each time".to_owned(),
        Rotation::Keeps => "the refresh token stays".to_owned(),
        Rotation::May => "the refresh token may change".to_owned(),
    }];
    let mut add = |text: &str, time: Option<Duration>| {
        told.extend(time.map(|time| format!("{text} {}", spoken(time))));
    };
    add("a used one is forgiven for", rule.reuse_grace);
    add("it lives for", rule.lifetime);
    add("unused it dies after", rule.idle);
    if rule.kills_access {
        told.push("ends the access token before it".to_owned());
    }
    told.join("; ")
}

fn revocation(service: &Service) -> String {
    match service.revocation(Unregistered::of(service).context()) {
        Ok(RevocationRule::Call { endpoint, kills, .. }) => {
            format!("{} (ends the {})", endpoint.url, word(&kills))
        }
        Ok(RevocationRule::Cannot { by_hand }) => format!("this service can't: {by_hand}"),
        Err(_) => "depends on the client's inputs".to_owned(),
    }
}

fn api_base(service: &Service) -> String {
    match &service.api_base {
        ApiBase::Template(template) => template.as_str().to_owned(),
        ApiBase::FromAnswer { member, pattern } => format!("told by {member:?}, like {pattern}"),
        ApiBase::Unknown => String::new(),
    }
}

fn api_keys(service: &Service) -> String {
    let Some(rule) = &service.api_key else { return String::new() };
    format!("{}, like {}: {}", rule.parts.join(":"), rule.example, rule.help)
}

/// Keys before secrets, where there is a choice (RFC 9700 §2.5).
fn keys(service: &Service) -> String {
    let Some(rule) = &service.client_keys else { return String::new() };
    let names: Vec<_> = rule.algorithms.iter().map(|algorithm| algorithm.name()).collect();
    let instead = if rule.only { "no secrets" } else { "safer than a secret" };
    format!("{} ({instead}): `indicia clients add {} --generate-key`", names.join(", "), service.id)
}

fn secrets(service: &Service) -> String {
    if !service.registers() || service.client_keys.as_ref().is_some_and(|rule| rule.only) {
        return String::new();
    }
    let rule = &service.secrets;
    let mut told = vec![match rule.live_max {
        1 => "one at a time".to_owned(),
        n => format!("{n} at once"),
    }];
    told.extend(rule.lifetime.map(|time| format!("each lives for {}", spoken(time))));
    if !rule.note.is_empty() {
        told.push(rule.note.clone());
    }
    told.join("; ")
}

fn grant(service: &Service) -> &'static str {
    match service.grant_per_account {
        true => "one for each account: connections of a client to one account share it",
        false => "one for each connection",
    }
}

fn limits(service: &Service) -> String {
    let line = |limit: &indicia_catalog::service::Limit| {
        let per = word(&limit.per);
        format!("{} calls in {} per {per} {}", limit.calls, spoken(limit.window), limit.note)
    };
    service.limits.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn unverified(service: &Service) -> Vec<&str> {
    let facts = service.verified.iter().filter(|(_, verified)| !**verified);
    facts.map(|(fact, _)| fact.as_str()).collect()
}

fn document(cx: &Cx, service: &Service) -> Value {
    let rule = rule(service);
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
    let scopes: Vec<Value> = service
        .scopes
        .known
        .iter()
        .map(|scope| json!({ "name": scope.name, "meaning": scope.meaning }))
        .collect();
    let inputs: Vec<Value> = service
        .inputs
        .iter()
        .map(|input| {
            json!({
                "name": input.name,
                "level": match input.level { Level::Client => "client", Level::Connection => "connection" },
                "typed": input.from == InputFrom::User,
                "needed": is_needed(input),
                "pattern": input.pattern,
                "example": input.example,
                "help": input.help,
            })
        })
        .collect();
    let settings: Vec<Value> = service
        .settings
        .iter()
        .map(
            |s| json!({ "name": s.name, "values": s.values, "default": s.default, "help": s.help }),
        )
        .collect();
    json!({
        "id": service.id,
        "name": service.name,
        "surface": service.surface,
        "origin": super::origin(service),
        "flows": service.flows,
        "client_kinds": service.client_kinds,
        "pkce": service.pkce,
        "register": {
            "url": service.portal_url,
            "steps": service.portal_steps,
            "redirect_uri": default_uri(cx, service),
            "note": service.redirect.note,
        },
        "inputs": inputs,
        "settings": settings,
        "full_access": service.scopes.full_access,
        "scopes": scopes,
        "capabilities": service.scopes.capabilities,
        "refresh": {
            "supported": rule.supported,
            "rotation": rule.rotation,
            "reuse_grace_s": seconds(rule.reuse_grace),
            "lifetime_s": seconds(rule.lifetime),
            "idle_s": seconds(rule.idle),
        },
        "revocation": revocation(service),
        "api_base_url": api_base(service),
        "api_key": service.api_key.as_ref().map(|rule| {
            json!({ "parts": rule.parts, "example": rule.example, "help": rule.help })
        }),
        "client_keys": service.client_keys.as_ref().map(|rule| {
            json!({ "algorithms": rule.algorithms, "only": rule.only })
        }),
        "secrets": { "live_max": service.secrets.live_max, "note": service.secrets.note },
        "grant_per_account": service.grant_per_account,
        "ends": service.ends,
        "unverified": unverified(service),
        "sources": service.sources,
    })
}
