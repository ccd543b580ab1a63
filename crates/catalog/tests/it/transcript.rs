//! One wire transcript a service, written from the vendor's own page: what the service file makes
//! of each step must be what stands there.
//!
//! `tests/transcripts/ID.json`: `client` (as registered); `authorize` (`url`, `params`, `can`: the
//! capabilities asked for; null where nobody is asked in a browser: then what follows from it is
//! missing, too); `callback` (its parameters) and `learns_from_callback`; `exchange`,
//! `client_credentials`, `refresh` (`request`, `answer`, `means`: what must be read from it);
//! `rotation` as the engine must treat it; `discovery`, `probe` (`request`, `answer`, `account`);
//! `api` (`base`, `headers`); `refusals` (an answer of the `token` endpoint or the `api` and its
//! verdict); `revoke` (requests, or `cannot`). `beyond` names parameters that are sent although
//! the vendor's page doesn't speak of them. The simulated service must agree with it, too.

use std::collections::BTreeMap;
use std::path::PathBuf;

use indicia_catalog::service::TokenKind;
use indicia_catalog::{
    Bindings, CallRule, Catalogue, ClientKind, Context, Flow, GrantType, Presented, RevocationRule,
    Service,
};
use indicia_oauth::answer::Answer;
use indicia_oauth::authorization::{self, AuthorizationRequest, ResponseType};
use indicia_oauth::client_auth::{Credentials, Proof};
use indicia_oauth::token_answer::{self, Reading};
use indicia_oauth::{
    ClientSecret, Code, Dialect, Expiry, RefreshToken, Request, Timestamp, Verifier, grant, pkce,
    revocation,
};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::shipped::service;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const STATE: &str = "state-of-the-flow";

// AR-8, CA-3, DV-20
#[test]
fn ar_8_ca_3_dv_20_each_service_agrees_with_its_transcript() {
    Catalogue::shipped().ids().iter().for_each(|id| agrees(id));
}

pub(crate) fn agrees(id: &str) {
    Case::load(&service(id)).check();
}

struct Case<'a> {
    service: &'a Service,
    said: Value,
    inputs: BTreeMap<String, String>,
    settings: BTreeMap<String, String>,
    secret: ClientSecret,
}

impl<'a> Case<'a> {
    fn load(service: &'a Service) -> Self {
        let file = format!("tests/transcripts/{}.json", service.id);
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!("{} has no transcript at {}: {error}", service.id, path.display())
        });
        let said: Value = serde_json::from_str(&text).unwrap();
        let mut inputs = texts(&said["client"]["inputs"]);
        inputs.extend(texts(&said["learns_from_callback"]));
        let settings = texts(&said["client"]["settings"]);
        let secret = ClientSecret::new(text_of(&said["client"]["client_secret"]));
        Self { service, said, inputs, settings, secret }
    }

    fn check(&self) {
        let in_browser = !self.said["authorize"].is_null();
        let offered = self.service.flows.contains(&Flow::AuthorizationCode);
        assert_eq!(in_browser, offered, "{}: authorize", self.service.id);
        if in_browser {
            self.authorize();
            self.callback();
            self.exchange();
        }
        if !self.said["api_key"].is_null() {
            self.service.check_api_key(text_of(&self.said["api_key"])).unwrap();
            self.calls();
            self.api();
            self.refusals();
            return self.revoke();
        }
        self.client_credentials("client_credentials");
        self.client_credentials("client_credentials_plain");
        self.refresh();
        self.calls();
        self.api();
        self.refusals();
        self.revoke();
    }

    fn cx<'c>(&'c self, inputs: &'c BTreeMap<String, String>) -> Context<'c> {
        let kind = match text_of(&self.said["client"]["kind"]) {
            "public" => ClientKind::Public,
            _ => ClientKind::Confidential,
        };
        Context { kind, inputs, settings: &self.settings }
    }

    fn credentials(&self) -> Credentials<'_> {
        let client_id = text_of(&self.said["client"]["client_id"]);
        Credentials { client_id, proof: Proof::Secret(&self.secret) }
    }

    fn authorize(&self) {
        let said = &self.said["authorize"];
        let inputs = texts(&self.said["client"]["inputs"]);
        let call = self.service.authorize(self.cx(&inputs)).unwrap();
        let can: Vec<_> = strings(&said["can"]).iter().map(|c| c.parse().unwrap()).collect();
        let (scopes, optional) = self.service.scopes_for(&can).unwrap();
        let mut params = call.params.clone();
        if let Some(name) =
            self.service.scopes.optional_param.as_ref().filter(|_| !optional.is_empty())
        {
            params.push((name.clone(), optional.join(&self.service.scopes.separator)));
        }
        let challenge = pkce::challenge(&Verifier::new(VERIFIER));
        let url = authorization::url(&AuthorizationRequest {
            response_type: ResponseType::Code,
            endpoint: &call.url,
            client_id: text_of(&self.said["client"]["client_id"]),
            redirect_uri: call
                .send_redirect_uri
                .then(|| text_of(&self.said["client"]["redirect_uri"])),
            scopes: &scopes,
            scope_separator: &self.service.scopes.separator,
            state: STATE,
            challenge: call.pkce.then_some(challenge.as_str()),
            params: &params,
        });
        let url = url::Url::parse(&url.unwrap()).unwrap();
        let sent: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        let mut meant = texts(&said["params"]);
        meant.insert("state".into(), STATE.into());
        for value in meant.values_mut().filter(|value| *value == "{challenge}") {
            value.clone_from(&challenge);
        }
        assert_eq!(url.as_str().split('?').next(), said["url"].as_str(), "{}", self.service.id);
        self.same("authorize", sent, meant, &said["beyond"]);
    }

    fn callback(&self) {
        let extra = texts(&self.said["callback"]).into_iter().filter(|(name, _)| name != "code");
        let learnt: Bindings =
            self.service.learn_from_callback(&extra.collect::<Vec<_>>()).unwrap();
        assert_eq!(learnt, texts(&self.said["learns_from_callback"]), "{}", self.service.id);
    }

    fn exchange(&self) {
        let said = &self.said["exchange"];
        let cx = self.cx(&self.inputs);
        let endpoint = self.service.token_endpoint(GrantType::AuthorizationCode, cx);
        let verifier = Verifier::new(VERIFIER);
        let call = self.service.authorize(cx).unwrap();
        let redirect_uri = text_of(&self.said["client"]["redirect_uri"]);
        let request = grant::code::request(
            &endpoint.unwrap().unwrap(),
            &self.credentials(),
            Code::new(text_of(&self.said["callback"]["code"])),
            call.send_redirect_uri.then_some(redirect_uri),
            call.pkce.then_some(&verifier),
        );
        self.request("exchange", &request.unwrap(), &said["request"]);
        self.granted("exchange", said);
    }

    fn client_credentials(&self, step: &str) {
        let said = &self.said[step];
        if said.is_null() {
            return;
        }
        let mut inputs = texts(&self.said["client"]["inputs"]);
        inputs.extend(texts(&said["inputs"]));
        let endpoint = self.service.token_endpoint(GrantType::ClientCredentials, self.cx(&inputs));
        let endpoint = endpoint.unwrap().unwrap();
        let scopes = strings(&said["scopes"]);
        let separator = &self.service.scopes.separator;
        let request =
            grant::client_credentials::request(&endpoint, &self.credentials(), &scopes, separator);
        self.request(step, &request.unwrap(), &said["request"]);
        self.granted(step, said);
    }

    fn refresh(&self) {
        let said = &self.said["refresh"];
        let cx = self.cx(&self.inputs);
        let endpoint = self.service.token_endpoint(GrantType::RefreshToken, cx).unwrap();
        let rule = self.service.refresh_rule(cx);
        if said.is_null() {
            assert!(endpoint.is_none() && !rule.supported, "{}", self.service.id);
            return;
        }
        let token = RefreshToken::new(text_of(&self.said["exchange"]["means"]["refresh_token"]));
        let request = grant::refresh::request(&endpoint.unwrap(), &self.credentials(), &token);
        self.request("refresh", &request.unwrap(), &said["request"]);
        self.granted("refresh", said);
        let rotation = serde_json::to_value(rule.effective_rotation()).unwrap();
        assert_eq!(rotation, self.said["rotation"], "{}", self.service.id);
    }

    fn calls(&self) {
        let cx = self.cx(&self.inputs);
        let discovery = self.service.discovery(cx).unwrap();
        self.call("discovery", discovery, self.first());
        let mut inputs = self.inputs.clone();
        inputs.extend(texts(&self.said["api"]["inputs"]));
        self.call("probe", self.service.probe(self.cx(&inputs)).unwrap(), self.last());
    }

    /// The step that gave the first token.
    fn first(&self) -> &'static str {
        if self.said["exchange"].is_null() { "client_credentials" } else { "exchange" }
    }

    /// The step that gave the token in use.
    fn last(&self) -> &'static str {
        if self.said["refresh"].is_null() { self.first() } else { "refresh" }
    }

    /// The token in use: the key, or what a step gave.
    fn token(&self, from: &str) -> Presented {
        let key = self.said["api_key"].as_str();
        let token = key.unwrap_or_else(|| text_of(&self.said[from]["means"]["access_token"]));
        Presented::new(token, None)
    }

    fn call(&self, step: &str, rule: Option<CallRule>, token_from: &str) {
        let said = &self.said[step];
        let Some(rule) = rule else {
            assert!(said.is_null(), "{}: no {step}", self.service.id);
            return;
        };
        let url = url::Url::parse(&rule.url).unwrap();
        let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        let bare = rule.url.split('?').next();
        assert_eq!(bare, said["request"]["url"].as_str(), "{}: {step}", self.service.id);
        assert_eq!(rule.method.as_str(), text_of(&said["request"]["method"]));
        self.same(step, query, texts(&said["request"]["query"]), &Value::Null);
        let carried = rule.carries.map(|text| self.token(token_from).put(text).to_string());
        self.same(
            step,
            carried.headers.into_iter().collect(),
            texts(&said["request"]["headers"]),
            &Value::Null,
        );
        let body = &said["answer"]["body"];
        let id = rule.account_id.as_ref().map(|path| scalar(member(body, path)));
        let name = rule.account_name.as_ref().map(|path| scalar(member(body, path)));
        assert_eq!(id.as_deref(), said["account"]["id"].as_str(), "{}: {step}", self.service.id);
        assert_eq!(
            name.as_deref(),
            said["account"]["name"].as_str(),
            "{}: {step}",
            self.service.id
        );
        for (input, path) in &rule.learns {
            let value = scalar(member(body, path));
            assert_eq!(said["learns"][input], value.as_str());
            self.service.check_input(input, &value).unwrap();
        }
    }

    fn api(&self) {
        let said = &self.said["api"];
        let mut inputs = self.inputs.clone();
        inputs.extend(texts(&said["inputs"]));
        let base = self.service.api_base(self.cx(&inputs), &texts(&said["kept"])).unwrap();
        assert_eq!(base.as_deref(), said["base"].as_str(), "{}", self.service.id);
        let carried = self.service.api_carries(self.cx(&inputs), &self.token(self.last()));
        let headers = carried.map(|text| text.to_string()).headers.into_iter().collect();
        self.same("api", headers, texts(&said["headers"]), &Value::Null);
    }

    fn refusals(&self) {
        for said in self.said["refusals"].as_array().unwrap() {
            let dialect = match text_of(&said["of"]) {
                "api" => &self.service.api_dialect,
                _ => &self.service.dialect,
            };
            match read(&said["answer"], dialect) {
                Reading::Granted(_) => panic!("{}: a refusal is granted", self.service.id),
                Reading::Refused(refusal) => {
                    let verdict = serde_json::to_value(refusal.verdict).unwrap();
                    assert_eq!(verdict, said["verdict"], "{}: {said}", self.service.id);
                }
            }
        }
    }

    fn revoke(&self) {
        let said = &self.said["revoke"];
        let RevocationRule::Call { endpoint, token_param, tokens, hint, kills } =
            self.service.revocation(self.cx(&self.inputs)).unwrap()
        else {
            assert_eq!(said, "cannot", "{}", self.service.id);
            return;
        };
        let refresh = &self.said["refresh"]["means"]["refresh_token"];
        let refresh = refresh.as_str().or(self.said["exchange"]["means"]["refresh_token"].as_str());
        for (at, kind) in tokens.iter().enumerate() {
            let (token, name) = match kind {
                TokenKind::RefreshToken => (refresh.unwrap(), "refresh_token"),
                TokenKind::AccessToken => {
                    (text_of(&self.said["refresh"]["means"]["access_token"]), "access_token")
                }
            };
            let hint = hint.then_some(name);
            let request =
                revocation::request(&endpoint, &self.credentials(), &token_param, token, hint);
            self.request("revoke", &request.unwrap(), &said[at]);
        }
        assert_eq!(said.as_array().map(Vec::len), Some(tokens.len()), "{}", self.service.id);
        assert_eq!(serde_json::to_value(kills).unwrap(), self.said["kills"]);
    }

    fn request(&self, step: &str, request: &Request, said: &Value) {
        let id = &self.service.id;
        assert_eq!(request.method.as_str(), text_of(&said["method"]), "{id}: {step}");
        let url = url::Url::parse(&request.url).unwrap();
        let query = url.query_pairs().into_owned().collect();
        assert_eq!(request.url.split('?').next(), said["url"].as_str(), "{id}: {step}");
        self.same(step, query, texts(&said["query"]), &Value::Null);
        let authorization = said["headers"]["Authorization"].as_str();
        assert_eq!(request.header("authorization"), authorization, "{id}: {step}");
        let (body, meant, media) = match (&said["json"], &said["form"]) {
            (Value::Object(_), _) => {
                (json_body(request), texts(&said["json"]), Some("application/json"))
            }
            (_, Value::Object(_)) => {
                let form = url::form_urlencoded::parse(&request.body).into_owned().collect();
                (form, texts(&said["form"]), Some("application/x-www-form-urlencoded"))
            }
            _ => (BTreeMap::new(), BTreeMap::new(), request.header("content-type")),
        };
        self.same(step, body, meant, &said["beyond"]);
        assert_eq!(request.header("content-type"), media, "{id}: {step}");
    }

    fn granted(&self, step: &str, said: &Value) {
        let id = &self.service.id;
        let means = &said["means"];
        let Reading::Granted(set) = read(&said["answer"], &self.service.dialect) else {
            panic!("{id}: {step} isn't granted");
        };
        assert!(set.access_token.matches(text_of(&means["access_token"])), "{id}: {step}");
        let refresh = set.refresh_token.as_ref().map(|token| token.expose());
        assert_eq!(refresh, means["refresh_token"].as_str(), "{id}: {step}");
        let expiry = match &means["expires"] {
            Value::String(text) if text == "never" => Expiry::Never,
            Value::Number(secs) => {
                Expiry::At(Timestamp::from_millis(secs.as_i64().unwrap() * 1_000))
            }
            _ => Expiry::Unknown,
        };
        assert_eq!(set.expiry, expiry, "{id}: {step}");
        let scopes = means["scopes"].as_array().map(|_| strings(&means["scopes"]));
        assert_eq!(set.scopes, scopes, "{id}: {step}");
        assert_eq!(set.extra, texts(&means["kept"]), "{id}: {step}");
        if let Some(account) = &self.service.account_member {
            let account = set.extra.get(account).map(String::as_str);
            assert_eq!(account, self.said["account_from_answer"].as_str(), "{id}");
        }
    }

    /// All that was meant was sent, and nothing beyond but what the transcript allows.
    fn same(
        &self,
        step: &str,
        mut sent: BTreeMap<String, String>,
        meant: BTreeMap<String, String>,
        beyond: &Value,
    ) {
        for name in strings(beyond) {
            assert!(sent.remove(&name).is_some(), "{}: {step} sends no {name}", self.service.id);
        }
        let replace =
            |(name, value): (String, String)| (name, value.replace("{verifier}", VERIFIER));
        let meant: BTreeMap<String, String> = meant.into_iter().map(replace).collect();
        assert_eq!(sent, meant, "{}: {step}", self.service.id);
    }
}

fn read(said: &Value, dialect: &Dialect) -> Reading {
    let body = match &said["body"] {
        Value::String(text) => text.clone(),
        json => json.to_string(),
    };
    let answer = Answer {
        status: u16::try_from(said["status"].as_u64().unwrap()).unwrap(),
        headers: vec![("content-type".into(), text_of(&said["content_type"]).into())],
        body: Zeroizing::new(body.into_bytes()),
        complete: true,
    };
    token_answer::read(&answer, dialect, Timestamp::from_millis(0))
}

fn json_body(request: &Request) -> BTreeMap<String, String> {
    serde_json::from_slice(&request.body).unwrap()
}

fn member<'v>(body: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(body, |value, step| match step.parse::<usize>() {
        Ok(at) => &value[at],
        Err(_) => &value[step],
    })
}

fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    let members = value.as_object().into_iter().flatten();
    members.map(|(name, value)| (name.clone(), text_of(value).to_owned())).collect()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|v| text_of(v).to_owned()).collect()
}
