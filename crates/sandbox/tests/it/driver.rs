//! A client without an engine: builds requests from a service file, hands them to the model, reads
//! the answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use indicia_catalog::service::{CallRule, TokenKind};
use indicia_catalog::{Catalogue, ClientKind, Context, GrantType, RevocationRule, Service};
use indicia_oauth::authorization::{AuthorizationRequest, Expected, ResponseType, check, url};
use indicia_oauth::{
    Answer, ClientSecret, Credentials, Reading, RefreshToken, Refusal, Request, Timestamp,
    TokenSet, grant, pkce, token_answer,
};
use indicia_sandbox::{Incoming, Model, Options, Registration};
use zeroize::Zeroizing;

pub const SECRET: &str = "s3cr3t:+/%~&=";
pub const REDIRECT: &str = "http://127.0.0.1:8917/oauth/callback/app";
pub const START: i64 = 1_795_000_000_000;

/// A model and its one client, with a clock.
pub struct Driver {
    pub service: Arc<Service>,
    pub model: Model,
    pub now: Timestamp,
    pub kind: ClientKind,
    pub secret: String,
    /// Client level and connection level together.
    pub inputs: BTreeMap<String, String>,
    pub settings: BTreeMap<String, String>,
}

pub fn service(id: &str) -> Arc<Service> {
    Catalogue::shipped().service(id).unwrap_or_else(|| panic!("no service {id}"))
}

impl Driver {
    pub fn new(service: Arc<Service>, kind: ClientKind, options: Options) -> Self {
        let mut model = Model::new(service.clone(), options);
        let user = |i: &&indicia_catalog::template::Input| {
            i.from == indicia_catalog::template::InputFrom::User
                && !i.optional
                && i.default.is_none()
        };
        let told = service.inputs.iter().filter(user);
        let inputs: BTreeMap<_, _> = told.map(|i| (i.name.clone(), i.example.clone())).collect();
        let secrets = match kind {
            ClientKind::Confidential => vec![SECRET.to_owned()],
            ClientKind::Public => Vec::new(),
        };
        model.register(Registration {
            client_id: "app".to_owned(),
            secrets,
            kind,
            redirect_uris: vec![REDIRECT.to_owned()],
            inputs: inputs.clone(),
            settings: BTreeMap::new(),
        });
        let now = Timestamp::from_millis(START);
        let secret = SECRET.to_owned();
        Self { service, model, now, kind, secret, inputs, settings: BTreeMap::new() }
    }

    pub fn shipped(id: &str, seed: u64) -> Self {
        let options = Options { seed, ..Options::default() };
        Self::new(service(id), ClientKind::Confidential, options)
    }

    pub fn context(&self) -> Context<'_> {
        Context { kind: self.kind, inputs: &self.inputs, settings: &self.settings }
    }

    pub fn later(&mut self, by: Duration) {
        self.now = self.now.plus(by);
    }

    pub fn send(&mut self, request: &Request) -> Answer {
        self.model.handle(&Incoming::from_request(request), self.now)
    }

    /// All scopes that the file maps a capability to, those for offline access, and apart from them
    /// the optional ones.
    pub fn scopes(&self) -> (Vec<String>, Vec<String>) {
        let rule = &self.service.scopes;
        let all = rule.capabilities.keys().copied().collect::<Vec<_>>();
        let (mut scopes, optional) = self.service.scopes_for(&all).unwrap();
        let offline =
            rule.known.iter().map(|k| k.name.clone()).filter(|name| name.starts_with("offline"));
        scopes.extend(offline);
        scopes.sort();
        scopes.dedup();
        (scopes, optional)
    }

    pub fn authorize_url(&self, verifier: &indicia_oauth::Verifier) -> String {
        let call = self.service.authorize(self.context()).unwrap();
        let challenge = pkce::challenge(verifier);
        let (scopes, optional) = self.scopes();
        let mut params = call.params.clone();
        if let Some(name) = &self.service.scopes.optional_param {
            params.push((name.clone(), optional.join(&self.service.scopes.separator)));
        }
        url(&AuthorizationRequest {
            response_type: ResponseType::Code,
            endpoint: &call.url,
            client_id: "app",
            redirect_uri: call.send_redirect_uri.then_some(REDIRECT),
            scopes: &scopes,
            scope_separator: &self.service.scopes.separator,
            state: "state-1",
            challenge: call.pkce.then_some(challenge.as_str()),
            params: &params,
        })
        .unwrap()
    }

    /// Authorization code: the whole way, as `account`.
    pub fn connect(&mut self, account: &str) -> Box<TokenSet> {
        let verifier = pkce::verifier(&[7; pkce::RANDOM_BYTES]);
        let authorize_url = self.authorize_url(&verifier);
        let callback = self.model.approve(&authorize_url, account, self.now).unwrap();
        let answer = self.exchange(&callback, &verifier);
        granted(&self.service, &answer, self.now)
    }

    /// What a callback leads to.
    pub fn exchange(&mut self, callback: &str, verifier: &indicia_oauth::Verifier) -> Answer {
        let request = self.exchange_request(callback, verifier);
        self.send(&request)
    }

    pub fn exchange_request(
        &mut self,
        callback: &str,
        verifier: &indicia_oauth::Verifier,
    ) -> Request {
        let call = self.service.authorize(self.context()).unwrap();
        let query = callback.split_once('?').unwrap().1;
        let expected = Expected {
            state: "state-1",
            issuer: call.issuer.as_deref(),
            issuer_always: call.issuer_always,
        };
        let callback = check(query, &expected).unwrap();
        let learnt = self.service.learn_from_callback(callback.extra()).unwrap();
        self.inputs.extend(learnt);
        let endpoint = self.service.token_endpoint(GrantType::AuthorizationCode, self.context());
        let endpoint = endpoint.unwrap().expect("codes can be exchanged");
        let secret = self.client_secret();
        let credentials = Credentials { client_id: "app", proof: secret.as_ref().into() };
        let redirect_uri = call.send_redirect_uri.then_some(REDIRECT);
        let verifier = call.pkce.then_some(verifier);
        let code = callback.into_code();
        grant::code::request(&endpoint, &credentials, code, redirect_uri, verifier).unwrap()
    }

    fn client_secret(&self) -> Option<ClientSecret> {
        (self.kind == ClientKind::Confidential).then(|| ClientSecret::new(self.secret.clone()))
    }

    /// Client credentials.
    pub fn mint(&mut self) -> Box<TokenSet> {
        let endpoint = self.service.token_endpoint(GrantType::ClientCredentials, self.context());
        let endpoint = endpoint.unwrap().expect("client credentials are offered");
        let secret = self.client_secret();
        let credentials = Credentials { client_id: "app", proof: secret.as_ref().into() };
        let separator = &self.service.scopes.separator;
        let (scopes, _) = self.scopes();
        let request =
            grant::client_credentials::request(&endpoint, &credentials, &scopes, separator);
        let answer = self.send(&request.unwrap());
        granted(&self.service, &answer, self.now)
    }

    /// A refresh with this refresh token; the answer as it is.
    pub fn refresh_answer(&mut self, token: &str) -> Answer {
        let endpoint = self.service.token_endpoint(GrantType::RefreshToken, self.context());
        let endpoint = endpoint.unwrap().expect("refreshing is offered");
        let secret = self.client_secret();
        let credentials = Credentials { client_id: "app", proof: secret.as_ref().into() };
        let token = RefreshToken::new(token);
        let request = grant::refresh::request(&endpoint, &credentials, &token).unwrap();
        self.send(&request)
    }

    /// A refresh that must succeed.
    pub fn refresh(&mut self, token: &str) -> Box<TokenSet> {
        let answer = self.refresh_answer(token);
        granted(&self.service, &answer, self.now)
    }

    /// A refresh that must be refused.
    pub fn refused(&mut self, token: &str) -> Refusal {
        let answer = self.refresh_answer(token);
        refusal(&self.service, &answer, self.now)
    }

    /// Calls discovery (learning from it), then the probe; the probe's answer.
    pub fn probe(&mut self, access_token: &str) -> Answer {
        if let Some(call) = self.service.discovery(self.context()).unwrap() {
            let answer = self.call(&call, access_token);
            if answer.is_success() {
                self.learn(&call, &answer);
            }
        }
        let call = self.service.probe(self.context()).unwrap().expect("there is a probe");
        self.call(&call, access_token)
    }

    fn learn(&mut self, call: &CallRule, answer: &Answer) {
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        for (input, path) in &call.learns {
            let value = json.pointer(&format!("/{}", path.replace('.', "/")));
            let value = value.and_then(|v| v.as_str()).expect("the input is in the answer");
            self.service.check_input(input, value).unwrap();
            self.inputs.insert(input.clone(), value.to_owned());
        }
    }

    pub fn call(&mut self, call: &CallRule, access_token: &str) -> Answer {
        let headers = call.carries.headers.iter();
        let filled = headers.map(|(name, value)| {
            let value = Zeroizing::new(value.replace("{token}", access_token));
            (name.to_ascii_lowercase(), value)
        });
        let request = Request {
            method: call.method,
            url: Zeroizing::new(call.url.clone()),
            headers: filled.collect(),
            body: Zeroizing::new(Vec::new()),
        };
        self.send(&request)
    }

    /// Revokes a token set as the file says; false where the service can't.
    pub fn revoke(&mut self, set: &TokenSet) -> bool {
        let rule = self.service.revocation(self.context()).unwrap();
        let RevocationRule::Call { endpoint, token_param, tokens, hint, .. } = rule else {
            return false;
        };
        for kind in tokens {
            let (text, name) = match kind {
                TokenKind::RefreshToken => {
                    (set.refresh_token.as_ref().unwrap().expose(), "refresh_token")
                }
                TokenKind::AccessToken => (set.access_token.expose(), "access_token"),
            };
            let secret = self.client_secret();
            let credentials = Credentials { client_id: "app", proof: secret.as_ref().into() };
            let hint = hint.then_some(name);
            let request = indicia_oauth::revocation::request(
                &endpoint,
                &credentials,
                &token_param,
                text,
                hint,
            );
            let answer = self.send(&request.unwrap());
            assert_eq!(
                indicia_oauth::revocation::read(&answer),
                indicia_oauth::revocation::Revoked::Done,
                "{}",
                shown(&answer)
            );
        }
        true
    }
}

pub fn granted(service: &Service, answer: &Answer, now: Timestamp) -> Box<TokenSet> {
    match token_answer::read(answer, &service.dialect, now) {
        Reading::Granted(set) => set,
        Reading::Refused(refusal) => panic!("refused: {refusal:?}\n{}", shown(answer)),
    }
}

pub fn refusal(service: &Service, answer: &Answer, now: Timestamp) -> Refusal {
    match token_answer::read(answer, &service.dialect, now) {
        Reading::Refused(refusal) => refusal,
        Reading::Granted(_) => panic!("granted: {}", shown(answer)),
    }
}

pub fn shown(answer: &Answer) -> String {
    format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body))
}
