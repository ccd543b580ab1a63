//! A service as a pure machine: a request and the time in, an answer out.
//!
//! All that a service does follows from its file: no service is named here, and nothing is known of
//! whoever calls. The surprise: where the file says that a fact is unverified, the seed decides
//! which way it is played, so that other seeds play it otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use indicia_catalog::{ClientKind, Context, Rotation, Service};
use indicia_oauth::{Answer, Timestamp};
use thiserror::Error;

use crate::chance::{Chance, digest};
use crate::clients::{Claimed, Registration};
use crate::device::DeviceAsk;
use crate::faults::Refused as BadDay;
use crate::record::{GrantId, Record, What, Why};
use crate::refuse::{Dialect, Refusal};
use crate::route::{self, Hit, Kind, Routes};
use crate::wire::{self, Incoming, Params};

/// How a simulated service is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Decides every token, and how unverified facts are played.
    pub seed: u64,
    /// Caps the life of access tokens; those that never end stay so.
    pub life_max: Option<Duration>,
    /// Registers an unknown client at first sight, with whatever it brings. Later its secret
    /// counts.
    pub accept_any_client: bool,
    /// Plays this rotation whatever the file says.
    pub rotation: Option<Rotation>,
    /// Plays reuse detection so, whatever the file says.
    pub reuse_kills: Option<bool>,
    /// How many seconds the service's clock is ahead.
    pub clock_ahead_secs: i64,
}

/// Why an authorization request is refused at the service: what its page would say, or what it
/// would send back.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the service refuses the authorization request: {code}: {why}")]
pub struct Refused {
    /// Error code (RFC 6749 §4.1.2.1).
    pub code: String,
    /// In words.
    pub why: String,
    /// Where the browser is sent back to, unless the page is shown there and then.
    pub callback_url: Option<String>,
}

/// An account at the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub id: String,
    pub name: String,
}

/// An authorization code that was issued.
pub(crate) struct IssuedCode {
    pub client_id: String,
    pub account: Account,
    pub scopes: Vec<String>,
    /// As it was sent; `None`: it wasn't.
    pub redirect_uri: Option<String>,
    pub challenge: Option<String>,
    pub inputs: BTreeMap<String, String>,
    pub offline: bool,
    pub issued: Timestamp,
    pub used: Option<Option<GrantId>>,
}

/// One simulated service.
pub struct Model {
    pub(crate) service: Arc<Service>,
    pub(crate) options: Options,
    pub(crate) chance: Chance,
    pub(crate) routes: Routes,
    /// Settings of a client that has none of its own: endpoints that only metadata tells.
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) clients: BTreeMap<String, Registration>,
    pub(crate) accounts: BTreeMap<String, Account>,
    pub(crate) codes: BTreeMap<String, IssuedCode>,
    pub(crate) devices: BTreeMap<String, DeviceAsk>,
    /// Ids of assertions that were used, until their end in seconds since 1970.
    pub(crate) assertions_seen: BTreeMap<String, i64>,
    /// Keys that sign, by their ids.
    pub(crate) signing_keys: BTreeMap<String, String>,
    /// Of both kinds.
    pub(crate) codes_issued: u64,
    pub(crate) record: Record,
}

impl Model {
    /// A service without clients.
    pub fn new(service: Arc<Service>, options: Options) -> Self {
        let chance = Chance::new(options.seed, &service.id);
        let settings = route::pins(&service);
        let routes = Routes::of(&service, &settings);
        let example = service.api_key.as_ref().map(|rule| rule.example.clone());
        let mut model = Self {
            service,
            options,
            chance,
            routes,
            settings,
            clients: BTreeMap::new(),
            accounts: BTreeMap::new(),
            codes: BTreeMap::new(),
            devices: BTreeMap::new(),
            assertions_seen: BTreeMap::new(),
            signing_keys: BTreeMap::new(),
            codes_issued: 0,
            record: Record::default(),
        };
        if let Some(key) = example {
            // It was made before anybody looked.
            model.add_key(&key, "", Timestamp::from_millis(0));
        }
        model
    }

    /// The service that is played.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Registers an application, or changes one.
    pub fn register(&mut self, mut registration: Registration) {
        for (name, value) in &self.settings {
            registration.settings.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self.clients.insert(registration.client_id.clone(), registration);
    }

    /// Gives an application other secrets: all others are refused from now on. False: unknown.
    pub fn set_secrets(&mut self, client_id: &str, secrets: Vec<String>) -> bool {
        let client = self.clients.get_mut(client_id);
        client.map(|client| client.secrets = secrets).is_some()
    }

    /// Sets the service's clock ahead of the time that it is handed (or back).
    pub fn set_clock_ahead(&mut self, secs: i64) {
        self.options.clock_ahead_secs = secs;
    }

    /// The account's owner takes back all that it gave a client; how many grants ended.
    pub fn owner_revokes(&mut self, account: &str, client_id: &str, now: Timestamp) -> usize {
        let now = self.own_time(now);
        let name = self.account(account).name;
        let theirs = |g: &&crate::record::GrantRecord| {
            g.ended.is_none() && g.client_id == client_id && g.account == name
        };
        let ids: Vec<GrantId> = self.record.grants().iter().filter(theirs).map(|g| g.id).collect();
        ids.iter().for_each(|id| self.record.end(*id, Why::Owner, now));
        ids.len()
    }

    /// What the service has seen and knows.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The time on the service's own clock.
    pub fn own_time(&self, now: Timestamp) -> Timestamp {
        let millis = self.options.clock_ahead_secs.saturating_mul(1000);
        Timestamp::from_millis(now.as_millis().saturating_add(millis))
    }

    /// Whether an address is one of this service's.
    pub fn serves(&self, host: &str, path: &str) -> bool {
        self.routes.find(&self.service, host, path).is_some()
    }

    /// The endpoint that a request is for, in a word: `authorize`, `exchange`, `refresh`,
    /// `device`, `revoke`, `introspect`, `metadata`, `api`; `None`: not this service's. Client
    /// credentials and polls with a device code count as `exchange`.
    pub fn endpoint_of(&self, request: &Incoming) -> Option<&'static str> {
        let hit = self.routes.find(&self.service, &request.host, &request.path)?;
        Some(match hit.kind {
            Kind::Authorize | Kind::Verify => "authorize",
            Kind::Token => match Params::anywhere(request).value("grant_type") {
                Some("refresh_token") => "refresh",
                _ => "exchange",
            },
            Kind::Device => "device",
            Kind::Revoke => "revoke",
            Kind::Introspect => "introspect",
            Kind::Metadata => "metadata",
            Kind::Discovery | Kind::Probe | Kind::Userinfo | Kind::Api => "api",
        })
    }

    /// Answers a request. Never panics, whatever comes.
    pub fn handle(&mut self, request: &Incoming, now: Timestamp) -> Answer {
        let now = self.own_time(now);
        let mut answer = match self.routes.find(&self.service, &request.host, &request.path) {
            None => wire::answer(404, "text/plain; charset=utf-8", "nothing is served here\n"),
            Some(hit) => self.dispatch(request, &hit, now),
        };
        answer.headers.push(("date".to_owned(), http_date(now)));
        answer
    }

    fn dispatch(&mut self, request: &Incoming, hit: &Hit, now: Timestamp) -> Answer {
        match hit.kind {
            Kind::Authorize => self.authorize(request, hit, now),
            Kind::Token => self.token(request, hit, now),
            Kind::Device => self.device(request, hit, now),
            Kind::Verify => self.verify(request, now),
            Kind::Revoke => self.revoke(request, hit, now),
            Kind::Introspect => self.introspect(request, hit, now),
            Kind::Metadata => self.metadata(hit),
            Kind::Discovery | Kind::Probe | Kind::Userinfo | Kind::Api => {
                self.api(request, hit, now)
            }
        }
    }

    /// The account of a name or id: one that the service file lists, or one made at first sight.
    pub(crate) fn account(&self, wanted: &str) -> Account {
        let wanted = wanted.trim();
        let listed = &self.service.sandbox.accounts;
        let known = listed.iter().find(|a| wanted.is_empty() || a.id == wanted || a.name == wanted);
        match known {
            Some(account) => Account { id: account.id.clone(), name: account.name.clone() },
            None if wanted.is_empty() => self.made_account("owner"),
            None => self.made_account(wanted),
        }
    }

    fn made_account(&self, name: &str) -> Account {
        let id = 10_000_000 + self.chance.number(&["account", name]) % 90_000_000;
        Account { id: id.to_string(), name: name.to_owned() }
    }

    /// The client that a request speaks of, registered at first sight where that is allowed.
    pub(crate) fn known_client(&mut self, claimed: &Claimed) -> Result<Registration, Refusal> {
        let Some(client_id) = &claimed.client_id else {
            return Err(Refusal::client("the request names no client"));
        };
        if let Some(client) = self.clients.get_mut(client_id) {
            // Seen first in a browser, where it couldn't bring its secret.
            if self.options.accept_any_client && client.secrets.is_empty() {
                client.secrets.extend(claimed.secret.clone());
            }
            return Ok(client.clone());
        }
        if !self.options.accept_any_client {
            return Err(Refusal::client("the client isn't registered"));
        }
        let client = self.first_seen(client_id, claimed.secret.clone());
        self.register(client.clone());
        Ok(client)
    }

    fn first_seen(&self, client_id: &str, secret: Option<String>) -> Registration {
        let kinds = &self.service.client_kinds;
        let kind = kinds.first().copied().unwrap_or(ClientKind::Confidential);
        Registration {
            client_id: client_id.to_owned(),
            secrets: secret.into_iter().collect(),
            kind,
            redirect_uris: Vec::new(),
            inputs: BTreeMap::new(),
            settings: self.settings.clone(),
        }
    }

    /// The client's own inputs, with those of an address or a grant over them.
    pub(crate) fn inputs_of(
        &self,
        client: &Registration,
        inputs: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let mut all = client.inputs.clone();
        all.extend(inputs.iter().map(|(n, v)| (n.clone(), v.clone())));
        all
    }

    /// The same, with the example of each input that must be told and wasn't: a server knows its
    /// own tenant.
    pub(crate) fn all_inputs(&self, known: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut all = route::needed_examples(&self.service);
        all.extend(known.iter().map(|(n, v)| (n.clone(), v.clone())));
        all
    }

    /// A bad day: refuses whatever is asked, in the service's own words.
    pub fn refuse(&mut self, refused: BadDay, endpoint: &'static str, now: Timestamp) -> Answer {
        let now = self.own_time(now);
        let why = "the service refuses everybody";
        let (refusal, dialect) = match (refused, endpoint) {
            (BadDay::Grant, "api") => (Refusal::grant(why), Dialect::Api),
            (BadDay::Grant, _) => (Refusal::grant(why), Dialect::Token),
            (BadDay::Client, _) => (Refusal::client(why), Dialect::Token),
        };
        self.note_refusal(endpoint, None, &refusal.why, now);
        refusal.answer(&self.service, dialect)
    }

    pub(crate) fn note_refusal(
        &mut self,
        at_endpoint: &'static str,
        grant: Option<GrantId>,
        why: &str,
        now: Timestamp,
    ) {
        self.record.note(now, What::Refused { at_endpoint, grant, why: why.to_owned() });
    }

    pub(crate) fn code_mut(&mut self, code: &str) -> Option<&mut IssuedCode> {
        self.codes.get_mut(&digest(code))
    }

    /// A context for questions that don't depend on the client.
    pub(crate) fn bare_context<'a>(&'a self, inputs: &'a BTreeMap<String, String>) -> Context<'a> {
        Context { kind: ClientKind::Confidential, inputs, settings: &self.settings }
    }
}

/// RFC 9110 §5.6.7.
pub(crate) fn http_date(now: Timestamp) -> String {
    let secs = u64::try_from(now.as_millis() / 1000).unwrap_or(0).min(HTTP_DATE_SECS_MAX);
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(secs))
}

/// The end of the year 9999, after which the format has no year.
const HTTP_DATE_SECS_MAX: u64 = 253_402_300_799;
