//! The front channel: login page, consent page, and the way back with a code or a refusal.
//!
//! The pages keep no session: the authorization request stays in the address, and each form posts
//! back to where it was shown. So any page works in any tab, and after a restart.

use std::collections::BTreeMap;

use indicia_catalog::service::{AuthorizeCall, Omitted, Pkce};
use indicia_catalog::template::InputFrom;
use indicia_catalog::{ClientKind, Flow, Service};
use indicia_oauth::{Answer, Timestamp};

use crate::chance::digest;
use crate::clients::{Claimed, Registration};
use crate::model::{Account, IssuedCode, Model, Refused};
use crate::pages;
use crate::record::What;
use crate::refuse::Refusal;
use crate::route::{Hit, Kind};
use crate::wire::{self, Incoming, Params};

/// An authorization request that passed every check.
struct Ask {
    client: Registration,
    call: AuthorizeCall,
    /// Where the browser goes back to.
    redirect_uri: String,
    /// As it was sent.
    redirect_sent: bool,
    state: Option<String>,
    scopes: Vec<String>,
    challenge: Option<String>,
    inputs: BTreeMap<String, String>,
    offline: bool,
    /// The token itself is asked for.
    implicit: bool,
}

/// What the account's owner does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Decision {
    Approve,
    Deny,
}

impl Model {
    pub(crate) fn authorize(&mut self, incoming: &Incoming, hit: &Hit, now: Timestamp) -> Answer {
        let ask = match self.ask(incoming, hit) {
            Ok(ask) => ask,
            Err(refused) => {
                self.note_refusal("authorize", None, &refused.why, now);
                return match &refused.callback_url {
                    Some(url) => wire::redirect(url),
                    None => wire::page(400, pages::problem(&self.service, &refused.why)),
                };
            }
        };
        let form = match incoming.method.as_str() {
            "GET" => {
                let client_id = ask.client.client_id;
                self.record.note(now, What::Authorize { client_id: client_id.clone() });
                return wire::page(200, pages::login(&self.service, &client_id));
            }
            "POST" => Params::of_request(incoming, indicia_oauth::BodyCodec::Form),
            _ => Err("GET and POST only"),
        };
        match form {
            Ok(form) => self.form_posted(&ask, &form, now),
            Err(why) => wire::page(400, pages::problem(&self.service, why)),
        }
    }

    fn form_posted(&mut self, ask: &Ask, form: &Params, now: Timestamp) -> Answer {
        let account = self.account(form.value("account").unwrap_or_default());
        let decision = match form.value("decision") {
            Some("approve") => Decision::Approve,
            Some("deny") => Decision::Deny,
            _ => {
                let scopes = scope_lines(&self.service, &ask.scopes);
                let page = pages::consent(&self.service, &ask.client.client_id, &account, scopes);
                return wire::page(200, page);
            }
        };
        wire::redirect(&self.decide(ask, account, decision, now))
    }

    /// Plays the click of an account's owner who agrees. The answer is the callback's address; or,
    /// where a device's code was entered, the address that it was entered at.
    pub fn approve(
        &mut self,
        authorize_url: &str,
        account: &str,
        now: Timestamp,
    ) -> Result<String, Refused> {
        self.click(authorize_url, account, (Decision::Approve, None), now)
    }

    /// The same of an owner who allows these scopes alone, of those that were asked for (RFC 6749
    /// §3.3). Not for a device's code.
    pub fn approve_only(
        &mut self,
        authorize_url: &str,
        account: &str,
        scopes: &[String],
        now: Timestamp,
    ) -> Result<String, Refused> {
        self.click(authorize_url, account, (Decision::Approve, Some(scopes)), now)
    }

    /// Plays the click of an account's owner who refuses.
    pub fn deny(
        &mut self,
        authorize_url: &str,
        account: &str,
        now: Timestamp,
    ) -> Result<String, Refused> {
        self.click(authorize_url, account, (Decision::Deny, None), now)
    }

    fn click(
        &mut self,
        authorize_url: &str,
        account: &str,
        (decision, only): (Decision, Option<&[String]>),
        now: Timestamp,
    ) -> Result<String, Refused> {
        let now = self.own_time(now);
        let incoming = Incoming::get(authorize_url)
            .ok_or_else(|| page("invalid_request", "the address can't be read"))?;
        let hit = self.routes.find(&self.service, &incoming.host, &incoming.path);
        if hit.as_ref().is_some_and(|hit| hit.kind == Kind::Verify) {
            let approved = decision == Decision::Approve;
            self.click_device(&incoming, account, approved, now)?;
            return Ok(authorize_url.to_owned());
        }
        let hit = hit
            .filter(|hit| hit.kind == Kind::Authorize)
            .ok_or_else(|| page("invalid_request", "this isn't the authorization endpoint"))?;
        match self.ask(&incoming, &hit) {
            Ok(mut ask) => {
                if let Some(only) = only {
                    ask.scopes.retain(|scope| only.contains(scope));
                }
                let client_id = ask.client.client_id.clone();
                self.record.note(now, What::Authorize { client_id });
                let account = self.account(account);
                Ok(self.decide(&ask, account, decision, now))
            }
            Err(refused) => {
                self.note_refusal("authorize", None, &refused.why, now);
                Err(refused)
            }
        }
    }

    /// Checks an authorization request (RFC 6749 §4.1.1). What is wrong with the client or its
    /// redirect URI is shown and never sent anywhere (§4.1.2.1).
    fn ask(&mut self, incoming: &Incoming, hit: &Hit) -> Result<Ask, Refused> {
        let params = Params::of_query(&incoming.query);
        if let Some(name) = params.twice() {
            return Err(page("invalid_request", &format!("{name} came twice")));
        }
        let client_id = params.value("client_id").map(str::to_owned);
        let claimed = Claimed { client_id, secret: None };
        let client = self.known_client(&claimed).map_err(|r| page(r.code, &r.why))?;
        let inputs = self.all_inputs(&self.inputs_of(&client, &hit.inputs));
        let call = self.service.authorize(client.context(&inputs));
        let call = call.map_err(|e| page("invalid_request", &e.to_string()))?;
        let redirect_uri = self.redirect_uri(&client, &call, &params)?;
        let checked = self.check_ask(&client, &call, &params);
        let (scopes, challenge) = checked.map_err(|refusal| {
            let state = params.value("state");
            let pairs = [("error", Some(refusal.code)), ("state", state)];
            let url = match params.value("response_type") {
                Some("token") if self.service.flows.contains(&Flow::Implicit) => {
                    in_fragment(&redirect_uri, &pairs)
                }
                _ => callback(&redirect_uri, &pairs),
            };
            Refused { code: refusal.code.to_owned(), why: refusal.why, callback_url: Some(url) }
        })?;
        let offline = is_offline(&self.service, &call, &params, &scopes);
        Ok(Ask {
            redirect_sent: params.value("redirect_uri").is_some(),
            state: params.value("state").map(str::to_owned),
            inputs: hit.inputs.clone(),
            implicit: params.value("response_type") == Some("token"),
            client,
            call,
            redirect_uri,
            scopes,
            challenge,
            offline,
        })
    }

    fn redirect_uri(
        &mut self,
        client: &Registration,
        call: &AuthorizeCall,
        params: &Params,
    ) -> Result<String, Refused> {
        let sent = params.value("redirect_uri");
        let registered = &client.redirect_uris;
        let any_port = self.service.redirect.any_port;
        let known = |uri: &str| registered.iter().any(|r| same_uri(r, uri, any_port));
        match sent {
            Some(_) if !call.send_redirect_uri => {
                Err(page("invalid_request", "redirect_uri isn't taken here"))
            }
            Some(uri) if known(uri) => Ok(uri.to_owned()),
            Some(uri) if self.options.accept_any_client && is_absolute(uri) => {
                if let Some(client) = self.clients.get_mut(&client.client_id) {
                    client.redirect_uris.push(uri.to_owned());
                }
                Ok(uri.to_owned())
            }
            Some(_) => Err(page("invalid_request", "redirect_uri isn't registered")),
            None if call.send_redirect_uri => {
                Err(page("invalid_request", "redirect_uri is missing"))
            }
            None => {
                let first = registered.first().cloned();
                first.ok_or_else(|| page("invalid_request", "no redirect URI is registered"))
            }
        }
    }

    fn check_ask(
        &self,
        client: &Registration,
        call: &AuthorizeCall,
        params: &Params,
    ) -> Result<(Vec<String>, Option<String>), Refusal> {
        // A draft of OAuth 2 had `type` in its place; a service that wants it says so in its file.
        let draft = call.params.iter().any(|(name, _)| name == "type");
        match params.value("response_type") {
            Some("code") => {}
            Some("token") if self.service.flows.contains(&Flow::Implicit) => {
                // There is no code that a challenge could be bound to.
                return Ok((self.scopes_of(params.raw("scope"), Some(params))?, None));
            }
            None if draft && params.value("type").is_some() => {}
            _ => return Err(Refusal::request("response_type must be code")),
        }
        let challenge = self.challenge(client, params)?;
        let scopes = self.scopes_of(params.raw("scope"), Some(params))?;
        Ok((scopes, challenge))
    }

    /// PKCE, as this service has it for this client (RFC 7636 §4.4.1).
    fn challenge(&self, client: &Registration, params: &Params) -> Result<Option<String>, Refusal> {
        let sent = params.value("code_challenge");
        let (wanted, taken) = match (self.service.pkce, client.kind) {
            (Pkce::Required, _) | (Pkce::PublicOnly, ClientKind::Public) => (true, true),
            (Pkce::Forbidden, _) | (Pkce::PublicOnly, ClientKind::Confidential) => (false, false),
            (Pkce::Supported | Pkce::Unknown, _) => (false, true),
        };
        match sent {
            None if wanted => Err(Refusal::request("code_challenge is missing")),
            None => Ok(None),
            Some(_) if !taken => Err(Refusal::request("code_challenge isn't taken of this client")),
            Some(challenge) if params.value("code_challenge_method") == Some("S256") => {
                Ok(Some(challenge.to_owned()))
            }
            Some(_) => Err(Refusal::request("code_challenge_method must be S256")),
        }
    }

    /// Where PKCE isn't documented, half of the seeds ignore it (RFC 6749 §3.1: unknown parameters
    /// are ignored).
    pub(crate) fn ignores_pkce(&self) -> bool {
        self.service.pkce == Pkce::Unknown && self.chance.coin("ignores pkce")
    }

    /// Reads the scopes of a request; `params`, where optional ones may travel apart.
    pub(crate) fn scopes_of(
        &self,
        scope: Option<&str>,
        params: Option<&Params>,
    ) -> Result<Vec<String>, Refusal> {
        let rule = &self.service.scopes;
        let split = |text: &str| -> Vec<String> {
            let separator = if rule.separator.is_empty() { " " } else { &rule.separator };
            let parts = text.split(separator).map(str::trim);
            parts.filter(|s| !s.is_empty()).map(str::to_owned).collect()
        };
        let known = |scope: &String| {
            rule.full_access || rule.known.is_empty() || rule.known.iter().any(|k| k.name == *scope)
        };
        let mut scopes = match (scope, rule.omitted) {
            (Some(scope), _) => split(scope),
            (None, Omitted::Everything) => rule.known.iter().map(|k| k.name.clone()).collect(),
            (None, Omitted::Refused) => return Err(Refusal::scope("scope is missing")),
            (None, Omitted::Default) => rule.always.clone(),
            (None, Omitted::Unknown | Omitted::Nothing) => Vec::new(),
        };
        if let Some(unknown) = scopes.iter().find(|scope| !known(scope)) {
            return Err(Refusal::scope(format!("scope {unknown:?} isn't known")));
        }
        let apart = rule.optional_param.as_ref().and_then(|name| params?.value(name));
        scopes.extend(split(apart.unwrap_or_default()).into_iter().filter(known));
        scopes.dedup();
        Ok(scopes)
    }

    fn decide(
        &mut self,
        ask: &Ask,
        account: Account,
        decision: Decision,
        now: Timestamp,
    ) -> String {
        let client_id = ask.client.client_id.clone();
        let approved = decision == Decision::Approve;
        let name = account.name.clone();
        self.record.note(now, What::Consent { client_id, account: name, approved });
        let state = ask.state.as_deref();
        if !approved {
            let denied = [("error", Some("access_denied")), ("state", state)];
            return match ask.implicit {
                true => in_fragment(&ask.redirect_uri, &denied),
                false => callback(&ask.redirect_uri, &denied),
            };
        }
        let inputs = self.home(&ask.inputs, &account);
        if ask.implicit {
            self.accounts.insert(account.name.clone(), account.clone());
            let (of, scopes) = ((ask.client.client_id.as_str(), &account), ask.scopes.clone());
            let back = (ask.redirect_uri.as_str(), state);
            return self.in_fragment(of, scopes, inputs, back, now);
        }
        let code = self.issue_code(ask, account.clone(), inputs.clone(), now);
        self.accounts.insert(account.name.clone(), account.clone());
        let extra = self.callback_extra(&account, &inputs);
        let always = ask.call.issuer_always;
        let issuer = ask.call.issuer.as_deref().filter(|_| always);
        let mut pairs = vec![("code", Some(code.as_str())), ("state", state), ("iss", issuer)];
        pairs.extend(extra.iter().map(|(name, value)| (name.as_str(), Some(value.as_str()))));
        callback(&ask.redirect_uri, &pairs)
    }

    /// What a callback has besides code and state: what the file lists, and whatever inputs are
    /// learnt from it.
    fn callback_extra(
        &self,
        account: &Account,
        inputs: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let values = self.values(&account.name, inputs);
        let mut extra = BTreeMap::new();
        for input in &self.service.inputs {
            if let InputFrom::Callback(member) = &input.from {
                let place = format!("{{{}}}", input.name);
                extra.insert(member.clone(), values.text(&place));
                for (name, template) in &input.confirm {
                    extra.insert(name.clone(), values.text(template.as_str()));
                }
            }
        }
        let listed = self.service.sandbox.callback_extra.iter();
        extra.extend(listed.map(|(name, text)| (name.clone(), values.text(text))));
        extra
    }

    fn issue_code(
        &mut self,
        ask: &Ask,
        account: Account,
        inputs: BTreeMap<String, String>,
        now: Timestamp,
    ) -> String {
        self.codes_issued += 1;
        let code = self.chance.token("sbx-code-", &[&self.codes_issued.to_string()]);
        let client_id = ask.client.client_id.clone();
        let named = account.name.clone();
        self.codes.insert(
            digest(&code),
            IssuedCode {
                client_id: client_id.clone(),
                account,
                scopes: ask.scopes.clone(),
                redirect_uri: ask.redirect_sent.then(|| ask.redirect_uri.clone()),
                challenge: ask.challenge.clone(),
                inputs,
                offline: ask.offline,
                issued: now,
                used: None,
            },
        );
        self.record.note(now, What::CodeIssued { client_id, account: named });
        code
    }

    /// Where an account lives: inputs that the service tells (by callback, answer or discovery) are
    /// the account's own, whatever address the browser came to.
    fn home(
        &self,
        asked: &BTreeMap<String, String>,
        account: &Account,
    ) -> BTreeMap<String, String> {
        let mut home = asked.clone();
        for input in &self.service.inputs {
            let told = !matches!(input.from, InputFrom::User);
            if !told {
                continue;
            }
            let places: Vec<&String> = input.table.keys().collect();
            // "eu-anna" lives in `eu`; any other account somewhere, by seed.
            let named = account.name.split(['-', '.', '@']).next().unwrap_or_default();
            let chosen = places.iter().find(|place| place.as_str() == named).copied();
            let value = match (chosen, places.is_empty(), asked.get(&input.name)) {
                (Some(place), _, _) => place.clone(),
                (None, false, _) => {
                    let purpose = ["home", &input.name, &account.name];
                    places[self.chance.pick(places.len(), &purpose)].clone()
                }
                (None, true, Some(asked)) => asked.clone(),
                (None, true, None) if input.default.is_some() => continue,
                (None, true, None) => input.example.clone(),
            };
            home.insert(input.name.clone(), value);
        }
        home
    }
}

fn page(code: &str, why: &str) -> Refused {
    Refused { code: code.to_owned(), why: why.to_owned(), callback_url: None }
}

/// Whether the client asked for a refresh token in the way that the service wants: by its scope for
/// offline access, if it knows one, or by `access_type`.
fn is_offline(service: &Service, call: &AuthorizeCall, params: &Params, scopes: &[String]) -> bool {
    let known = service.scopes.known.iter().map(|k| &k.name);
    let mut needed = known.filter(|name| name.starts_with("offline"));
    let mut types = call.params.iter().filter(|(name, _)| name == "access_type");
    needed.all(|scope| scopes.contains(scope))
        && types.all(|(name, value)| params.value(name) == Some(value))
}

pub(crate) fn scope_lines(service: &Service, scopes: &[String]) -> Vec<pages::ScopeLine> {
    let meaning = |name: &String| {
        let known = service.scopes.known.iter().find(|k| k.name == *name);
        known.map_or_else(String::new, |k| k.meaning.clone())
    };
    scopes
        .iter()
        .map(|name| pages::ScopeLine { name: name.clone(), meaning: meaning(name) })
        .collect()
}

/// The redirect URI exactly as it is, with parameters added to its query.
/// The way back of an implicit answer (RFC 6749 §4.2.2.1).
fn in_fragment(redirect_uri: &str, pairs: &[(&str, Option<&str>)]) -> String {
    let mut fragment = form_urlencoded::Serializer::new(String::new());
    fragment.extend_pairs(pairs.iter().filter_map(|(name, value)| Some((name, (*value)?))));
    format!("{redirect_uri}#{}", fragment.finish())
}

fn callback(redirect_uri: &str, pairs: &[(&str, Option<&str>)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let join = if redirect_uri.contains('?') { '&' } else { '?' };
    format!("{redirect_uri}{join}{}", query.finish())
}

/// Exact, but for the port of a loopback address where the service is lenient (RFC 8252 §7.3).
fn same_uri(registered: &str, sent: &str, any_port: bool) -> bool {
    if registered == sent {
        return true;
    }
    let (Ok(mut one), Ok(mut other)) = (url::Url::parse(registered), url::Url::parse(sent)) else {
        return false;
    };
    let loopback =
        |url: &url::Url| matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    if !any_port || !loopback(&one) || !loopback(&other) {
        return false;
    }
    one.set_port(None).is_ok() && other.set_port(None).is_ok() && one == other
}

fn is_absolute(uri: &str) -> bool {
    url::Url::parse(uri).is_ok_and(|url| url.fragment().is_none())
}
