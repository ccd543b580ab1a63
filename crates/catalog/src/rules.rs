//! What must hold of a service file before anything is sent by it: names, templates, hosts,
//! patterns.
//!
//! Surprise: these are not style. A file that breaks one could send a secret to the wrong host or a
//! request that no service understands, so it isn't read at all. Style is in [`crate::check`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::present::holds_token;
use crate::schema::{File, InputFile, SCHEMA_VERSION};
use crate::service::Flow;
use crate::spelling::{Audience, Auth, From, Level, Present, Says};
use crate::template::whole;
use crate::walk::{Path, nearest};

/// Something wrong, with the way to its key.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) path: Path,
    pub(crate) problem: String,
    pub(crate) fix: String,
}

/// A way to a key: `at!["inputs", 0, "name"]`.
macro_rules! at {
    ($($step:expr),* $(,)?) => { vec![$($step.to_string()),*] };
}
pub(crate) use at;

/// Where problems are collected.
#[derive(Default)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl Problems {
    pub(crate) fn add(&mut self, path: Path, problem: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Problem { path, problem: problem.into(), fix: fix.into() });
    }
}

/// All that is wrong in what a file says.
pub(crate) fn problems(raw: &File) -> Problems {
    let mut found = Problems::default();
    head(raw, &mut found);
    inputs(raw, &mut found);
    settings(raw, &mut found);
    endpoints(raw, &mut found);
    refresh(raw, &mut found);
    api_key(raw, &mut found);
    api(raw, &mut found);
    errors(raw, &mut found);
    crate::places::problems(raw, &mut found);
    found
}

/// Ids that are words of the command line.
const RESERVED: [&str; 4] = ["list", "show", "check", "try"];

fn head(raw: &File, found: &mut Problems) {
    if raw.schema != SCHEMA_VERSION {
        let fix = format!("write schema = {SCHEMA_VERSION}; a newer file needs a newer Indicia");
        found.add(at!["schema"], format!("schema {} is not known", raw.schema), fix);
    }
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if raw.id.is_empty() || raw.id.len() > ID_BYTES_MAX || !raw.id.bytes().all(letters) {
        let fix = format!("use 1 to {ID_BYTES_MAX} lower-case letters, digits and `-`");
        found.add(at!["id"], format!("id {:?} can't be typed safely", raw.id), fix);
    }
    if RESERVED.contains(&raw.id.as_str()) {
        let problem = format!("id {:?} is a word of the command line", raw.id);
        found.add(at!["id"], problem, format!("choose another than {}", RESERVED.join(", ")));
    }
    if raw.flows.is_empty() {
        found.add(at!["flows"], "no flow is offered", "name one, such as \"authorization-code\"");
    }
}

fn inputs(raw: &File, found: &mut Problems) {
    let mut seen = BTreeSet::new();
    for (at, input) in raw.inputs.iter().enumerate() {
        let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if input.name.is_empty() || !input.name.bytes().all(letters) || input.name == "token" {
            let problem = format!("input name {:?} can't be used in a template", input.name);
            found.add(at!["inputs", at, "name"], problem, INPUT_NAME_RULE);
        }
        if !seen.insert(&input.name) {
            let problem = format!("input {:?} is declared twice", input.name);
            found.add(at!["inputs", at, "name"], problem, "keep one of them");
        }
        input_values(input, at, found);
        input_source(input, at, found);
    }
}

fn input_values(input: &InputFile, at: usize, found: &mut Problems) {
    match (&input.pattern, input.table.is_empty()) {
        (None, true) => found.add(
            at!["inputs", at],
            format!("input {:?} would take any text", input.name),
            "add a `pattern` or a `table`",
        ),
        (Some(_), false) => found.add(
            at!["inputs", at, "pattern"],
            "a pattern beside a table is never looked at",
            "keep one of them",
        ),
        (Some(pattern), true) => {
            if let Err(error) = whole(pattern) {
                let problem = format!("pattern {pattern:?} is not a regular expression");
                found.add(at!["inputs", at, "pattern"], problem, error.to_string());
            }
        }
        (None, false) => {}
    }
    if crate::resolve::input(input).check(&input.example).is_err() {
        let problem = format!("example {:?} is refused by its own rule", input.example);
        found.add(at!["inputs", at, "example"], problem, "correct the example, or the rule");
    }
}

fn input_source(input: &InputFile, at: usize, found: &mut Problems) {
    let named = matches!(input.from, From::Callback | From::Answer);
    if named != input.member.is_some() {
        let fix = "`member` names the callback parameter or the answer's member, and only goes with \
                   from = \"callback\" or \"answer\"";
        found.add(at!["inputs", at, "from"], "`from` and `member` don't go together", fix);
    }
    if input.from != From::User && input.level == Level::Client {
        found.add(
            at!["inputs", at, "level"],
            "what a service tells belongs to one connection",
            "write level = \"connection\"",
        );
    }
    if !input.confirm.is_empty() && input.from != From::Callback {
        let fix = "take it out, or write from = \"callback\"";
        found.add(at!["inputs", at, "confirm"], "there is no callback to confirm it by", fix);
    }
}

fn settings(raw: &File, found: &mut Problems) {
    for (at, setting) in raw.settings.iter().enumerate() {
        let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
        let name = &setting.name;
        if name.is_empty() || name == "scopes" || !name.bytes().all(letters) {
            let problem = format!("setting {name:?} can't be named so");
            let fix = "use lower-case letters, digits, `-` and `_`; scopes is taken";
            found.add(at!["settings", at, "name"], problem, fix);
        }
        if setting.values.is_empty() {
            found.add(at!["settings", at, "values"], "no value is possible", "name some");
        }
    }
    for (at, when) in raw.refresh.when.iter().enumerate() {
        let setting = raw.settings.iter().find(|setting| setting.name == when.setting);
        if !setting.is_some_and(|setting| setting.values.contains(&when.value)) {
            let problem = format!("there is no setting {:?} with {:?}", when.setting, when.value);
            found.add(at!["refresh", "when", at], problem, "declare it under [[settings]]");
        }
    }
}

fn endpoints(raw: &File, found: &mut Problems) {
    let browser = raw.flows.iter().any(|f| matches!(f, Flow::AuthorizationCode | Flow::Implicit));
    if browser && raw.authorize.url.is_none() && raw.issuer.is_none() {
        let fix = "add [authorize] with `url`, or an `issuer` whose metadata tells it";
        found.add(at!["flows"], "there is no authorization endpoint", fix);
    }
    let token = raw
        .flows
        .iter()
        .any(|f| matches!(f, Flow::AuthorizationCode | Flow::ClientCredentials | Flow::Device));
    if token && raw.token.url.is_none() && raw.issuer.is_none() {
        let fix = "add [token] with `url`, or an `issuer` whose metadata tells it";
        found.add(at!["flows"], "there is no token endpoint", fix);
    }
    let device = raw.device.as_ref().is_some_and(|device| device.url.is_some());
    if raw.flows.contains(&Flow::Device) && !device && raw.issuer.is_none() {
        let fix = "add [device] with `url`, or an `issuer` whose metadata tells it";
        found.add(at!["flows"], "there is no device authorization endpoint", fix);
    }
    let call = raw.revocation.url.is_some() || raw.issuer.is_some();
    if raw.revocation.by_hand.is_none() && !call {
        let fix = "add `url`, or say in `by_hand` what the account's owner does";
        found.add(at!["revocation"], "nothing says how a grant is taken back", fix);
    }
    if raw.revocation.by_hand.is_some() && raw.revocation.url.is_some() {
        found.add(at!["revocation"], "there is a call and there is none", "keep one of them");
    }
    client_keys(raw, found);
}

/// A key has a form, and a place to go.
fn api_key(raw: &File, found: &mut Problems) {
    if raw.flows.contains(&Flow::ApiKey) != raw.api_key.is_some() {
        let fix = "write both the flow \"api-key\" and [api_key]";
        found.add(at!["flows"], "an API key needs its flow and its form", fix);
    }
    if let Some(key) = &raw.api_key {
        if let Err(error) = whole(&key.pattern) {
            let problem = format!("pattern {:?} is not a regular expression", key.pattern);
            found.add(at!["api_key", "pattern"], problem, error.to_string());
        } else if whole(&key.pattern).is_ok_and(|pattern| !pattern.is_match(&key.example)) {
            let problem = format!("example {:?} is refused by its own rule", key.example);
            found.add(at!["api_key", "example"], problem, "correct the example, or the pattern");
        }
        if key.parts.is_empty() {
            let fix = "name what its owner is asked for, such as [\"API key\"]";
            found.add(at!["api_key", "parts"], "nothing is asked for", fix);
        }
        if raw.revocation.by_hand.is_none() {
            let fix = "say in `by_hand` what its owner does, and keep other flows in another file";
            found.add(at!["revocation"], "an API key isn't taken back by such a call", fix);
        }
    }
    let texts = |texts: &BTreeMap<String, String>| texts.values().cloned().collect::<Vec<_>>();
    let api = &raw.api;
    let signs = [&api.headers, &api.query, &api.body].into_iter().flat_map(texts);
    let signs: Vec<String> = signs.into_iter().filter(|text| holds_token(text)).collect();
    let bare = signs.iter().any(|text| text.contains("{token}") || text.contains("{token.basic}"));
    let signs = signs.iter().any(|text| text.contains("{token.jwt}"));
    // mark: signing-key-stays
    if signs && bare {
        let fix = "keep {token.jwt}, and take the other out";
        found.add(at!["api"], "a key that signs would travel itself, too", fix);
    }
    if signs != api.jwt.is_some() {
        let fix = "write both {token.jwt} where it goes and [api.jwt]";
        found.add(at!["api"], "a JWT needs its place and its claims", fix);
    }
    let life = api.jwt.as_ref().and_then(|jwt| jwt.life);
    if life.is_some_and(|life| !(JWT_LIFE_MIN..=JWT_LIFE_MAX).contains(&life.0)) {
        found.add(at!["api", "jwt", "life"], "it is signed anew each time", "write 1m to 5m");
    }
}

const JWT_LIFE_MIN: Duration = Duration::from_secs(60);
/// Longest life of a JWT in an API call.
pub(crate) const JWT_LIFE_MAX: Duration = Duration::from_secs(300);

/// RFC 7523 §3: what a signature can't be made without.
fn client_keys(raw: &File, found: &mut Problems) {
    let signs =
        |(path, auth): (Path, Option<Auth>)| (auth == Some(Auth::PrivateKeyJwt)).then_some(path);
    let Some(keys) = &raw.client_keys else {
        for path in auths(raw).into_iter().filter_map(signs) {
            let fix = "add [client_keys] with `algorithms`";
            found.add(path, "nothing says how such an assertion is signed", fix);
        }
        return;
    };
    if keys.algorithms.is_empty() {
        let fix = "write algorithms = [\"ES256\"], or as the server wants it";
        found.add(at!["client_keys", "algorithms"], "there is no algorithm", fix);
    }
    if keys.audience == Audience::Issuer && raw.issuer.is_none() {
        let fix = "write `issuer`, or audience = \"token-endpoint\"";
        found.add(at!["client_keys"], "an assertion is for the issuer, and there is none", fix);
    }
    let public = |path: &Path| path.last().is_some_and(|key| key == "public_auth");
    for path in auths(raw).into_iter().filter_map(signs).filter(public) {
        found.add(path, "a public client has no key", "use none or omit");
    }
}

fn auths(raw: &File) -> Vec<(Path, Option<Auth>)> {
    let token = &raw.token;
    let mut all = vec![
        (at!["token", "auth"], token.auth),
        (at!["token", "public_auth"], token.public_auth),
        (at!["revocation", "auth"], raw.revocation.auth),
        (at!["revocation", "public_auth"], raw.revocation.public_auth),
    ];
    for (name, endpoint) in [
        ("authorization-code", &token.authorization_code),
        ("client-credentials", &token.client_credentials),
        ("device-code", &token.device_code),
        ("refresh-token", &token.refresh_token),
    ] {
        if let Some(endpoint) = endpoint {
            all.push((at!["token", name, "auth"], endpoint.auth));
            all.push((at!["token", name, "public_auth"], endpoint.public_auth));
        }
    }
    for (name, endpoint) in
        [("introspection", &raw.introspection), ("device", &raw.device), ("par", &raw.par)]
    {
        if let Some(endpoint) = endpoint {
            all.push((at![name, "auth"], endpoint.auth));
        }
    }
    all
}

fn refresh(raw: &File, found: &mut Problems) {
    let rule = &raw.refresh;
    let by_person = raw.flows.iter().any(|f| matches!(f, Flow::AuthorizationCode | Flow::Device));
    if by_person && !rule.none && rule.rotation.is_none() {
        let fix = "add [refresh] with `rotation` (\"may\" where nobody knows), or `none = true`";
        found.add(at!["refresh"], "nothing says whether a refresh token rotates", fix);
    }
    if rule.mint_max.is_some() != rule.mint_window.is_some() {
        let fix = "write both `mint_max` and `mint_window`";
        found.add(at!["refresh"], "half of a minting limit", fix);
    }
    if let Some(text) = &raw.answer.no_expiry {
        let known = text == "unknown" || text == "never";
        if !known && crate::shape::duration(text).is_none() {
            let fix = "write \"unknown\", \"never\", or a length of time such as \"1h\"";
            found.add(at!["answer", "no_expiry"], format!("{text:?} is no expiry"), fix);
        }
    }
    for name in raw.scopes.capabilities.keys() {
        if name.parse::<crate::Capability>().is_err() {
            let near = nearest(name, crate::Capability::ALL.iter().map(|c| c.as_str()));
            let fix = match near.first() {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => {
                    "see DESIGN's list of capabilities: contacts.read, campaigns.send, …".into()
                }
            };
            let path = at!["scopes", "capabilities", name];
            found.add(path, format!("there is no capability {name:?}"), fix);
        }
    }
}

fn errors(raw: &File, found: &mut Problems) {
    let tables = [(at!["errors"], &raw.errors), (at!["api", "errors"], &raw.api.errors)];
    for (table, rows) in tables {
        for (row, file) in rows.iter().enumerate() {
            let path = || table.iter().cloned().chain([row.to_string()]).collect::<Path>();
            if file.fields.values().any(|says| *says == Says::Present(Present { present: false })) {
                let fix = "put the rows of answers that have the field first";
                found.add(path(), "a row can't match by what isn't there", fix);
            }
            if file.fields.is_empty() && file.status.is_empty() && !file.not_json {
                found.add(path(), "this row matches every answer", "add `status` or `fields`");
            }
        }
    }
}

fn api(raw: &File, found: &mut Problems) {
    let api = &raw.api;
    if api.base.is_some() && api.base_member.is_some() {
        found.add(at!["api"], "two places for the API's base URL", "keep one of them");
    }
    base_from_answer(raw, found);
    let relative = |call: &&crate::schema::CallFile| call.url.starts_with('/');
    let calls = [&raw.discovery, &raw.userinfo, &api.probe];
    if api.base.is_none() && calls.into_iter().flatten().any(|call| relative(&call)) {
        let fix = "write the call's whole address, or add `base`";
        found.add(at!["api"], "a call follows a base URL that isn't known", fix);
    }
    let per_input = raw.secrets.per_input.as_ref();
    if let Some(input) = per_input.filter(|name| raw.inputs.iter().all(|i| i.name != **name)) {
        let problem = format!("there is no input {input:?}");
        found.add(at!["secrets", "per_input"], problem, "declare it under [[inputs]]");
    }
    for input in raw.discovery.iter().flat_map(|call| call.learns.keys()) {
        let known = raw.inputs.iter().find(|i| i.name == *input);
        if !known.is_some_and(|i| i.from == From::Discovery) {
            let problem = format!("there is no input {input:?} that comes from discovery");
            let fix = "declare it under [[inputs]] with from = \"discovery\"";
            found.add(at!["discovery", "learns", input], problem, fix);
        }
    }
}

/// What keeps a base URL from an answer at the service's own hosts is its domain; the pattern only
/// narrows it, and may be careless.
fn base_from_answer(raw: &File, found: &mut Problems) {
    let api = &raw.api;
    let told = [&api.base_member, &api.base_domain, &api.base_pattern].map(Option::is_some);
    if told.contains(&true) && told.contains(&false) {
        let fix = "write `base_member`, `base_domain` and `base_pattern`, all of them";
        found.add(at!["api"], "a part of a base URL from an answer is missing", fix);
    }
    if let Some(domain) = api.base_domain.as_deref().filter(|domain| !is_domain(domain)) {
        let fix = "write it like \"api.example.com\", in small letters";
        let problem = format!("{domain:?} is not a domain of two labels or more");
        found.add(at!["api", "base_domain"], problem, fix);
    }
    if let Some(Err(error)) = api.base_pattern.as_deref().map(whole) {
        let problem = "the pattern is not a regular expression";
        found.add(at!["api", "base_pattern"], problem, error.to_string());
    }
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| !label.is_empty() && label.bytes().all(host_letter);
    let name = |label: &str| !label.bytes().all(|byte| byte.is_ascii_digit());
    let mut labels = text.split('.');
    labels.clone().count() >= 2 && labels.clone().all(label) && labels.next_back().is_some_and(name)
}

const fn host_letter(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

/// What an input may be called.
const INPUT_NAME_RULE: &str = "use lower-case letters, digits and `_`; token is taken, for headers";
const ID_BYTES_MAX: usize = 64;
