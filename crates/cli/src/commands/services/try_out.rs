//! `indicia services try FILE`: plays a service file through its whole life cycle, with the real
//! engine and the simulated service in one process, on one clock that is moved by hand.
//!
//! Surprise: file and model can err alike, since both come from the same facts. What this proves is
//! that the file hangs together, not that it is true.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indicia_broker::clients::NewClient;
use indicia_broker::connect::{ConnectRequest, ConnectStep};
use indicia_broker::model::{Environment, RevocationItemState};
use indicia_broker::revoke::{Selector, Shared};
use indicia_broker::view::{ConnectionState, ConnectionView, ExpiryKind, SecretView, TokenView};
use indicia_broker::{Error, Force};
use indicia_catalog::template::{InputFrom, Level};
use indicia_catalog::{Catalogue, ClientKind, Context, Flow, Service};
use indicia_oauth::{AccessToken, ClientSecret};
use indicia_sandbox::{Incoming, Registration};
use serde::Serialize;
use serde_json::json;
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::commands::word;
use crate::failure::Failure;
use crate::home::Cx;
use crate::output::Grade;
use crate::simulated::{IsDown, World};
use crate::words::{shown, spoken};

/// One step of the life cycle.
#[derive(Debug, Serialize)]
struct Step {
    flow: String,
    /// One word, the same for every service.
    step: &'static str,
    what: String,
    how: String,
    ok: bool,
}

/// Plays it.
pub fn run(cx: &Cx, path: &Path, seed: u64) -> Result<(), Failure> {
    let (catalogue, service) = read(cx, path)?;
    let name = service.name.clone();
    let steps = cx.block_on(play(catalogue, service, seed))?;
    if cx.out.json {
        cx.out.document(&json!({ "service": name, "seed": seed, "steps": steps }))?;
    } else {
        let mut flow = "";
        for step in &steps {
            if std::mem::replace(&mut flow, &step.flow) != step.flow {
                cx.out.line(&format!("{}:", step.flow))?;
            }
            let grade = cx.out.grade(if step.ok { Grade::Ok } else { Grade::Fail });
            cx.out.line(&format!("{grade}  {}: {}", step.what, shown(&step.how)))?;
        }
    }
    match steps.iter().filter(|step| !step.ok).count() {
        0 => Ok(()),
        n => Err(Failure::failed(
            "try_failed",
            format!("{n} of {} steps failed with {name}", steps.len()),
            "compare the file with the service's documentation; `indicia services check` helps",
        )),
    }
}

/// A file, or where there is none of that name, a service of the catalogue.
fn read(cx: &Cx, path: &Path) -> Result<(Catalogue, Arc<Service>), Failure> {
    let text = match super::check::text(path) {
        Ok(text) => text,
        Err(error) => {
            let catalogue = cx.catalogue()?;
            let named = path.to_str().and_then(|name| catalogue.service(name));
            return match named {
                Some(service) => Ok((catalogue, service)),
                None => Err(Failure::file(path, &error)),
            };
        }
    };
    let problems = |errors: Vec<indicia_catalog::read::ReadError>| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let hint = "mend these lines; `indicia services check` tells more";
        Failure::failed("service_file_refused", lines.join("\n"), hint)
    };
    let file = path.display().to_string();
    let id = indicia_catalog::read::read(&file, &text).map_err(problems)?.id;
    let catalogue = Catalogue::with_own([(path, text.as_str())]).map_err(problems)?;
    match catalogue.service(&id) {
        Some(service) => Ok((catalogue, service)),
        None => Err(Failure::failed("internal", format!("{id} got lost"), "")),
    }
}

/// The life of one connection; each step is a method that adds to `steps`.
struct Life {
    world: World,
    service: Arc<Service>,
    flow: Flow,
    client: String,
    /// What the service knows the client by: its secret, or the public part of its key.
    known: Vec<String>,
    steps: Vec<Step>,
}

async fn play(
    catalogue: Catalogue,
    service: Arc<Service>,
    seed: u64,
) -> Result<Vec<Step>, Failure> {
    let known = [
        Flow::AuthorizationCode,
        Flow::ClientCredentials,
        Flow::Implicit,
        Flow::Device,
        Flow::ApiKey,
    ];
    let flows: Vec<Flow> = service.flows.iter().copied().filter(|f| known.contains(f)).collect();
    let Some(first) = flows.first().copied() else {
        return Ok(vec![Step {
            flow: String::new(),
            step: "connect",
            what: "flow".into(),
            how: "none of its flows can be played yet".into(),
            ok: false,
        }]);
    };
    let world = World::new(catalogue, Arc::clone(&service), seed).await?;
    let steps = Vec::new();
    let (client, known) = (String::new(), Vec::new());
    let mut life = Life { world, service, flow: first, client, known, steps };
    let mut done = life.register().await;
    for flow in flows {
        life.flow = flow;
        if done.is_ok() {
            done = life.through().await;
        }
        // Each step builds on the one before: the first that can't go on ends the play.
        if let Err(failure) = &done {
            let said = failure.said().map(|said| said.detail).unwrap_or_default();
            life.step("connect", "goes on", said, false);
            break;
        }
    }
    Ok(life.steps)
}

impl Life {
    async fn through(&mut self) -> Result<(), Failure> {
        if self.flow == Flow::ApiKey {
            self.wrong_key().await?;
        }
        let view = self.connect().await?;
        let id = view.id.clone();
        let token = self.token(&id).await?;
        self.api(&token);
        self.outage(&id, &token).await;
        self.end_of_the_token(&id, &token).await?;
        if self.flow == Flow::ClientCredentials {
            self.secret_is_refused(&id).await?;
        } else {
            self.owner_ends_it(&view).await?;
            self.reconnect(&view).await?;
        }
        self.take_back(&id).await
    }

    fn step(&mut self, step: &'static str, what: &str, how: impl Into<String>, ok: bool) {
        let (flow, what) = (word(&self.flow), what.to_owned());
        self.steps.push(Step { flow, step, what, how: how.into(), ok });
    }

    async fn register(&mut self) -> Result<(), Failure> {
        let service = Arc::clone(&self.service);
        let kind = service.client_kinds.first().copied().unwrap_or(ClientKind::Confidential);
        let inputs = examples(&service, Level::Client);
        let keys = service.client_keys.as_ref().and_then(|rule| rule.algorithms.first());
        let secret = match (kind, keys) {
            (ClientKind::Public, _) => None,
            (ClientKind::Confidential, Some(way)) => Some(indicia::client_key::generate(*way)?),
            (ClientKind::Confidential, None) => Some(ClientSecret::new(PLAY_SECRET)),
        };
        let new = NewClient {
            service: service.id.clone(),
            id: None,
            client_id: service.registers().then(|| PLAY_CLIENT.to_owned()),
            secret: secret.filter(|_| service.registers()),
            secret_expires_at: None,
            kind: service.registers().then_some(kind),
            redirect_uri: None,
            inputs: inputs.clone(),
            settings: BTreeMap::new(),
            environment: Environment::Live,
        };
        let client = self.world.broker.add_client(new).await?;
        let known = |secret: &SecretView| match &secret.key {
            Some(key) => key.pem.clone(),
            None => PLAY_SECRET.to_owned(),
        };
        self.known = client.secrets.iter().map(known).collect();
        self.world.model().register(Registration {
            client_id: PLAY_CLIENT.to_owned(),
            secrets: self.known.clone(),
            kind,
            redirect_uris: vec![client.redirect_uri.clone()],
            inputs,
            settings: BTreeMap::new(),
        });
        self.step("register", "registers a client", client.redirect_uri.clone(), true);
        self.client = client.id;
        Ok(())
    }

    fn request(&self, id: Option<String>) -> ConnectRequest {
        let scopes = &self.service.scopes;
        let capabilities: Vec<_> = scopes.capabilities.keys().copied().take(1).collect();
        let spelt = match capabilities.is_empty() {
            true => scopes.known.iter().take(1).map(|scope| scope.name.clone()).collect(),
            false => Vec::new(),
        };
        ConnectRequest {
            client: self.client.clone(),
            id,
            capabilities,
            scopes: spelt,
            inputs: examples(&self.service, Level::Connection),
            flow: Some(self.flow),
            ..ConnectRequest::default()
        }
    }

    async fn obtain(&self, id: Option<String>) -> Result<ConnectionView, Failure> {
        match self.world.broker.connect(self.request(id.clone())).await? {
            ConnectStep::Done(view) => Ok(*view),
            ConnectStep::Key(_) => Ok(self.hand_over(id, self.example_key()).await?),
            ConnectStep::Browser(step) => {
                let callback = self.approve(&step.authorize_url)?;
                Ok(self.world.broker.finish(&callback).await?)
            }
            ConnectStep::Device(step) => {
                self.approve(&step.verification_uri_complete.unwrap_or(step.verification_uri))?;
                Ok(self.world.broker.finish_device(&step.flow).await?)
            }
        }
    }

    fn example_key(&self) -> String {
        self.service.api_key.as_ref().map(|rule| rule.example.clone()).unwrap_or_default()
    }

    async fn hand_over(&self, id: Option<String>, key: String) -> Result<ConnectionView, Error> {
        self.world.broker.connect_key(self.request(id), AccessToken::new(key)).await
    }

    fn has_probe(&self) -> bool {
        let mut inputs = examples(&self.service, Level::Client);
        inputs.extend(examples(&self.service, Level::Connection));
        let settings = BTreeMap::new();
        let cx = Context { kind: ClientKind::Public, inputs: &inputs, settings: &settings };
        matches!(self.service.probe(cx), Ok(Some(_)))
    }

    /// A key that the service doesn't know: one of its letters is another.
    async fn wrong_key(&mut self) -> Result<(), Failure> {
        let right = self.example_key();
        let mut all_but_last = right.chars();
        let last = all_but_last.next_back();
        let digits = ['0', '1', 'a', 'b'].into_iter().filter(|digit| Some(*digit) != last);
        let mut others = digits.map(|digit| format!("{}{digit}", all_but_last.as_str()));
        let wrong = others.find(|key| self.service.check_api_key(key).is_ok());
        let Some(wrong) = wrong.filter(|_| self.has_probe()) else { return Ok(()) };
        let (how, ok) = match self.hand_over(None, wrong).await {
            Err(error @ Error::Refused { code: "key_refused", .. }) => (error.to_string(), true),
            Err(error) => (error.to_string(), false),
            Ok(_) => ("it was taken".to_owned(), false),
        };
        self.step("refuse", "notices a wrong key", how, ok);
        Ok(())
    }

    /// The account's owner agrees.
    fn approve(&self, address: &str) -> Result<String, Failure> {
        let approved = self.world.model().approve(address, "", self.world.now());
        approved.map_err(|refused| Failure::failed("service_refused", refused.to_string(), ""))
    }

    async fn connect(&mut self) -> Result<ConnectionView, Failure> {
        let view = self.obtain(None).await?;
        let account = view.account.as_ref().map(|account| account.id.clone());
        let told = match &account {
            Some(id) => format!("{}, account {id}", word(&self.flow)),
            None => format!("{}, account not learnt", word(&self.flow)),
        };
        self.step(
            "connect",
            "connects",
            told,
            view.state != ConnectionState::ReauthorizationRequired,
        );
        Ok(view)
    }

    async fn token(&mut self, id: &str) -> Result<Arc<TokenView>, Failure> {
        let token = self.world.broker.token(id, None).await?;
        let until = match token.expires_at {
            Some(end) => format!("good for {}", spoken(end.since(self.world.now()))),
            None if token.expiry == ExpiryKind::Never => "never ends".to_owned(),
            None => "its end isn't told".to_owned(),
        };
        let good = self.is_valid(&token);
        self.step("token", "serves a token", until, good);
        Ok(token)
    }

    /// By the service's own record; a key by a call, since what it signed isn't on record.
    fn is_valid(&self, token: &TokenView) -> bool {
        if self.flow == Flow::ApiKey {
            return self.call_api(token).is_none_or(|(status, _)| status == 200);
        }
        let now = self.world.now();
        self.world.model().record().is_access_token_valid(&token.access_token, now)
    }

    /// Calls the API's base with the headers that the token view gives.
    fn api(&mut self, token: &TokenView) {
        let Some((status, taken)) = self.call_api(token) else {
            self.step("api", "calls the API", "no base URL is known: not tried", true);
            return;
        };
        let url = token.api_base_url.clone().unwrap_or_default();
        self.step("api", "calls the API", format!("{url} answers {status}"), taken);
    }

    /// Status, and whether the API knew the token.
    fn call_api(&self, token: &TokenView) -> Option<(u16, bool)> {
        let incoming = token.api_base_url.as_deref().and_then(Incoming::get)?;
        let headers = token.headers.iter();
        let headers = headers.map(|(n, v)| (n.to_ascii_lowercase(), v.to_string())).collect();
        let pairs = |texts: &[(String, Zeroizing<String>)]| {
            let mut text = form_urlencoded::Serializer::new(String::new());
            text.extend_pairs(texts.iter().map(|(name, value)| (name, value.as_str()))).finish()
        };
        let (query, body) = (pairs(&token.query), pairs(&token.body).into_bytes());
        let incoming = Incoming { headers, query, body, ..incoming };
        let now = self.world.now();
        let mut model = self.world.model();
        let before = model.record().count("api_call");
        let answer = model.handle(&incoming, now);
        Some((answer.status, model.record().count("api_call") > before))
    }

    /// The service is down while the token is good: reads go on.
    async fn outage(&mut self, id: &str, token: &TokenView) {
        if let Some(end) = token.expires_at {
            // Past the middle of its life a read with a wish for more asks the service.
            self.world.pass(end.since(self.world.now()) * 3 / 5);
        }
        self.world.set_down(IsDown::Yes);
        let read = self.world.broker.token(id, Some(A_YEAR)).await;
        self.world.set_down(IsDown::No);
        let same = match &read {
            // What signs its calls signs anew, and asks nobody for it.
            Ok(read) if self.flow == Flow::ApiKey => self.is_valid(read),
            Ok(read) => read.access_token == token.access_token,
            Err(_) => false,
        };
        let how = match &read {
            Ok(read) if read.warnings.is_empty() => "there was nothing to ask it for".to_owned(),
            Ok(read) => {
                read.warnings.iter().map(|w| w.detail.clone()).collect::<Vec<_>>().join("; ")
            }
            Err(error) => error.to_string(),
        };
        self.step("outage", "serves it while the service is down", how, same);
    }

    /// The token ends, or the API refuses it: a new one comes, where the service gives any.
    async fn end_of_the_token(&mut self, id: &str, token: &TokenView) -> Result<(), Failure> {
        let Some(end) = token.expires_at else {
            let how = "the token has no end to wait for";
            self.step("refresh", "keeps serving", how, self.is_valid(token));
            return Ok(());
        };
        self.world.pass(end.since(self.world.now()) + A_MOMENT);
        let dead = !self.is_valid(token);
        self.step("end", "the token ends at the service", "by its own clock", dead);
        match self.fresh(id).await {
            Ok(next) => {
                let is_new = next.version > token.version || self.flow == Flow::ApiKey;
                let good = self.is_valid(&next) && is_new;
                self.step("refresh", "gets a new one", format!("version {}", next.version), good);
            }
            Err(Error::Reauthorization { reason, .. }) => {
                let none = !self.rule().supported || self.flow == Flow::Implicit;
                self.step("refresh", "asks for a new connection", reason.detail.clone(), none);
                self.obtain(Some(id.to_owned())).await?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn rule(&self) -> indicia_catalog::RefreshRule {
        let inputs = examples(&self.service, Level::Client);
        let settings = BTreeMap::new();
        let kind = self.service.client_kinds.first().copied().unwrap_or(ClientKind::Confidential);
        let cx = indicia_catalog::Context { kind, inputs: &inputs, settings: &settings };
        self.service.refresh_rule(cx)
    }

    /// A token, waited for through what passes by itself (back-off after the outage, a second look
    /// after a refusal).
    async fn fresh(&self, id: &str) -> Result<Arc<TokenView>, Error> {
        let mut read = self.world.broker.token(id, None).await;
        for _ in 0..TRIES_MAX {
            match read {
                Err(Error::Unavailable { retry_after, .. }) => {
                    self.world.pass(retry_after.unwrap_or(A_WHILE).max(A_MOMENT));
                    read = self.world.broker.token(id, None).await;
                }
                done => return done,
            }
        }
        read
    }

    /// The service refuses the client's secret for a while: no grant is to blame.
    async fn secret_is_refused(&mut self, id: &str) -> Result<(), Failure> {
        let last = self.fresh(id).await?;
        self.world.model().set_secrets(PLAY_CLIENT, vec![OTHER_SECRET.to_owned()]);
        self.let_end(id, &last).await;
        let refused = self.world.broker.token(id, None).await;
        self.world.model().set_secrets(PLAY_CLIENT, self.known.clone());
        let by_client = matches!(&refused, Err(Error::Unavailable { code: "client_refused", .. }));
        let next = self.fresh(id).await?;
        let back = self.is_valid(&next) && next.version > last.version;
        let told = refused.err().map(|error| error.to_string()).unwrap_or_default();
        let how = format!("{told}; with the right one again: version {}", next.version);
        self.step("refuse", "notices that its secret is refused", how, by_client && back);
        Ok(())
    }

    /// Lets a token end; one that has no end is told to have been refused by the API.
    async fn let_end(&self, id: &str, token: &TokenView) {
        match token.expires_at {
            // A key doesn't end by itself, whatever it signs.
            Some(end) if self.flow != Flow::ApiKey => {
                self.world.pass(end.since(self.world.now()) + A_MOMENT);
            }
            _ => {
                // Only the API's refusal shows it; the caller tells us. A token that has only just
                // come would be replaced a little later.
                self.world.pass(A_WHILE);
                let hash = sha256_hex(&token.access_token);
                let _ = self.world.broker.rejected(id, &hash).await;
            }
        }
    }

    /// The account's owner takes the grant back at the service.
    async fn owner_ends_it(&mut self, view: &ConnectionView) -> Result<(), Failure> {
        let account = {
            let mut model = self.world.model();
            let account = model.record().grants().last().map(|grant| grant.account.clone());
            let account = account.unwrap_or_default();
            let now = self.world.now();
            // A key is no client's.
            let client = if self.flow == Flow::ApiKey { "" } else { PLAY_CLIENT };
            model.owner_revokes(&account, client, now);
            account
        };
        let last = self.world.broker.token(&view.id, None).await?;
        self.let_end(&view.id, &last).await;
        let read = self.fresh(&view.id).await;
        let dead = matches!(read, Err(Error::Reauthorization { .. }));
        let told = self.world.broker.explain(&view.id).await?;
        let who = format!("{account} takes it back; explained as: {}", told.summary);
        self.step("refuse", "notices that the owner ended it", who, dead);
        Ok(())
    }

    async fn reconnect(&mut self, before: &ConnectionView) -> Result<(), Failure> {
        if self.flow == Flow::ApiKey {
            let (key, now) = (self.example_key(), self.world.now());
            self.world.model().add_key(&key, "", now);
        }
        let view = self.obtain(Some(before.id.clone())).await?;
        let token = self.world.broker.token(&view.id, None).await?;
        let same = view.id == before.id && view.version > before.version && self.is_valid(&token);
        self.step(
            "reconnect",
            "reconnects in place",
            format!("{}, version {}", view.id, view.version),
            same,
        );
        Ok(())
    }

    async fn take_back(&mut self, id: &str) -> Result<(), Failure> {
        let token = self.world.broker.token(id, None).await?;
        let what = Selector::Connections(vec![id.to_owned()]);
        let receipt = self.world.broker.revoke(what, Shared::Allow).await?;
        let states: Vec<String> = receipt.service.iter().map(|item| word(&item.state)).collect();
        let by_hand = receipt.service.iter().any(|i| i.state == RevocationItemState::Cannot);
        let pending = receipt.service.iter().any(|i| i.state == RevocationItemState::Pending);
        // Where there is a call, the token must be dead there, unless only its refresh token was.
        let dead = !self.is_valid(&token);
        let how = match (by_hand, dead) {
            (true, _) => "the service can't; what to do by hand is told".to_owned(),
            (false, true) => "and the token is dead there".to_owned(),
            (false, false) => "its access token lives on to its end".to_owned(),
        };
        let off =
            matches!(self.world.broker.refresh(id, Force::Yes).await, Err(Error::Revoked { .. }));
        self.step(
            "revoke",
            "takes it back",
            format!("{}: {how}", states.join(", ")),
            off && !pending,
        );
        Ok(())
    }
}

/// The example of each input that somebody has to type.
fn examples(service: &Service, level: Level) -> BTreeMap<String, String> {
    let typed = service.inputs.iter().filter(|input| {
        let needed = !input.optional && input.default.is_none();
        input.level == level && input.from == InputFrom::User && needed
    });
    typed.map(|input| (input.name.clone(), input.example.clone())).collect()
}

fn sha256_hex(text: &str) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

const PLAY_CLIENT: &str = "play-client";
const PLAY_SECRET: &str = "play-secret";
const OTHER_SECRET: &str = "other-secret";
const A_MOMENT: Duration = Duration::from_secs(1);
const A_WHILE: Duration = Duration::from_secs(600);
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// Back-off doubles, so this many tries span days.
const TRIES_MAX: usize = 12;
