//! Which of a service's endpoints a request is for, and which inputs its address tells.
//!
//! The catalogue resolves addresses *from* inputs; a server must go the other way. So each endpoint
//! is resolved with every value of every table, and with the example of every other input; where an
//! example shows up in the address, any value that passes the input's own check is taken.

use std::collections::{BTreeMap, BTreeSet};

use indicia_catalog::template::Input;
use indicia_catalog::{ApiBase, ClientKind, Context, Flow, GrantType, RevocationRule, Service};
use indicia_oauth::metadata::Metadata;

use crate::device::VERIFY_PATH;
use crate::fill::Values;

/// Combinations of table values that are looked at, at most.
const COMBINATIONS_MAX: usize = 64;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Authorize,
    Token,
    Device,
    Verify,
    Revoke,
    Introspect,
    Metadata,
    Discovery,
    Probe,
    Userinfo,
    Api,
}

/// A request's endpoint.
pub(crate) struct Hit {
    pub kind: Kind,
    /// Inputs that the address tells.
    pub inputs: BTreeMap<String, String>,
}

/// An address pattern with what it leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    kind: Kind,
    pieces: Vec<Piece>,
    inputs: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Text(String),
    Input(String),
}

/// The same address from several inputs tells none of those that differ.
fn merged(routes: BTreeSet<Route>) -> Vec<Route> {
    let mut merged: Vec<Route> = Vec::new();
    for route in routes {
        match merged.last_mut() {
            Some(last) if last.kind == route.kind && last.pieces == route.pieces => {
                last.inputs.retain(|name, value| route.inputs.get(name) == Some(value));
            }
            _ => merged.push(route),
        }
    }
    merged
}

/// All addresses of a service.
pub(crate) struct Routes(Vec<Route>);

impl Routes {
    pub fn of(service: &Service, pins: &BTreeMap<String, String>) -> Self {
        let mut routes = BTreeSet::new();
        for kind in [ClientKind::Confidential, ClientKind::Public] {
            for settings in settings(service, pins) {
                for fixed in combinations(service) {
                    add(service, kind, &settings, &fixed, &mut routes);
                }
            }
        }
        Self(merged(routes))
    }

    /// The endpoint of an address: an exact one, else the API.
    pub fn find(&self, service: &Service, host: &str, path: &str) -> Option<Hit> {
        let address = format!("{host}{path}");
        let hit = |route: &Route| {
            let mut inputs = route.inputs.clone();
            let whole = route.kind != Kind::Api;
            let matched = matches(service, &route.pieces, &address, whole, &mut inputs);
            matched.then_some(Hit { kind: route.kind, inputs })
        };
        self.0.iter().find_map(hit)
    }
}

/// Splits an absolute URL into `host/path`, without scheme, query and fragment.
pub(crate) fn address(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['?', '#']).next().unwrap_or(rest)
}

/// Defaults, and each other value of each setting by itself.
fn settings(service: &Service, pins: &BTreeMap<String, String>) -> Vec<BTreeMap<String, String>> {
    let one = |name: &str, value: &str| {
        let mut settings = pins.clone();
        settings.insert(name.to_owned(), value.to_owned());
        settings
    };
    let each = service.settings.iter();
    let others = each.flat_map(|s| s.values.iter().map(|value| one(&s.name, value)));
    std::iter::once(pins.clone()).chain(others).collect()
}

/// Where the file leaves endpoints to the issuer's metadata, the simulated service makes them up,
/// in the form in which a client's settings hold them.
pub(crate) fn pins(service: &Service) -> BTreeMap<String, String> {
    let (settings, inputs) = (BTreeMap::new(), needed_examples(service));
    let cx = Context { kind: ClientKind::Confidential, inputs: &inputs, settings: &settings };
    let Ok(Some(issuer)) = service.issuer(cx) else {
        return settings;
    };
    if !service.needs_metadata(cx) {
        return settings;
    }
    let at = |path: &str| Some(format!("{}/{path}", issuer.trim_end_matches('/')));
    Service::pins(&Metadata {
        authorization_endpoint: at("authorize"),
        token_endpoint: at("token"),
        revocation_endpoint: at("revoke"),
        introspection_endpoint: at("introspect"),
        device_authorization_endpoint: at("device")
            .filter(|_| service.flows.contains(&Flow::Device)),
        issuer_in_response: true,
        issuer: issuer.clone(),
        ..Metadata::default()
    })
}

/// The example of each input that must be told.
pub(crate) fn needed_examples(service: &Service) -> BTreeMap<String, String> {
    let needed = service.inputs.iter().filter(|i| !i.optional && i.default.is_none());
    needed.map(|i| (i.name.clone(), i.example.clone())).collect()
}

/// Every combination of table values, and a stand-in for each other input.
fn combinations(service: &Service) -> Vec<BTreeMap<String, String>> {
    let mut all = vec![BTreeMap::new()];
    let mut used = BTreeSet::new();
    for input in service.inputs.iter().filter(|input| !input.optional) {
        let values: Vec<String> = match input.table.is_empty() {
            true => vec![stand_in(input, &mut used)],
            false => input.table.keys().cloned().collect(),
        };
        let with = |known: &BTreeMap<String, String>, value: &String| {
            let mut inputs = known.clone();
            inputs.insert(input.name.clone(), value.clone());
            inputs
        };
        let longer = all.iter().flat_map(|known| values.iter().map(|value| with(known, value)));
        all = longer.take(COMBINATIONS_MAX).collect();
    }
    all
}

/// The input's example, or the like of it where another input has the same example: else an address
/// wouldn't show which of the two stands in it.
fn stand_in(input: &Input, used: &mut BTreeSet<String>) -> String {
    let mut shorter = input.example.clone();
    shorter.pop();
    let others = ('a'..='z').chain('0'..='9').map(|end| format!("{shorter}{end}"));
    let fits = |value: &String| input.check(value).is_ok() && !used.contains(value);
    let value = std::iter::once(input.example.clone()).chain(others).find(fits);
    let value = value.unwrap_or_else(|| input.example.clone());
    used.insert(value.clone());
    value
}

fn add(
    service: &Service,
    kind: ClientKind,
    settings: &BTreeMap<String, String>,
    inputs: &BTreeMap<String, String>,
    routes: &mut BTreeSet<Route>,
) {
    let cx = Context { kind, inputs, settings };
    let mut push = |kind: Kind, url: &str| {
        let (pieces, fixed) = pieces(&service.inputs, inputs, address(url));
        routes.insert(Route { kind, pieces, inputs: fixed });
    };
    if let Ok(call) = service.authorize(cx) {
        push(Kind::Authorize, &call.url);
        for url in call.issuer.iter().flat_map(|issuer| metadata_urls(issuer)) {
            push(Kind::Metadata, &url);
        }
    }
    if let Ok(Some(endpoint)) = service.device(cx) {
        push(Kind::Device, &endpoint.url);
        push(Kind::Verify, &format!("{}{VERIFY_PATH}", endpoint.url));
    }
    let grants = [
        GrantType::AuthorizationCode,
        GrantType::ClientCredentials,
        GrantType::DeviceCode,
        GrantType::RefreshToken,
    ];
    for endpoint in grants.into_iter().filter_map(|g| service.token_endpoint(g, cx).ok().flatten())
    {
        push(Kind::Token, &endpoint.url);
    }
    if let Ok(RevocationRule::Call { endpoint, .. }) = service.revocation(cx) {
        push(Kind::Revoke, &endpoint.url);
    }
    if let Ok(Some(endpoint)) = service.introspection(cx) {
        push(Kind::Introspect, &endpoint.url);
    }
    if let Ok(Some(call)) = service.discovery(cx) {
        push(Kind::Discovery, &call.url);
    }
    if let Ok(Some(call)) = service.probe(cx) {
        push(Kind::Probe, &call.url);
    }
    if let Ok(Some(call)) = service.userinfo(cx) {
        push(Kind::Userinfo, &call.url);
    }
    if let Ok(Some(base)) = service.api_base(cx, &kept(service, inputs)) {
        push(Kind::Api, base.trim_end_matches('/'));
    }
}

/// Members of the token answer that the API's base may be taken from.
pub(crate) fn kept(
    service: &Service,
    inputs: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let ApiBase::FromAnswer { member, .. } = &service.api_base else {
        return BTreeMap::new();
    };
    let template = service.sandbox.answer_extra.get(member).and_then(|v| v.as_str());
    let filled = template.map(|t| Values::new(service, inputs).text(t));
    filled.map(|url| (member.clone(), url)).into_iter().collect()
}

/// RFC 8414 §3.1 and OpenID Connect Discovery §4.
fn metadata_urls(issuer: &str) -> Vec<String> {
    let issuer = issuer.trim_end_matches('/');
    let (host, path) = address(issuer).split_once('/').unwrap_or((address(issuer), ""));
    let path = if path.is_empty() { String::new() } else { format!("/{path}") };
    vec![
        format!("https://{host}/.well-known/oauth-authorization-server{path}"),
        format!("https://{host}{path}/.well-known/openid-configuration"),
        format!("https://{host}{path}/.well-known/oauth-authorization-server"),
    ]
}

/// Cuts an address at the stand-ins in it. What is left in the map are the table values.
fn pieces(
    inputs: &[Input],
    values: &BTreeMap<String, String>,
    address: &str,
) -> (Vec<Piece>, BTreeMap<String, String>) {
    let mut pieces = vec![Piece::Text(address.to_owned())];
    let mut fixed = values.clone();
    for input in inputs.iter().filter(|i| i.table.is_empty()) {
        let Some(value) = fixed.remove(&input.name) else {
            continue;
        };
        pieces = pieces.into_iter().flat_map(|piece| cut(piece, &input.name, &value)).collect();
    }
    (pieces, fixed)
}

fn cut(piece: Piece, name: &str, value: &str) -> Vec<Piece> {
    let Piece::Text(text) = &piece else {
        return vec![piece];
    };
    let Some(at) = place_of(text, value) else {
        return vec![piece];
    };
    let (before, from) = text.split_at(at);
    let after = &from[value.len()..];
    vec![
        Piece::Text(before.to_owned()),
        Piece::Input(name.to_owned()),
        Piece::Text(after.to_owned()),
    ]
}

/// Where the example stands by itself: with a border on both sides.
fn place_of(text: &str, example: &str) -> Option<usize> {
    let border = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
    let alone = |at: usize| {
        border(text[..at].chars().next_back()) && border(text[at + example.len()..].chars().next())
    };
    if example.is_empty() {
        return None;
    }
    text.match_indices(example).map(|(at, _)| at).find(|at| alone(*at))
}

fn matches(
    service: &Service,
    pieces: &[Piece],
    address: &str,
    whole: bool,
    inputs: &mut BTreeMap<String, String>,
) -> bool {
    let Some((piece, rest)) = pieces.split_first() else {
        return address.is_empty() || (!whole && address.starts_with('/'));
    };
    match piece {
        Piece::Text(text) => address
            .strip_prefix(text.as_str())
            .is_some_and(|tail| matches(service, rest, tail, whole, inputs)),
        Piece::Input(name) => (1..=address.len())
            .filter(|&end| address.is_char_boundary(end))
            .take_while(|&end| !address[..end].contains('/'))
            .any(|end| {
                let (value, tail) = address.split_at(end);
                let fits = matches(service, rest, tail, whole, inputs)
                    && service.check_input(name, value).is_ok();
                if fits {
                    inputs.insert(name.clone(), value.to_owned());
                }
                fits
            }),
    }
}
