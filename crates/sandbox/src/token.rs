//! The token endpoint: who is asking, in what form, and for which grant.

use std::collections::BTreeMap;

use indicia_catalog::template::FillError;
use indicia_catalog::{GrantType, Service};
use indicia_oauth::grant::device;
use indicia_oauth::{Answer, ClientAuth, Method, Timestamp, TokenEndpoint};

use crate::clients::{Claimed, Registration};
use crate::model::Model;
use crate::record::{GrantId, What, Why};
use crate::refuse::{Dialect, Refusal};
use crate::route::{Hit, address};
use crate::wire::{Incoming, Params};

/// A refusal, with the grant that it was about.
pub(crate) struct Denied {
    pub grant: Option<GrantId>,
    pub refusal: Refusal,
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self { grant: None, refusal }
    }
}

impl Refusal {
    pub(crate) fn of(self, grant: GrantId) -> Denied {
        Denied { grant: Some(grant), refusal: self }
    }
}

/// A token request that passed every check that is not about its grant.
pub(crate) struct Asked<'a> {
    pub client: Registration,
    pub incoming: &'a Incoming,
    pub params: Params,
    /// Inputs that the address told.
    pub inputs: &'a BTreeMap<String, String>,
}

impl Model {
    pub(crate) fn token(&mut self, incoming: &Incoming, hit: &Hit, now: Timestamp) -> Answer {
        let grant_type = Params::anywhere(incoming).value("grant_type").map(str::to_owned);
        let result = self.token_request(incoming, hit, grant_type.as_deref(), now);
        result.unwrap_or_else(|denied| {
            let place =
                if grant_type.as_deref() == Some("refresh_token") { "refresh" } else { "token" };
            self.note_refusal(place, denied.grant, &denied.refusal.why, now);
            denied.refusal.answer(&self.service, Dialect::Token)
        })
    }

    fn token_request(
        &mut self,
        incoming: &Incoming,
        hit: &Hit,
        grant_type: Option<&str>,
        now: Timestamp,
    ) -> Result<Answer, Denied> {
        let grant_type = match grant_type {
            Some("authorization_code") => GrantType::AuthorizationCode,
            Some("refresh_token") => GrantType::RefreshToken,
            Some(device::GRANT_TYPE) => GrantType::DeviceCode,
            Some("client_credentials") => GrantType::ClientCredentials,
            Some(_) => return Err(Refusal::grant_type("this grant type isn't known").into()),
            None => return Err(Refusal::request("grant_type is missing").into()),
        };
        let client = self.client_of(incoming, grant_type, &hit.inputs)?;
        let inputs = self.inputs_of(&client, &hit.inputs);
        let endpoint = token_endpoint(&self.service, grant_type, &client, &inputs)?;
        if !at(&endpoint.endpoint, incoming) {
            return Err(Refusal::request("this grant type has another address").into());
        }
        let params = check_form(&endpoint.endpoint, endpoint.exact, incoming)?;
        self.authenticate(&client, &endpoint.endpoint, (incoming, &params), now)?;
        let asked = Asked { client, incoming, params, inputs: &hit.inputs };
        match grant_type {
            GrantType::AuthorizationCode => self.exchange(&asked, now),
            GrantType::RefreshToken => self.refresh(&asked, now),
            GrantType::DeviceCode => self.poll(&asked, now),
            GrantType::ClientCredentials => self.mint(&asked, now),
        }
    }

    /// Where a refresh takes no client authentication, the refresh token tells whose it is.
    fn client_of(
        &mut self,
        incoming: &Incoming,
        grant_type: GrantType,
        inputs: &BTreeMap<String, String>,
    ) -> Result<Registration, Refusal> {
        let inputs = self.all_inputs(inputs);
        let bare = self.service.token_endpoint(grant_type, self.bare_context(&inputs));
        let omits = bare.ok().flatten().is_some_and(|e| e.auth == ClientAuth::Omit);
        if !omits {
            return self.known_client(&Claimed::of(incoming));
        }
        let params = Params::anywhere(incoming);
        let token = params.value("refresh_token").unwrap_or_default();
        let grant = self.record.refresh_token(token).and_then(|(id, _)| self.record.grant(id));
        let client = grant.and_then(|grant| self.clients.get(&grant.client_id));
        client.cloned().ok_or_else(|| Refusal::grant("the refresh token isn't known"))
    }

    /// Authorization code for tokens (RFC 6749 §4.1.3).
    fn exchange(&mut self, asked: &Asked<'_>, now: Timestamp) -> Result<Answer, Denied> {
        let Some(code) = asked.params.value("code") else {
            return Err(Refusal::request("code is missing").into());
        };
        self.check_code(code, asked, now)?;
        let per_account = self.service.grant_per_account;
        let Some(issued) = self.code_mut(code) else {
            return Err(Refusal::grant("the code isn't known").into());
        };
        let (account, scopes) = (issued.account.clone(), issued.scopes.clone());
        let (inputs, offline) = (issued.inputs.clone(), issued.offline);
        let client_id = &asked.client.client_id;
        let shared =
            if per_account { self.grant_of_account(client_id, &account.name) } else { None };
        let name = account.name.clone();
        let begun =
            shared.unwrap_or_else(|| self.record.begin(client_id, &name, scopes, inputs, now));
        self.accounts.insert(account.name.clone(), account);
        if let Some(issued) = self.code_mut(code) {
            issued.used = Some(Some(begun));
        }
        let refreshable = offline && self.refreshes(&asked.client, begun);
        let refresh_n = if refreshable { self.live_or_new_refresh(begun, now) } else { 0 };
        let generation = self.add_access(begun, refresh_n, now);
        self.record.note(now, What::Exchange { grant: begun, generation });
        Ok(self.token_answer(begun, generation, GrantType::AuthorizationCode, now))
    }

    fn check_code(&mut self, code: &str, asked: &Asked<'_>, now: Timestamp) -> Result<(), Denied> {
        let code_life = self.service.sandbox.code_life;
        let per_account = self.service.grant_per_account;
        let service = self.service.clone();
        let ignores_pkce = self.ignores_pkce();
        let Some(issued) = self.code_mut(code) else {
            return Err(Refusal::grant("the code isn't known").into());
        };
        if issued.client_id != asked.client.client_id {
            return Err(Refusal::grant("the code was issued to another client").into());
        }
        if let Some(grant) = issued.used {
            return Err(self.code_used_again(grant.filter(|_| !per_account), now));
        }
        if now >= issued.issued.plus(code_life) {
            return Err(Refusal::grant("the code's life is over").into());
        }
        let endpoint =
            token_endpoint(&service, GrantType::AuthorizationCode, &asked.client, &issued.inputs)?;
        if !at(&endpoint.endpoint, asked.incoming) {
            return Err(Refusal::grant("the code belongs to another data centre").into());
        }
        let sent = asked.params.value("redirect_uri");
        if issued.redirect_uri.is_some() && issued.redirect_uri.as_deref() != sent {
            return Err(Refusal::grant("redirect_uri isn't the one that was asked with").into());
        }
        let verifier = asked.params.value("code_verifier");
        let fits = match (&issued.challenge, verifier) {
            _ if ignores_pkce => true,
            (Some(challenge), Some(verifier)) => *challenge == crate::chance::s256(verifier),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if fits { Ok(()) } else { Err(Refusal::grant("code_verifier is missing or wrong").into()) }
    }

    /// RFC 6749 §4.1.2: what was issued on it SHOULD be revoked.
    fn code_used_again(&mut self, grant: Option<GrantId>, now: Timestamp) -> Denied {
        if let Some(grant) = grant {
            self.record.end(grant, Why::CodeReuse, now);
        }
        Denied { grant, refusal: Refusal::grant("the code was used before") }
    }

    /// Client credentials (RFC 6749 §4.4).
    fn mint(&mut self, asked: &Asked<'_>, now: Timestamp) -> Result<Answer, Denied> {
        let scopes = self.scopes_of(asked.params.raw("scope"), None)?;
        let inputs = self.inputs_told(asked);
        let listed = self.service.sandbox.accounts.iter();
        let named = listed.clone().find(|a| asked.params.iter().any(|(_, v)| *v == a.id));
        let account = self.account(named.map_or("", |a| &a.id));
        let same = |g: &&crate::record::GrantRecord| {
            g.ended.is_none()
                && g.client_id == asked.client.client_id
                && g.account == account.name
                && g.inputs == inputs
                && g.scopes == scopes
        };
        let known = self.record.grants().iter().find(same).map(|g| g.id);
        let client_id = &asked.client.client_id;
        let grant = known.unwrap_or_else(|| {
            self.record.begin(client_id, &account.name, scopes, inputs.clone(), now)
        });
        self.accounts.insert(account.name.clone(), account);
        self.within_mint_limit(&asked.client, grant, now)?;
        let again = self.asked_too_early(&self.rule(&asked.client, grant), grant, now);
        let generation = again.unwrap_or_else(|| self.add_access(grant, 0, now));
        self.record.note(now, What::Minted { grant, generation });
        Ok(self.token_answer(grant, generation, GrantType::ClientCredentials, now))
    }

    /// Inputs of a client-credentials grant: its address's, and those that travel as parameters (a
    /// business unit), found by what the endpoint sends when it has their examples.
    fn inputs_told(&self, asked: &Asked<'_>) -> BTreeMap<String, String> {
        let mut inputs = self.inputs_of(&asked.client, asked.inputs);
        for input in &self.service.inputs {
            let mut with = inputs.clone();
            with.insert(input.name.clone(), input.example.clone());
            let grant_type = GrantType::ClientCredentials;
            let Ok(found) = token_endpoint(&self.service, grant_type, &asked.client, &with) else {
                continue;
            };
            let carries = found.endpoint.params.iter().find(|(_, value)| *value == input.example);
            let came = carries.and_then(|(name, _)| asked.params.value(name));
            if let Some(value) = came.filter(|value| input.check(value).is_ok()) {
                inputs.insert(input.name.clone(), value.to_owned());
            }
        }
        inputs
    }

    fn grant_of_account(&self, client_id: &str, account: &str) -> Option<GrantId> {
        let grants = self.record.grants().iter();
        let theirs = grants.filter(|g| g.client_id == client_id && g.account == account);
        theirs.filter(|g| g.ended.is_none()).map(|g| g.id).next_back()
    }
}

/// An endpoint, and whether all that it is made of was known.
pub(crate) struct Endpoint {
    pub endpoint: TokenEndpoint,
    pub exact: bool,
}

/// Where a client's token request of this type goes.
pub(crate) fn token_endpoint(
    service: &Service,
    grant_type: GrantType,
    client: &Registration,
    inputs: &BTreeMap<String, String>,
) -> Result<Endpoint, Refusal> {
    let mut inputs = inputs.clone();
    let mut exact = true;
    loop {
        match service.token_endpoint(grant_type, client.context(&inputs)) {
            Ok(Some(endpoint)) => return Ok(Endpoint { endpoint, exact }),
            Ok(None) => return Err(Refusal::grant_type("this grant type isn't offered")),
            Err(FillError::Missing(name)) if !inputs.contains_key(&name) => {
                let input = service.inputs.iter().find(|i| i.name == name);
                let Some(input) = input else {
                    return Err(Refusal::request("no such address"));
                };
                inputs.insert(name, input.example.clone());
                exact = false;
            }
            Err(_) => return Err(Refusal::request("no such address")),
        }
    }
}

/// Whether a request was sent to this endpoint.
pub(crate) fn at(endpoint: &TokenEndpoint, incoming: &Incoming) -> bool {
    address(&endpoint.url) == format!("{}{}", incoming.host, incoming.path)
}

/// Method, codec, compulsory headers, fixed parameters. `exact`: their values are known, too.
pub(crate) fn check_form(
    endpoint: &TokenEndpoint,
    exact: bool,
    incoming: &Incoming,
) -> Result<Params, Refusal> {
    if incoming.method != endpoint.method.as_str() {
        return Err(Refusal::request("another method is wanted"));
    }
    let codec = match endpoint.method {
        Method::Get | Method::Delete => indicia_oauth::BodyCodec::Query,
        _ => endpoint.codec,
    };
    let params = Params::of_request(incoming, codec).map_err(Refusal::request)?;
    if let Some(name) = params.twice() {
        return Err(Refusal::request(format!("{name} came twice")));
    }
    for (name, _) in &endpoint.headers {
        if incoming.header(&name.to_ascii_lowercase()).is_none() {
            return Err(Refusal::request(format!("the header {name} is missing")));
        }
    }
    for (name, value) in &endpoint.params {
        let came = params.raw(name);
        if came.is_none() || (exact && came != Some(value)) {
            return Err(Refusal::request(format!("{name} is missing or wrong")));
        }
    }
    Ok(params)
}
