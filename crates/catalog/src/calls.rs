//! What a service wants of each call, for one client: absolute URLs, headers, parameters, one rule.
//!
//! Surprise: an endpoint that the file leaves out comes from the client's settings
//! (`endpoint.token`, …), where it was pinned when the issuer's metadata was read. Nothing is
//! looked up here, and what was pinned doesn't change under a client.

use std::collections::BTreeMap;
use std::time::Duration;

use indicia_oauth::metadata::Metadata;
use indicia_oauth::{BasicEncoding, BodyCodec, ClientAuth, Method, TokenEndpoint};

use crate::capability::Capability;
use crate::present::Carried;
use crate::schema::{CallFile, EndpointFile};
use crate::service::{
    ApiBase, AuthorizeCall, Bindings, CallRule, ClientKind, Context, Flow, GrantType, Pkce,
    RefreshRule, RevocationRule, Rotation, Service, TokenKind,
};
use crate::shape::{DURATION_RULE, duration};
use crate::spelling::{Audience, Auth, Codec, MethodName};
use crate::template::{FillError, InputFrom, Level, Template, Values, is_https_in, whole};

impl Service {
    /// The authorization endpoint for this client.
    pub fn authorize(&self, cx: Context<'_>) -> Result<AuthorizeCall, FillError> {
        let file = &self.raw.authorize;
        let url = self.endpoint_url(file.url.as_ref(), PIN_AUTHORIZE, cx)?;
        Ok(AuthorizeCall {
            url: url.ok_or_else(|| FillError::Missing(PIN_AUTHORIZE.into()))?,
            params: self.texts(&file.params, cx)?,
            pkce: match self.pkce {
                Pkce::Required | Pkce::Supported | Pkce::Unknown => true,
                Pkce::PublicOnly => cx.kind == ClientKind::Public,
                Pkce::Forbidden => false,
            },
            send_redirect_uri: !file.omit_redirect_uri,
            issuer: self.issuer(cx)?,
            issuer_always: file.issuer_always || cx.settings.contains_key(PIN_ISSUER_ALWAYS),
        })
    }

    /// The endpoint and client authentication for a token request; `None`: not offered.
    pub fn token_endpoint(
        &self,
        grant: GrantType,
        cx: Context<'_>,
    ) -> Result<Option<TokenEndpoint>, FillError> {
        let token = &self.raw.token;
        let own = match grant {
            GrantType::AuthorizationCode => &token.authorization_code,
            GrantType::ClientCredentials => &token.client_credentials,
            GrantType::DeviceCode => &token.device_code,
            GrantType::RefreshToken => &token.refresh_token,
        };
        if grant == GrantType::RefreshToken && self.raw.refresh.none {
            return Ok(None);
        }
        let own = own.clone().unwrap_or_default();
        self.endpoint(&own, own.url.as_ref().or(token.url.as_ref()), PIN_TOKEN, cx)
    }

    /// What a refresh does, with the client's settings applied.
    pub fn refresh_rule(&self, cx: Context<'_>) -> RefreshRule {
        let file = &self.raw.refresh;
        let when = file.when.iter().find(|when| self.setting(&when.setting, cx) == when.value);
        let rotation = when.and_then(|when| when.rotation).or(file.rotation);
        let grace = when.and_then(|when| when.reuse_grace).or(file.reuse_grace);
        let lifetime = when.and_then(|when| when.lifetime).or(file.lifetime);
        let idle = when.and_then(|when| when.idle).or(file.idle);
        RefreshRule {
            supported: !file.none,
            rotation: rotation.unwrap_or(Rotation::May),
            verified: self.is_verified("refresh.rotation"),
            reuse_grace: grace.map(|span| span.0),
            kills_access: file.kills_access,
            lifetime: lifetime.map(|span| span.0),
            idle: idle.map(|span| span.0),
            earliest_before_end: file.earliest_before_end.map(|span| span.0),
            mint_limit: file.mint_max.zip(file.mint_window).map(|(max, span)| (max, span.0)),
            max_age: cx.settings.get(SETTING_TOKEN_MAX_AGE).and_then(|text| duration(text)),
        }
    }

    /// How long a client secret is used at most: as long as the service takes it, or less where the
    /// client is to be changed earlier.
    pub fn secret_life(&self, cx: Context<'_>) -> Option<Duration> {
        let wished = cx.settings.get(SETTING_SECRET_MAX_AGE).and_then(|text| duration(text));
        [self.secrets.lifetime, wished].into_iter().flatten().min()
    }

    /// How a grant is taken back.
    pub fn revocation(&self, cx: Context<'_>) -> Result<RevocationRule, FillError> {
        let file = &self.raw.revocation;
        if let Some(by_hand) = &file.by_hand {
            return Ok(RevocationRule::Cannot { by_hand: by_hand.clone() });
        }
        let own = EndpointFile {
            url: file.url.clone(),
            method: file.method,
            codec: file.codec,
            auth: file.auth,
            public_auth: file.public_auth,
            headers: file.headers.clone(),
            params: file.params.clone().or_else(|| Some(BTreeMap::new())),
        };
        let tokens = match file.tokens.is_empty() {
            true => vec![TokenKind::RefreshToken],
            false => file.tokens.clone(),
        };
        Ok(match self.endpoint(&own, own.url.as_ref(), PIN_REVOCATION, cx)? {
            None => RevocationRule::Cannot { by_hand: NO_REVOCATION.into() },
            Some(endpoint) => RevocationRule::Call {
                endpoint,
                token_param: file.token_param.clone().unwrap_or_else(|| "token".into()),
                tokens,
                hint: file.hint,
                kills: file.kills.unwrap_or(crate::service::Kills::Grant),
            },
        })
    }

    /// The introspection endpoint, where there is one.
    pub fn introspection(&self, cx: Context<'_>) -> Result<Option<TokenEndpoint>, FillError> {
        self.further_endpoint(self.raw.introspection.as_ref(), PIN_INTROSPECTION, cx)
    }

    /// The device authorization endpoint (RFC 8628 §3.1), where there is one.
    pub fn device(&self, cx: Context<'_>) -> Result<Option<TokenEndpoint>, FillError> {
        self.further_endpoint(self.raw.device.as_ref(), PIN_DEVICE, cx)
    }

    /// One that authenticates as the token endpoint does, and has parameters of its own.
    fn further_endpoint(
        &self,
        own: Option<&EndpointFile>,
        pin: &str,
        cx: Context<'_>,
    ) -> Result<Option<TokenEndpoint>, FillError> {
        let own = own.cloned().unwrap_or_default();
        let own = EndpointFile { params: own.params.or_else(|| Some(BTreeMap::new())), ..own };
        self.endpoint(&own, own.url.as_ref(), pin, cx)
    }

    /// The call that learns the account and the API's place right after an exchange. `None`: the
    /// token answer or the [`Self::probe`] tells the account.
    pub fn discovery(&self, cx: Context<'_>) -> Result<Option<CallRule>, FillError> {
        self.raw.discovery.as_ref().map(|call| self.call(call, cx)).transpose()
    }

    /// A cheap and harmless call that proves a token and, where nothing else does, names the
    /// account.
    pub fn probe(&self, cx: Context<'_>) -> Result<Option<CallRule>, FillError> {
        self.raw.api.probe.as_ref().map(|call| self.call(call, cx)).transpose()
    }

    /// The who-am-I call of OpenID or the vendor, where there is one.
    pub fn userinfo(&self, cx: Context<'_>) -> Result<Option<CallRule>, FillError> {
        self.raw.userinfo.as_ref().map(|call| self.call(call, cx)).transpose()
    }

    /// The API's base URL; one from the answer only in its domain, and like its pattern. `kept`:
    /// members of the token answer that the dialect kept.
    pub fn api_base(
        &self,
        cx: Context<'_>,
        kept: &BTreeMap<String, String>,
    ) -> Result<Option<String>, FillError> {
        match &self.api_base {
            ApiBase::Unknown => Ok(None),
            ApiBase::Template(base) => base.url(&self.values(cx)).map(Some),
            ApiBase::FromAnswer { member, pattern } => {
                let Some(url) = kept.get(member) else {
                    return Ok(None);
                };
                let domain = self.raw.api.base_domain.as_deref().unwrap_or_default();
                let refused = || FillError::Refused {
                    name: member.clone(),
                    rule: format!("an https address in {domain}, like {pattern}"),
                };
                let matches = whole(pattern).is_ok_and(|pattern| pattern.is_match(url));
                // The pattern is the author's, and may match more than was meant: what keeps tokens
                // at the service is the domain of the address as it is parsed.
                match matches && is_https_in(url, domain) {
                    true => Ok(Some(url.clone())),
                    false => Err(refused()),
                }
            }
        }
    }

    /// Inputs learnt from a callback's further parameters, each checked by its pattern or table.
    pub fn learn_from_callback(&self, extra: &[(String, String)]) -> Result<Bindings, FillError> {
        let find = |name: &str| extra.iter().find(|(n, _)| n == name).map(|(_, v)| v);
        let mut learnt = Bindings::new();
        for input in &self.inputs {
            let InputFrom::Callback(param) = &input.from else {
                continue;
            };
            let Some(value) = find(param) else { continue };
            input.check(value)?;
            learnt.insert(input.name.clone(), value.clone());
        }
        let values = Values { inputs: &self.inputs, given: &learnt };
        for input in &self.inputs {
            for (param, template) in &input.confirm {
                let Some(said) = find(param) else { continue };
                let meant = template.text(&values)?.unwrap_or_default();
                if said.trim_end_matches('/') != meant.trim_end_matches('/') {
                    let rule = format!("confirmed by {param}: {meant}");
                    return Err(FillError::Refused { name: input.name.clone(), rule });
                }
            }
        }
        Ok(learnt)
    }

    /// Inputs learnt from the token answer's members that the dialect kept, checked likewise.
    pub fn learn_from_answer(
        &self,
        kept: &BTreeMap<String, String>,
    ) -> Result<Bindings, FillError> {
        let mut learnt = Bindings::new();
        for input in &self.inputs {
            let InputFrom::Answer(member) = &input.from else {
                continue;
            };
            let Some(value) = kept.get(member) else {
                continue;
            };
            input.check(value)?;
            learnt.insert(input.name.clone(), value.clone());
        }
        Ok(learnt)
    }

    /// Checks one input's value against its pattern or table.
    pub fn check_input(&self, name: &str, value: &str) -> Result<(), FillError> {
        let input = self.inputs.iter().find(|input| input.name == name);
        input.ok_or_else(|| FillError::Missing(name.to_owned()))?.check(value)
    }

    /// Checks a setting that a user gives a client: one that the service knows with a value that it
    /// may take; `scopes` (asked for where nothing else is said), each of them known there;
    /// `token_max_age` or `secret_max_age`, such as `30d`, at least an hour.
    pub fn check_setting(&self, name: &str, value: &str) -> Result<(), FillError> {
        let refused = |rule| Err(FillError::Refused { name: name.to_owned(), rule });
        if name == SETTING_SCOPES {
            let split = |letter: char| letter == ' ' || letter == ',';
            let mut scopes = value.split(split).filter(|scope| !scope.is_empty());
            let known = |scope: &str| self.scopes.known.iter().any(|known| known.name == scope);
            return match scopes.find(|scope| !known(scope)) {
                Some(scope) => refused(format!("scopes that are known there; {scope:?} isn't")),
                None => Ok(()),
            };
        }
        if [SETTING_TOKEN_MAX_AGE, SETTING_SECRET_MAX_AGE].contains(&name) {
            return match duration(value) {
                Some(age) if age >= MAX_AGE_MIN => Ok(()),
                Some(_) => refused("an hour (1h) or more".to_owned()),
                None => refused(DURATION_RULE.to_owned()),
            };
        }
        match self.settings.iter().find(|setting| setting.name == name) {
            Some(setting) if setting.values.iter().any(|known| known == value) => Ok(()),
            Some(setting) => refused(format!("one of {}", setting.values.join(", "))),
            None => {
                let known = self.settings.iter().map(|setting| setting.name.as_str());
                let ours = [SETTING_SCOPES, SETTING_TOKEN_MAX_AGE, SETTING_SECRET_MAX_AGE];
                let known: Vec<&str> = known.chain(ours).collect();
                refused(format!("a setting of this service: {}", known.join(", ")))
            }
        }
    }

    /// A client's inputs and a connection's together, each checked. A connection can't say what is
    /// the client's to say, unless it says the same.
    pub fn inputs_for(
        &self,
        client: &BTreeMap<String, String>,
        connection: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, FillError> {
        for (name, value) in client.iter().chain(connection) {
            self.check_input(name, value)?;
        }
        for input in self.inputs.iter().filter(|input| input.level == Level::Client) {
            let said = connection.get(&input.name);
            if said.is_some_and(|said| client.get(&input.name) != Some(said)) {
                let rule = "given with the client, not with a connection".to_owned();
                return Err(FillError::Refused { name: input.name.clone(), rule });
            }
        }
        let mut all = connection.clone();
        all.extend(client.clone());
        Ok(all)
    }

    /// The least scopes for these capabilities in a flow with a browser, with those that are always
    /// asked for; those of `optional_param` apart: `(scope, optional_scope)`.
    pub fn scopes_for(
        &self,
        capabilities: &[Capability],
    ) -> Result<(Vec<String>, Vec<String>), String> {
        self.scopes_for_flow(Flow::AuthorizationCode, capabilities)
    }

    /// The same for any flow: offline access isn't asked for where there is no refresh token, with
    /// client credentials (RFC 6749 §4.4.3) and in the implicit flow (§4.2.2).
    pub fn scopes_for_flow(
        &self,
        flow: Flow,
        capabilities: &[Capability],
    ) -> Result<(Vec<String>, Vec<String>), String> {
        let rule = &self.scopes;
        let refreshed = !matches!(flow, Flow::ClientCredentials | Flow::Implicit);
        let offline = rule.offline.iter().filter(|_| refreshed);
        let mut wanted: Vec<String> = offline.chain(&rule.always).cloned().collect();
        for capability in capabilities.iter().filter(|_| !rule.full_access) {
            let Some(scopes) = rule.capabilities.get(capability) else {
                let known: Vec<&str> = rule.capabilities.keys().map(|c| c.as_str()).collect();
                let known = known.join(", ");
                return Err(format!("{} has no scope for {capability}; it knows {known}", self.id));
            };
            wanted.extend(scopes.iter().cloned());
        }
        let mut seen = std::collections::BTreeSet::new();
        wanted.retain(|scope| seen.insert(scope.clone()));
        Ok(wanted.into_iter().partition(|scope| !rule.optional.contains(scope)))
    }

    /// The issuer, filled in, where the service has one.
    pub fn issuer(&self, cx: Context<'_>) -> Result<Option<String>, FillError> {
        let issuer = self.raw.issuer.clone().map(Template);
        issuer.map(|issuer| issuer.url(&self.values(cx))).transpose()
    }

    /// Whom an assertion of this client's is for (RFC 7523 §3, 3), where the service takes any. The
    /// issuer is the file's, never one that came with metadata.
    pub fn assertion_audience(&self, cx: Context<'_>) -> Result<Option<String>, FillError> {
        match self.raw.client_keys.as_ref().map(|keys| keys.audience) {
            None => Ok(None),
            Some(Audience::Issuer) => self.issuer(cx),
            Some(Audience::TokenEndpoint) => {
                self.endpoint_url(self.raw.token.url.as_ref(), PIN_TOKEN, cx)
            }
        }
    }

    /// Whether endpoints are missing that the issuer's metadata has to tell: then a client's
    /// settings must hold [`Self::pins`] before it can be used.
    pub fn needs_metadata(&self, cx: Context<'_>) -> bool {
        let missing = self.raw.token.url.is_none() && !cx.settings.contains_key(PIN_TOKEN);
        self.raw.issuer.is_some() && missing
    }

    /// Settings that pin what an issuer's metadata says, to be kept with the client.
    pub fn pins(metadata: &Metadata) -> BTreeMap<String, String> {
        let told = [
            (PIN_AUTHORIZE, metadata.authorization_endpoint.clone()),
            (PIN_TOKEN, metadata.token_endpoint.clone()),
            (PIN_REVOCATION, metadata.revocation_endpoint.clone()),
            (PIN_INTROSPECTION, metadata.introspection_endpoint.clone()),
            (PIN_DEVICE, metadata.device_authorization_endpoint.clone()),
            (PIN_ISSUER_ALWAYS, metadata.issuer_in_response.then(|| "true".to_owned())),
        ];
        told.into_iter().filter_map(|(name, told)| Some((name.to_owned(), told?))).collect()
    }

    pub(crate) fn values<'a>(&'a self, cx: Context<'a>) -> Values<'a> {
        Values { inputs: &self.inputs, given: cx.inputs }
    }

    fn setting<'a>(&'a self, name: &str, cx: Context<'a>) -> &'a str {
        let default = || self.settings.iter().find(|s| s.name == name).map(|s| &s.default);
        cx.settings.get(name).or_else(default).map_or("", String::as_str)
    }

    fn endpoint_url(
        &self,
        url: Option<&String>,
        pin: &str,
        cx: Context<'_>,
    ) -> Result<Option<String>, FillError> {
        match url {
            Some(url) => Template(url.clone()).url(&self.values(cx)).map(Some),
            None => Ok(cx.settings.get(pin).cloned().filter(|_| self.raw.issuer.is_some())),
        }
    }

    /// An endpoint, with what it leaves out (but for its address) taken from the token endpoint.
    fn endpoint(
        &self,
        own: &EndpointFile,
        url: Option<&String>,
        pin: &str,
        cx: Context<'_>,
    ) -> Result<Option<TokenEndpoint>, FillError> {
        let usual = &self.raw.token;
        let Some(url) = self.endpoint_url(url, pin, cx)? else {
            return Ok(None);
        };
        let auth = match cx.kind {
            ClientKind::Confidential => own.auth.or(usual.auth).unwrap_or(Auth::Basic),
            ClientKind::Public => own.public_auth.or(usual.public_auth).unwrap_or(Auth::None),
        };
        let headers = own.headers.as_ref().unwrap_or(&usual.headers);
        let params = own.params.as_ref().unwrap_or(&usual.params);
        Ok(Some(TokenEndpoint {
            url,
            method: method(own.method.or(usual.method).unwrap_or(MethodName::Post)),
            codec: match own.codec.or(usual.codec).unwrap_or(Codec::Form) {
                Codec::Form => BodyCodec::Form,
                Codec::Json => BodyCodec::Json,
                Codec::Query => BodyCodec::Query,
            },
            auth: client_auth(auth),
            headers: self.texts(headers, cx)?,
            params: self.texts(params, cx)?,
        }))
    }

    fn texts(
        &self,
        texts: &BTreeMap<String, String>,
        cx: Context<'_>,
    ) -> Result<Vec<(String, String)>, FillError> {
        let mut filled = Vec::new();
        for (name, text) in texts {
            let value = Template(text.clone()).text(&self.values(cx))?;
            filled.extend(value.map(|value| (name.clone(), value)));
        }
        Ok(filled)
    }

    fn call(&self, file: &CallFile, cx: Context<'_>) -> Result<CallRule, FillError> {
        let url = match (file.url.strip_prefix('/'), &self.api_base) {
            (Some(path), ApiBase::Template(base)) => {
                Template(format!("{}/{path}", base.as_str().trim_end_matches('/')))
            }
            _ => Template(file.url.clone()),
        };
        let api = &self.raw.api;
        let fill = |texts: &BTreeMap<String, String>| {
            let mut filled = Vec::new();
            for (name, text) in texts {
                let value = self.unpresented(text, cx)?;
                filled.extend(value.map(|value| (name.clone(), value)));
            }
            Ok::<_, FillError>(filled)
        };
        let carries = Carried {
            headers: fill(file.headers.as_ref().unwrap_or(&self.api_header_texts()))?,
            query: fill(&api.query)?,
            body: fill(&api.body)?,
        };
        Ok(CallRule {
            url: url.url(&self.values(cx))?,
            method: method(file.method.unwrap_or(MethodName::Get)),
            carries,
            account_id: file.account_id.clone(),
            account_name: file.account_name.clone(),
            learns: file.learns.clone(),
        })
    }
}

const fn method(name: MethodName) -> Method {
    match name {
        MethodName::Get => Method::Get,
        MethodName::Post => Method::Post,
        MethodName::Delete => Method::Delete,
    }
}

const fn client_auth(auth: Auth) -> ClientAuth {
    match auth {
        Auth::Basic => ClientAuth::Basic(BasicEncoding::Form),
        Auth::BasicRaw => ClientAuth::Basic(BasicEncoding::Raw),
        Auth::Body => ClientAuth::Body,
        Auth::Query => ClientAuth::Query,
        Auth::None => ClientAuth::None,
        Auth::Omit => ClientAuth::Omit,
        Auth::PrivateKeyJwt => ClientAuth::PrivateKeyJwt,
    }
}

/// Scopes that a client asks for where nothing else is said.
const SETTING_SCOPES: &str = "scopes";
const SETTING_TOKEN_MAX_AGE: &str = "token_max_age";
const SETTING_SECRET_MAX_AGE: &str = "secret_max_age";
/// What is replaced more often isn't a matter of routine.
const MAX_AGE_MIN: Duration = Duration::from_secs(3_600);
const PIN_AUTHORIZE: &str = "endpoint.authorize";
const PIN_TOKEN: &str = "endpoint.token";
const PIN_REVOCATION: &str = "endpoint.revocation";
const PIN_INTROSPECTION: &str = "endpoint.introspection";
const PIN_DEVICE: &str = "endpoint.device";
const PIN_ISSUER_ALWAYS: &str = "endpoint.issuer_always";
const NO_REVOCATION: &str =
    "this server tells of no revocation endpoint: take the grant back in the account's settings";
