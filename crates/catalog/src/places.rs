//! Every template of a service file, and what must hold of each: its places are declared, its host
//! can't be chosen by a stranger, its parameters aren't the protocol's.
//!
//! Surprise: the end of a host is what matters. `{dc}.api.example.com` is safe with any value of
//! host letters; `api.{region}` is safe only when a table or the client's owner says what it is,
//! and no default of it lets in what a callback said.

use std::collections::BTreeMap;

use crate::present::TOKEN_FORMS;
use crate::rules::{Problems, at};
use crate::schema::{CallFile, EndpointFile, File, InputFile};
use crate::spelling::{From, Level};
use crate::template::{DEFAULT_DEPTH_MAX, Piece, Place, Template, pieces, split};
use crate::walk::{Path, nearest};

/// What a template is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Url,
    /// A URL, or what follows the API's base.
    UrlOrPath,
    Text,
    /// May hold the token, in one of its forms.
    Header,
}

struct Text {
    path: Path,
    text: Template,
    kind: Kind,
}

/// Adds what is wrong with any template.
pub(crate) fn problems(raw: &File, found: &mut Problems) {
    for text in texts(raw) {
        declared(raw, &text, found);
        address(raw, &text, found);
    }
    for (path, name) in parameters(raw) {
        if PROTOCOL_PARAMETERS.contains(&name.as_str()) {
            let problem = format!("parameter {name:?} is the protocol's own");
            found.add(path, problem, "take it out: it's sent where it belongs");
        }
    }
}

/// Every template of a file.
fn texts(raw: &File) -> Vec<Text> {
    let mut all = Vec::new();
    for (path, url) in [
        (at!["issuer"], &raw.issuer),
        (at!["authorize", "url"], &raw.authorize.url),
        (at!["token", "url"], &raw.token.url),
        (at!["revocation", "url"], &raw.revocation.url),
        (at!["api", "base"], &raw.api.base),
    ] {
        one(&mut all, path, url.as_ref(), Kind::Url);
    }
    for (path, texts, kind) in [
        (at!["authorize", "params"], Some(&raw.authorize.params), Kind::Text),
        (at!["token", "params"], Some(&raw.token.params), Kind::Text),
        (at!["token", "headers"], Some(&raw.token.headers), Kind::Text),
        (at!["revocation", "params"], raw.revocation.params.as_ref(), Kind::Text),
        (at!["revocation", "headers"], raw.revocation.headers.as_ref(), Kind::Text),
        (at!["api", "headers"], Some(&raw.api.headers), Kind::Header),
        (at!["api", "query"], Some(&raw.api.query), Kind::Header),
        (at!["api", "body"], Some(&raw.api.body), Kind::Header),
    ] {
        map(&mut all, &path, texts, kind);
    }
    further(raw, &mut all);
    all
}

/// Those of endpoints, calls and inputs.
fn further(raw: &File, all: &mut Vec<Text>) {
    for (path, endpoint) in endpoints(raw) {
        one(all, child(&path, "url"), endpoint.url.as_ref(), Kind::Url);
        map(all, &child(&path, "params"), endpoint.params.as_ref(), Kind::Text);
        map(all, &child(&path, "headers"), endpoint.headers.as_ref(), Kind::Text);
    }
    for (path, call) in calls(raw) {
        one(all, child(&path, "url"), Some(&call.url), Kind::UrlOrPath);
        map(all, &child(&path, "headers"), call.headers.as_ref(), Kind::Header);
    }
    for (at, input) in raw.inputs.iter().enumerate() {
        one(all, at!["inputs", at, "default"], input.default.as_ref(), Kind::Text);
        map(all, &at!["inputs", at, "confirm"], Some(&input.confirm), Kind::Text);
    }
}

fn endpoints(raw: &File) -> Vec<(Path, &EndpointFile)> {
    let token = &raw.token;
    [
        (at!["token", "authorization-code"], &token.authorization_code),
        (at!["token", "client-credentials"], &token.client_credentials),
        (at!["token", "device-code"], &token.device_code),
        (at!["token", "refresh-token"], &token.refresh_token),
        (at!["introspection"], &raw.introspection),
        (at!["device"], &raw.device),
        (at!["par"], &raw.par),
    ]
    .into_iter()
    .filter_map(|(path, endpoint)| endpoint.as_ref().map(|endpoint| (path, endpoint)))
    .collect()
}

fn calls(raw: &File) -> Vec<(Path, &CallFile)> {
    [
        (at!["discovery"], &raw.discovery),
        (at!["userinfo"], &raw.userinfo),
        (at!["api", "probe"], &raw.api.probe),
    ]
    .into_iter()
    .filter_map(|(path, call)| call.as_ref().map(|call| (path, call)))
    .collect()
}

fn one(all: &mut Vec<Text>, path: Path, text: Option<&String>, kind: Kind) {
    all.extend(text.map(|text| Text { path, text: Template(text.clone()), kind }));
}

fn map(all: &mut Vec<Text>, path: &Path, texts: Option<&BTreeMap<String, String>>, kind: Kind) {
    for (key, text) in texts.into_iter().flatten() {
        one(all, child(path, key), Some(text), kind);
    }
}

fn child(path: &Path, key: &str) -> Path {
    path.iter().cloned().chain([key.to_owned()]).collect()
}

/// Each place names a declared input, and a key that each row of its table has.
fn declared(raw: &File, text: &Text, found: &mut Problems) {
    for place in text.text.places() {
        let form = |key: &str| TOKEN_FORMS.contains(&key);
        if text.kind == Kind::Header && place.name == "token" && place.key.is_none_or(form) {
            continue;
        }
        let Some(input) = raw.inputs.iter().find(|input| input.name == place.name) else {
            let fix = match nearest(place.name, raw.inputs.iter().map(|i| i.name.as_str())).first()
            {
                Some(near) => format!("did you mean {{{near}}}?"),
                None => "declare it under [[inputs]]".into(),
            };
            found.add(text.path.clone(), format!("there is no input {:?}", place.name), fix);
            continue;
        };
        let Some(key) = place.key else { continue };
        if input.table.is_empty() || !input.table.values().all(|row| row.contains_key(key)) {
            let problem = format!("not every row of {:?} has {key:?}", input.name);
            found.add(text.path.clone(), problem, "add it to each row of the input's table");
        }
    }
}

/// A URL is https (or loopback where that is allowed), and strangers can't choose its host.
fn address(raw: &File, text: &Text, found: &mut Problems) {
    let url = text.text.as_str();
    let relative = text.kind == Kind::UrlOrPath && url.starts_with('/');
    if !matches!(text.kind, Kind::Url | Kind::UrlOrPath) || relative {
        return;
    }
    let (scheme, authority, _) = split(url);
    let host = authority.split(':').next().unwrap_or_default();
    let loopback = raw.loopback_http && scheme == "http://" && host == "127.0.0.1";
    if scheme != "https://" && !loopback {
        let fix = match scheme {
            "http://" => {
                "write https://; http:// is for 127.0.0.1 in a file with loopback_http = true"
            }
            _ => "write the whole address, beginning with https://",
        };
        found.add(text.path.clone(), format!("{url:?} is not an https address"), fix);
    }
    if url.contains('#') || authority.contains('@') || authority.is_empty() {
        let fix = "write https://HOST/PATH, without `#` and `@`";
        found.add(text.path.clone(), format!("{url:?} is not an address to send to"), fix);
    }
    if let Some(input) = stranger(raw, host) {
        let problem = format!("input {:?} could send this to any host", input.name);
        let fix = "let it be followed by a domain written out (`.example.com`), take it from a \
                   table, or have it typed in for the client";
        found.add(text.path.clone(), problem, fix);
    }
}

/// The input that may come from outside without a domain behind it: two labels, written out or
/// from inputs that don't.
fn stranger<'f>(raw: &'f File, host: &str) -> Option<&'f InputFile> {
    let mut after = String::new();
    for piece in pieces(host).into_iter().rev() {
        match piece {
            Piece::Text(text) => after.insert_str(0, text),
            Piece::Place(place) => match outsider(raw, place, DEFAULT_DEPTH_MAX) {
                None => after.insert_str(0, shortest(raw, place)),
                Some(input) => {
                    let domain = after.strip_prefix('.').unwrap_or_default();
                    let labels = domain.split('.').filter(|label| !label.is_empty()).count();
                    // What is further left stands before the same domain.
                    return (labels < 2).then_some(input);
                }
            },
        }
    }
    None
}

/// The input by which somebody other than the client's owner could say what stands in a place:
/// itself, or one that its default lets in, as deep as defaults are followed.
fn outsider<'f>(raw: &'f File, place: Place<'_>, depth: usize) -> Option<&'f InputFile> {
    let input = raw.inputs.iter().find(|input| input.name == place.name)?;
    if place.key.is_some() || !input.table.is_empty() {
        return None;
    }
    if input.level != Level::Client || input.from != From::User {
        return Some(input);
    }
    let default = pieces(input.default.as_deref().filter(|_| depth > 0)?);
    default.into_iter().find_map(|piece| match piece {
        Piece::Place(place) => outsider(raw, place, depth - 1),
        Piece::Text(_) => None,
    })
}

/// Of what may stand in a place that is no outsider's, the text with the fewest labels; what an
/// owner types is taken to be like its example.
fn shortest<'f>(raw: &'f File, place: Place<'_>) -> &'f str {
    let Some(input) = raw.inputs.iter().find(|input| input.name == place.name) else {
        return "";
    };
    let known: Vec<&str> = match place.key {
        Some(key) => input.table.values().filter_map(|row| row.get(key)).map(|s| &**s).collect(),
        None => input.table.keys().map(String::as_str).collect(),
    };
    known.into_iter().min_by_key(|text| text.split('.').count()).unwrap_or(&input.example)
}

/// Names of further parameters.
fn parameters(raw: &File) -> Vec<(Path, String)> {
    let mut all = Vec::new();
    let mut add = |path: Path, params: &BTreeMap<String, String>| {
        all.extend(params.keys().map(|name| (child(&path, name), name.clone())));
    };
    add(at!["authorize", "params"], &raw.authorize.params);
    add(at!["token", "params"], &raw.token.params);
    for (path, endpoint) in endpoints(raw) {
        add(child(&path, "params"), endpoint.params.as_ref().unwrap_or(&BTreeMap::new()));
    }
    let revocation = raw.revocation.params.as_ref();
    add(at!["revocation", "params"], revocation.unwrap_or(&BTreeMap::new()));
    all
}

/// Parameters that a file can't add (RFC 6749 §3.1, §3.2; RFC 7636 §4; RFC 7009 §2.1).
const PROTOCOL_PARAMETERS: [&str; 14] = [
    "response_type",
    "client_id",
    "client_secret",
    "redirect_uri",
    "scope",
    "state",
    "grant_type",
    "code",
    "code_verifier",
    "code_challenge",
    "code_challenge_method",
    "refresh_token",
    "token",
    "token_type_hint",
];
