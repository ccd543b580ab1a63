//! Lints for authors of service files: what a file should say beyond what it must.
//!
//! Surprise: an error row is proven, not believed. Its `example` answer goes through the reader
//! that the engine uses and must come out at that very row, so the simulated service can play it
//! back.

use indicia_oauth::answer::Answer;
use indicia_oauth::token_answer::{self, Reading};
use indicia_oauth::{Dialect, Timestamp};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::read::{ReadError, read_tree};
use crate::rules::{Problems, at};
use crate::schema::{CallFile, File};
use crate::service::{ClientKind, Context, Example, Flow, GrantType, Pkce, Rotation, Service};
use crate::spelling::{Auth, From, Standing};
use crate::template::Template;
use crate::walk::nearest;

/// All that is wrong in a file, or should be better; empty: it is fit to be shipped.
pub fn check(file: &str, text: &str) -> Vec<ReadError> {
    let (service, tree) = match read_tree(file, text) {
        Ok(read) => read,
        Err(errors) => return errors,
    };
    let mut found = Problems::default();
    let raw = &service.raw;
    examples(&service.dialect, &service.examples, "errors", &mut found);
    examples(&service.api_dialect, &service.api_examples, "api", &mut found);
    sources(raw, &mut found);
    facts(raw, &mut found);
    scopes(raw, &mut found);
    refresh(raw, &mut found);
    redirect(raw, &mut found);
    client_kinds(&service, &mut found);
    sandbox(raw, &mut found);
    calls(&service, &mut found);
    fills(&service, &mut found);
    let error = |p: crate::rules::Problem| tree.error(&p.path, p.problem, p.fix);
    let mut errors: Vec<ReadError> = found.0.into_iter().map(error).collect();
    errors.sort_by_key(|error| error.line);
    errors
}

/// Each example comes out at its own row.
fn examples(dialect: &Dialect, examples: &[Example], table: &str, found: &mut Problems) {
    for (row, example) in examples.iter().enumerate() {
        let answer = Answer {
            status: example.status,
            headers: vec![("content-type".into(), example.content_type.clone())],
            body: Zeroizing::new(example.body.clone().into_bytes()),
            complete: true,
        };
        let problem = match token_answer::read(&answer, dialect, Timestamp::from_millis(0)) {
            Reading::Granted(_) => "the example is read as a token".to_owned(),
            Reading::Refused(refusal) if refusal.row == Some(row) => continue,
            Reading::Refused(refusal) => match refusal.row {
                Some(other) => format!("the example is taken by row {} before this one", other + 1),
                None => "the example isn't matched by its own row".to_owned(),
            },
        };
        let path = match table {
            "errors" => at!["errors", row, "example"],
            _ => at![table, "errors", row, "example"],
        };
        let fix = "correct the row or the example, or put the narrower row first";
        found.add(path, problem, fix);
    }
}

fn sources(raw: &File, found: &mut Problems) {
    if raw.sources.is_empty() {
        let fix = "add [[sources]] with title, url and the day on which you read it";
        found.add(at!["sources"], "no source is named", fix);
    }
    for (at, source) in raw.sources.iter().enumerate() {
        if !is_date(&source.read) {
            let problem = format!("{:?} is not a day", source.read);
            found.add(at!["sources", at, "read"], problem, DATE_RULE);
        }
        if !source.url.starts_with("https://") {
            let problem = format!("{:?} is not an https address", source.url);
            found.add(at!["sources", at, "url"], problem, "write the page's address");
        }
    }
    for (url, day) in &raw.ends {
        if !is_date(day) {
            found.add(at!["ends", url], format!("{day:?} is not a day"), DATE_RULE);
        }
    }
    if raw.portal.steps.is_empty() {
        let fix = "say step by step how an application is registered";
        found.add(at!["portal", "steps"], "nothing says how to register", fix);
    }
}

/// Facts that decide behaviour; each file says of each whether it is verified.
const FACTS: [&str; 10] = [
    "flows",
    "pkce",
    "token.auth",
    "expiry",
    "refresh.rotation",
    "revocation",
    "scopes",
    "grant",
    "redirect",
    "secrets",
];
/// Those of a service with API keys alone.
const KEY_FACTS: [&str; 4] = ["flows", "expiry", "revocation", "scopes"];
/// Further facts that a file may speak of.
const MORE_FACTS: [&str; 4] = ["account", "refresh.reuse_grace", "refresh.kills_access", "ends"];

fn facts(raw: &File, found: &mut Problems) {
    let needed: &[&str] = if keys_only(raw) { &KEY_FACTS } else { &FACTS };
    for fact in needed {
        if !raw.facts.contains_key(*fact) {
            let fix = format!("add {fact:?} = \"verified\" or \"unverified\"");
            found.add(at!["facts"], format!("nothing says how sure {fact:?} is"), fix);
        }
    }
    let verified = raw.facts.get("pkce") == Some(&Standing::Verified);
    if matches!(raw.pkce, Some(Pkce::Forbidden | Pkce::PublicOnly)) && !verified {
        let fix = "verify it, or write \"unknown\": then it is sent";
        found.add(at!["pkce"], "PKCE is left out on a guess", fix);
    }
    for fact in raw.facts.keys() {
        let known = FACTS.into_iter().chain(MORE_FACTS);
        if known.clone().all(|known| known != fact) {
            let fix = match nearest(fact, known.clone()).first() {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("known: {}", known.collect::<Vec<_>>().join(", ")),
            };
            found.add(at!["facts", fact], format!("{fact:?} decides nothing"), fix);
        }
    }
}

/// Whether nothing is registered there.
pub(crate) fn keys_only(raw: &File) -> bool {
    raw.flows.iter().all(|flow| matches!(flow, Flow::ApiKey | Flow::Import))
}

fn scopes(raw: &File, found: &mut Problems) {
    let rule = &raw.scopes;
    let offline = rule.offline.iter().cloned().collect();
    let lists = [("always", &rule.always), ("optional", &rule.optional), ("offline", &offline)];
    let lists = lists.into_iter().map(|(key, scopes)| (at!["scopes", key], scopes));
    let capabilities = rule.capabilities.iter();
    let capabilities = capabilities.map(|(c, scopes)| (at!["scopes", "capabilities", c], scopes));
    for (path, scopes) in lists.chain(capabilities) {
        for scope in scopes.iter().filter(|scope| !rule.known.contains_key(*scope)) {
            let fix = match nearest(scope, rule.known.keys().map(String::as_str)).first() {
                Some(near) => format!("did you mean {near:?}?"),
                None => "add it with its meaning under [scopes.known]".into(),
            };
            found.add(path.clone(), format!("scope {scope:?} isn't known"), fix);
        }
    }
    match (rule.full_access, rule.capabilities.is_empty()) {
        (true, false) => found.add(
            at!["scopes", "full_access"],
            "a token can't be full access and have capabilities",
            "keep one of them",
        ),
        // What a key may do is said where it is made.
        (false, true) if !keys_only(raw) => found.add(
            at!["scopes"],
            "no capability can be asked for",
            "add [scopes.capabilities], or full_access = true",
        ),
        _ => {}
    }
    if rule.optional_param.is_none() && !rule.optional.is_empty() {
        let fix = "name the parameter in `optional_param`";
        found.add(at!["scopes", "optional"], "no parameter takes these scopes", fix);
    }
}

fn refresh(raw: &File, found: &mut Problems) {
    let unverified = raw.facts.get("refresh.rotation") != Some(&Standing::Verified);
    let rotation = raw.refresh.rotation;
    if unverified && rotation == Some(Rotation::Keeps) {
        let fix = "write \"may\", or verify it: a wrong \"keeps\" loses grants";
        found.add(at!["refresh", "rotation"], "an unverified \"keeps\" counts as \"may\"", fix);
    }
    let variants = &raw.sandbox.rotation_variants;
    if unverified && rotation.is_some() && variants.len() < 2 {
        let fix = "add rotation_variants = [\"keeps\", \"rotates\"] under [sandbox]";
        found.add(at!["sandbox"], "nobody knows the rotation, and one way is played", fix);
    }
}

fn redirect(raw: &File, found: &mut Problems) {
    let rule = &raw.redirect;
    let loopback = rule.loopback_ip || rule.loopback_name;
    if rule.any_port && !loopback {
        let fix = "take any_port out, or say which loopback form is taken";
        found.add(at!["redirect", "any_port"], "no loopback address is taken", fix);
    }
    if !loopback && rule.note.is_empty() && raw.flows.contains(&Flow::AuthorizationCode) {
        let fix = "say in `note` what the portal takes";
        found.add(at!["redirect"], "an address must be pasted back, and nothing says why", fix);
    }
}

/// A client that has a secret sends it.
fn client_kinds(service: &Service, found: &mut Problems) {
    let auth = service.raw.token.auth;
    if auth == Some(Auth::None) && service.client_kinds.contains(&ClientKind::Confidential) {
        let fix =
            "write client_kinds = [\"public\"] where there are no secrets; else how one is sent";
        found.add(at!["token", "auth"], "a client with a secret would not send it", fix);
    }
}

/// Places in the simulated service's texts are ones that it can fill in.
fn sandbox(raw: &File, found: &mut Problems) {
    let facts = &raw.sandbox;
    let mut texts = Vec::new();
    for (name, text) in &facts.callback_extra {
        texts.push((at!["sandbox", "callback_extra", name], text.as_str()));
    }
    for (table, values) in
        [("answer_extra", &facts.answer_extra), ("api_answers", &facts.api_answers)]
    {
        for (name, value) in values {
            let mut inner = Vec::new();
            strings(value, &mut inner);
            texts.extend(inner.into_iter().map(|text| (at!["sandbox", table, name], text)));
        }
    }
    for (path, text) in texts {
        let template = Template(text.to_owned());
        for place in template.places() {
            let name = place.name.strip_suffix('#').unwrap_or(place.name);
            let model = ["account_id", "account_name", "null"].contains(&name);
            if !model && raw.inputs.iter().all(|input| input.name != name) {
                let fix = "write {account_id}, {account_name}, {null} or an input's name";
                found.add(path.clone(), format!("nobody fills in {name:?}"), fix);
            }
        }
    }
}

fn strings<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(members) => members.values().for_each(|member| strings(member, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What calls and answers name is there for the simulated service to tell.
fn calls(service: &Service, found: &mut Problems) {
    let raw = &service.raw;
    let calls = [
        (at!["discovery"], &raw.discovery),
        (at!["userinfo"], &raw.userinfo),
        (at!["api", "probe"], &raw.api.probe),
    ];
    for (path, call) in calls {
        if let Some(call) = call {
            answered(raw, call, path, found);
        }
    }
    let members = [("account_member", &raw.account_member), ("base_member", &raw.api.base_member)];
    for (key, member) in members {
        let Some(member) = member else { continue };
        let path = if key == "base_member" { at!["api", key] } else { at![key] };
        if !raw.answer.keep.contains(member) {
            let fix = "add it to `keep` under [answer]";
            found.add(path, format!("{member:?} isn't kept from the answer"), fix);
        }
    }
    for (at, input) in raw.inputs.iter().enumerate().filter(|(_, i)| i.from == From::Answer) {
        let kept = input.member.as_ref().is_some_and(|m| raw.answer.keep.contains(m));
        if !kept {
            let fix = "add it to `keep` under [answer]";
            found.add(at!["inputs", at, "member"], "it isn't kept from the answer", fix);
        }
    }
}

fn answered(raw: &File, call: &CallFile, path: Vec<String>, found: &mut Problems) {
    let url = match call.url.strip_prefix('/') {
        Some(rest) => format!("{}/{rest}", raw.api.base.as_deref().unwrap_or_default()),
        None => call.url.clone(),
    };
    let (_, _, rest) = crate::template::split(&url);
    let rest = rest.split('?').next().unwrap_or_default();
    let Some(answer) = raw.sandbox.api_answers.get(rest) else {
        let fix = format!("add [sandbox.api_answers.{rest:?}]");
        return found.add(path, format!("nothing says what {rest:?} answers"), fix);
    };
    let named = [&call.account_id, &call.account_name].into_iter().flatten();
    for member in named.chain(call.learns.values()) {
        if member_of(answer, member).is_none() {
            let fix = format!("correct the path, or add it under [sandbox.api_answers.{rest:?}]");
            found.add(path.clone(), format!("{member:?} isn't in its answer"), fix);
        }
    }
}

/// A member of a JSON value by its dotted path.
fn member_of<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, step| match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    })
}

/// With each input's example, every endpoint comes out as an address.
fn fills(service: &Service, found: &mut Problems) {
    let rows = service.inputs.iter().map(|input| match input.table.is_empty() {
        true => vec![input.example.clone()],
        false => input.table.keys().cloned().collect(),
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let most = rows.iter().map(Vec::len).max().unwrap_or(1);
    for at in 0..most {
        let values =
            rows.iter().map(|row| row.get(at).or(row.first()).cloned().unwrap_or_default());
        let names = service.inputs.iter().map(|input| input.name.clone());
        let inputs = names.zip(values).collect();
        let settings = Default::default();
        let kind = ClientKind::Confidential;
        let cx = Context { kind, inputs: &inputs, settings: &settings };
        for (path, error) in filled(service, cx) {
            found.add(path, error, "correct the table or the example");
        }
    }
}

fn filled(service: &Service, cx: Context<'_>) -> Vec<(Vec<String>, String)> {
    let raw = &service.raw;
    let authorize = raw.authorize.url.as_ref().and_then(|_| service.authorize(cx).err());
    let all = [
        (at!["authorize", "url"], authorize),
        (at!["token", "url"], service.token_endpoint(GrantType::AuthorizationCode, cx).err()),
        (at!["token", "url"], service.token_endpoint(GrantType::ClientCredentials, cx).err()),
        (at!["token", "url"], service.token_endpoint(GrantType::DeviceCode, cx).err()),
        (at!["token", "url"], service.token_endpoint(GrantType::RefreshToken, cx).err()),
        (at!["device", "url"], service.device(cx).err()),
        (at!["revocation"], service.revocation(cx).err()),
        (at!["introspection"], service.introspection(cx).err()),
        (at!["discovery"], service.discovery(cx).err()),
        (at!["userinfo"], service.userinfo(cx).err()),
        (at!["api", "probe"], service.probe(cx).err()),
        (at!["api", "base"], service.api_base(cx, &Default::default()).err()),
    ];
    all.into_iter().filter_map(|(path, error)| Some((path, error?.to_string()))).collect()
}

/// `YYYY-MM-DD`, and there is such a day.
pub(crate) fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else {
        return false;
    };
    let digits =
        |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(year, 4) || !digits(month, 2) || !digits(day, 2) {
        return false;
    }
    let number = |part: &str| part.parse::<u32>().unwrap_or_default();
    let leap = number(year).is_multiple_of(4)
        && (!number(year).is_multiple_of(100) || number(year).is_multiple_of(400));
    let days = match number(month) {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    (1..=days).contains(&number(day))
}

const DATE_RULE: &str = "write a day as YYYY-MM-DD";
