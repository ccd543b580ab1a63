//! One broker on a store in memory and simulated services, with a clock that is moved by hand and a
//! network that can be told what to do with the next requests. For promises that one host can show;
//! many hosts and random faults are the simulation's.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{Either, select};
use indicia_broker::clients::NewClient;
use indicia_broker::connect::{BrowserStep, ConnectRequest, ConnectStep};
use indicia_broker::device::DeviceStep;
use indicia_broker::model::{HolderId, JournalId};
use indicia_broker::ports::{
    Clock, Journal, JournalEntry, JournalError, Random, RootKey, RootKeyError, Sent, SlotNo, Spawn,
    Task, Transport,
};
use indicia_broker::view::ConnectionView;
use indicia_broker::{Broker, Error, Ports, Settings};
use indicia_catalog::{Catalogue, ClientKind};
use indicia_oauth::{Answer, ClientSecret, Request, Timestamp};
use indicia_sandbox::{Incoming, Model, Options, Registration};
use indicia_store::Memory;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The secret of every registered client: ugly on purpose.
pub const SECRET: &str = "s3cr3t:+/%~&=";

/// What the network does with a request.
pub enum Fate {
    /// The service answers.
    Deliver,
    /// The service answers, and the answer is lost.
    LoseAnswer,
    /// Nothing is handed over.
    NotSent,
    /// The service answers, and the answer comes when the other end of this is used or dropped.
    Late(tokio::sync::oneshot::Receiver<()>),
    /// These bytes come back; the service sees nothing.
    Answer(u16, &'static str, &'static str),
}

/// A request as the service saw it.
#[derive(Clone)]
pub struct Seen {
    pub method: &'static str,
    pub body: String,
}

pub struct RigClock {
    wall: AtomicI64,
    boot: AtomicU64,
}

impl Clock for RigClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall.load(Ordering::SeqCst))
    }
    fn boot_millis(&self) -> u64 {
        self.boot.load(Ordering::SeqCst)
    }
}

pub struct Network {
    models: Mutex<Vec<Model>>,
    fates: Mutex<VecDeque<Fate>>,
    seen: Mutex<Vec<Seen>>,
    last_token_answer: Mutex<Vec<u8>>,
    documents: Mutex<BTreeMap<String, &'static str>>,
    clock: Arc<RigClock>,
}

#[async_trait]
impl Transport for Network {
    async fn send(&self, request: Request, may_write: &(dyn Fn() -> bool + Sync)) -> Sent {
        tokio::task::yield_now().await;
        let token_call = request.method == indicia_oauth::Method::Post;
        let fate = match token_call {
            true => self.fates.lock().unwrap().pop_front().unwrap_or(Fate::Deliver),
            false => Fate::Deliver,
        };
        if matches!(fate, Fate::NotSent) || !may_write() {
            return Sent::NotSent("the network is down".into());
        }
        self.seen.lock().unwrap().push(Seen {
            method: request.method.as_str(),
            body: String::from_utf8_lossy(&request.body).into_owned(),
        });
        if let Fate::Answer(status, kind, body) = fate {
            return Sent::Answer(answer(status, kind, body));
        }
        let incoming = Incoming::from_request(&request);
        let place = format!("{}{}", incoming.host, incoming.path);
        if let Some(body) = self.documents.lock().unwrap().get(&place) {
            return Sent::Answer(json(200, body));
        }
        let Some(answer) = self.ask(&incoming) else {
            return Sent::NotSent(format!("no host {}", incoming.host));
        };
        if token_call {
            *self.last_token_answer.lock().unwrap() = answer.body.to_vec();
        }
        match fate {
            Fate::LoseAnswer => Sent::MaybeSent("the connection was reset".into()),
            Fate::Late(until) => {
                let _ = until.await;
                Sent::Answer(answer)
            }
            _ => Sent::Answer(answer),
        }
    }
}

impl Network {
    /// Nothing is meant to happen to the next POSTs any more.
    pub fn fates_clear(&self) {
        self.fates.lock().unwrap().clear();
    }

    fn ask(&self, incoming: &Incoming) -> Option<Answer> {
        let mut models = self.models.lock().unwrap();
        let model = models.iter_mut().find(|m| m.serves(&incoming.host, &incoming.path))?;
        Some(model.handle(incoming, self.clock.now()))
    }
}

fn answer(status: u16, kind: &str, body: &str) -> Answer {
    Answer {
        status,
        headers: vec![("content-type".into(), kind.into())],
        body: Zeroizing::new(body.as_bytes().to_vec()),
        complete: true,
    }
}

fn json(status: u16, body: &str) -> Answer {
    answer(status, "application/json", body)
}

/// A journal in memory.
#[derive(Default)]
pub struct RigJournal {
    entries: Mutex<BTreeMap<String, JournalEntry>>,
    pub full: std::sync::atomic::AtomicBool,
    slots: AtomicU64,
}

#[async_trait]
impl Journal for RigJournal {
    fn id(&self) -> JournalId {
        JournalId::new("rig").unwrap()
    }
    async fn reserve(&self) -> Result<SlotNo, JournalError> {
        match self.full.load(Ordering::SeqCst) {
            true => Err(JournalError("no space left".into())),
            false => Ok(SlotNo(self.slots.fetch_add(1, Ordering::SeqCst))),
        }
    }
    async fn keep(&self, _slot: SlotNo, entry: JournalEntry) -> Result<(), JournalError> {
        self.entries.lock().unwrap().insert(entry.of.clone(), entry);
        // A disk takes its time.
        tokio::task::yield_now().await;
        Ok(())
    }
    async fn give_back(&self, _slot: SlotNo) {}
    async fn entries(&self, of: Option<&str>) -> Result<Vec<JournalEntry>, JournalError> {
        let all = self.entries.lock().unwrap();
        Ok(all.values().filter(|e| of.is_none_or(|of| e.of == of)).cloned().collect())
    }
    async fn committed(&self, _: &str, _: u64, _: Timestamp) -> Result<(), JournalError> {
        Ok(())
    }
}

impl RigJournal {
    /// As if all that is kept had been stored long ago.
    pub fn forget_all(&self) {
        self.entries.lock().unwrap().clear();
    }
}

struct RigRandom(AtomicU64);

impl Random for RigRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let n = self.0.fetch_add(1, Ordering::SeqCst);
            chunk.copy_from_slice(&Sha256::digest(n.to_be_bytes())[..chunk.len()]);
        }
    }
}

struct RigRootKey;

/// Another root key: nothing that is wrapped by one opens with the other.
pub struct OtherRootKey;

#[async_trait]
impl RootKey for OtherRootKey {
    async fn wrap(&self, _: &[u8], plain: &[u8]) -> Result<Vec<u8>, RootKeyError> {
        Ok([b"other".as_slice(), plain].concat())
    }
    async fn unwrap(&self, _: &[u8], w: &[u8]) -> Result<Zeroizing<Vec<u8>>, RootKeyError> {
        let plain = w.strip_prefix(b"other").ok_or(RootKeyError::Wrong)?;
        Ok(Zeroizing::new(plain.to_vec()))
    }
}

#[async_trait]
impl RootKey for RigRootKey {
    async fn wrap(&self, _: &[u8], plain: &[u8]) -> Result<Vec<u8>, RootKeyError> {
        Ok(plain.iter().map(|b| b ^ 0x5a).collect())
    }
    async fn unwrap(&self, _: &[u8], w: &[u8]) -> Result<Zeroizing<Vec<u8>>, RootKeyError> {
        if w.starts_with(b"other") {
            return Err(RootKeyError::Wrong);
        }
        Ok(Zeroizing::new(w.iter().map(|b| b ^ 0x5a).collect()))
    }
}

/// The tasks that were started, to be ended by a crash.
#[derive(Default)]
struct RigSpawn(Mutex<Vec<tokio::task::AbortHandle>>);

impl Spawn for RigSpawn {
    #[expect(clippy::disallowed_methods, reason = "the one place where the rig's tasks are made")]
    fn spawn(&self, task: Task) {
        self.0.lock().unwrap().push(tokio::spawn(task).abort_handle());
    }
}

async fn open(ports: Ports, catalogue: Arc<Catalogue>) -> Arc<Broker> {
    let settings = Settings { refresh_ahead: false, ..Settings::default() };
    Broker::open(ports, catalogue, settings).await.unwrap()
}

pub struct Rig {
    pub broker: Arc<Broker>,
    ports: Ports,
    pub memory: Memory,
    pub journal: Arc<RigJournal>,
    pub network: Arc<Network>,
    pub clock: Arc<RigClock>,
    catalogue: Arc<Catalogue>,
    spawn: Arc<RigSpawn>,
}

impl Rig {
    pub async fn new() -> Self {
        Self::with(Catalogue::shipped()).await
    }

    pub async fn with(catalogue: Catalogue) -> Self {
        let catalogue = Arc::new(catalogue);
        let wall = AtomicI64::new(1_800_000_000_000);
        let clock = Arc::new(RigClock { wall, boot: AtomicU64::new(1_000_000) });
        let memory = Memory::new(clock.clone());
        let store = memory.handle(HolderId::new("rig-1").unwrap());
        let network = Arc::new(Network {
            models: Mutex::default(),
            fates: Mutex::default(),
            seen: Mutex::default(),
            last_token_answer: Mutex::default(),
            documents: Mutex::default(),
            clock: Arc::clone(&clock),
        });
        let journal = Arc::new(RigJournal::default());
        let spawn = Arc::new(RigSpawn::default());
        let ports = Ports {
            store: Arc::clone(&store),
            transport: network.clone(),
            clock: clock.clone(),
            random: Arc::new(RigRandom(AtomicU64::new(0))),
            root_key: Arc::new(RigRootKey),
            journal: journal.clone(),
            spawn: Arc::clone(&spawn) as _,
        };
        let broker = open(ports.clone(), Arc::clone(&catalogue)).await;
        Self { broker, ports, memory, journal, network, clock, catalogue, spawn }
    }

    /// Another run of the engine on the same store, with another catalogue.
    pub async fn reopen(&self, catalogue: Catalogue) -> Arc<Broker> {
        open(self.ports.clone(), Arc::new(catalogue)).await
    }

    /// Another run of the engine on the same store, under another root key.
    pub async fn reopen_with(&self, root_key: Arc<dyn RootKey>) -> Result<Arc<Broker>, Error> {
        let ports = Ports { root_key, ..self.ports.clone() };
        Broker::open(ports, Arc::clone(&self.catalogue), Settings::default()).await
    }

    /// The root key that the store was made with.
    pub fn root_key(&self) -> Arc<dyn RootKey> {
        Arc::clone(&self.ports.root_key)
    }

    /// The store, as the broker has it.
    pub fn store(&self) -> Arc<dyn indicia_broker::ports::Store> {
        Arc::clone(&self.ports.store)
    }

    /// A document that a host serves besides its model.
    pub fn document(&self, host: &str, path: &str, body: &'static str) {
        self.network.documents.lock().unwrap().insert(format!("{host}{path}"), body);
    }

    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap();
        self.clock.wall.fetch_add(millis, Ordering::SeqCst);
        self.clock.boot.fetch_add(u64::try_from(millis).unwrap(), Ordering::SeqCst);
    }

    /// Puts the wall clock back.
    pub fn put_back(&self, by: Duration) {
        self.clock.wall.fetch_sub(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// What happens to the next POSTs.
    pub fn fate(&self, fate: Fate) {
        self.network.fates.lock().unwrap().push_back(fate);
    }

    /// A client as it is stored.
    pub async fn stored_client(&self, id: &str) -> indicia_broker::model::ClientRow {
        let id = indicia_broker::model::ClientId::new(id).unwrap();
        self.ports.store.client(&id).await.unwrap().unwrap()
    }

    /// The attempt that a callback answers, as it is stored.
    pub async fn flow_of(&self, callback: &str) -> Option<indicia_broker::model::FlowRow> {
        let mut pairs = url::form_urlencoded::parse(callback.split_once('?').unwrap().1.as_bytes());
        let state = pairs.find(|(name, _)| name == "state").unwrap().1;
        self.ports.store.flow(&sha256_hex(&state)).await.unwrap()
    }

    /// What a service answered to the latest POST.
    pub fn last_token_answer(&self) -> serde_json::Value {
        serde_json::from_slice(&self.network.last_token_answer.lock().unwrap()).unwrap()
    }

    /// POSTs that the services saw so far.
    pub fn posts(&self) -> Vec<Seen> {
        let seen = self.network.seen.lock().unwrap();
        seen.iter().filter(|s| s.method == "POST").cloned().collect()
    }

    /// Asks a service's model.
    pub fn model<T>(&self, service: &str, ask: impl FnOnce(&mut Model, Timestamp) -> T) -> T {
        let mut models = self.network.models.lock().unwrap();
        let model = models.iter_mut().find(|m| m.service().id == service).unwrap();
        ask(model, self.clock.now())
    }

    /// Adds a client of a service, registered at its model.
    pub async fn client(&self, service: &str, id: &str) -> Result<(), Error> {
        self.client_with(service, id, &[], &[]).await
    }

    pub async fn client_with(
        &self,
        service: &str,
        id: &str,
        inputs: &[(&str, &str)],
        settings: &[(&str, &str)],
    ) -> Result<(), Error> {
        let map = |all: &[(&str, &str)]| -> BTreeMap<String, String> {
            all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let of = self.catalogue.service(service).unwrap();
        let (kind, registers) = (of.client_kinds[0], of.registers());
        let keeps_one = registers && kind == ClientKind::Confidential;
        let secret = keeps_one.then(|| ClientSecret::new(SECRET));
        let client_id = format!("client-{id}");
        let view = self
            .broker
            .add_client(NewClient {
                client_id: registers.then(|| client_id.clone()),
                secret,
                inputs: map(inputs),
                settings: map(settings),
                ..self.new_client(service, id)
            })
            .await?;
        let mut models = self.network.models.lock().unwrap();
        if !models.iter().any(|m| m.service().id == service) {
            let service = self.catalogue.service(service).unwrap();
            models.push(Model::new(service, Options { seed: 7, ..Options::default() }));
        }
        let model = models.iter_mut().find(|m| m.service().id == service).unwrap();
        model.register(Registration {
            client_id,
            secrets: vec![SECRET.into()],
            kind,
            redirect_uris: vec![view.redirect_uri],
            inputs: map(inputs),
            settings: map(settings),
        });
        Ok(())
    }

    /// A client with nothing but its names.
    pub fn new_client(&self, service: &str, id: &str) -> NewClient {
        NewClient { service: service.into(), id: Some(id.into()), ..NewClient::default() }
    }

    /// Begins a connection in the browser, by another broker on the same store.
    pub async fn begin_at(&self, broker: &Arc<Broker>, request: ConnectRequest) -> BrowserStep {
        match broker.connect(request).await.unwrap() {
            ConnectStep::Browser(step) => step,
            _ => panic!("no browser was needed"),
        }
    }

    /// Begins a connection in the browser.
    pub async fn begin(&self, request: ConnectRequest) -> Result<BrowserStep, Error> {
        match self.broker.connect(request).await? {
            ConnectStep::Browser(step) => Ok(step),
            _ => panic!("no browser was needed"),
        }
    }

    /// Begins a connection by a code that a person enters.
    pub async fn begin_device(&self, request: ConnectRequest) -> Result<DeviceStep, Error> {
        match self.broker.connect(request).await? {
            ConnectStep::Device(step) => Ok(step),
            _ => panic!("no code was needed"),
        }
    }

    /// Goes on with `work` while the clocks keep step with tokio's, which is paused.
    pub async fn as_time_goes<T>(&self, work: impl Future<Output = T>) -> T {
        let ticking = async {
            loop {
                self.advance(Duration::from_millis(250));
                tokio::time::advance(Duration::from_millis(250)).await;
                // Who woke has a few steps before the next tick.
                for _ in 0..8 {
                    tokio::task::yield_now().await;
                }
            }
        };
        match select(pin!(work), pin!(ticking)).await {
            Either::Left((done, _)) => done,
            Either::Right((never, _)) => never,
        }
    }

    /// What is asked for: everything that the service can do.
    pub fn request(&self, client: &str, id: &str) -> ConnectRequest {
        ConnectRequest { client: client.into(), id: Some(id.into()), ..ConnectRequest::default() }
    }

    /// The user logs in as `account` and allows all.
    pub fn approve(&self, service: &str, step: &BrowserStep, account: &str) -> String {
        self.model(service, |model, now| model.approve(&step.authorize_url, account, now).unwrap())
    }

    /// Connects, from beginning to end.
    pub async fn connect(
        &self,
        service: &str,
        request: ConnectRequest,
        account: &str,
    ) -> Result<ConnectionView, Error> {
        let step = self.begin(request).await?;
        let callback = self.approve(service, &step, account);
        self.broker.finish(&callback).await
    }
}

impl Rig {
    /// Begins something that sends a POST, and crashes as soon as the answer is kept. What runs
    /// after that on the same store.
    pub async fn crash_when_kept<T>(&self, work: impl Future<Output = T>) -> Arc<Broker> {
        let before = self.journal.entries.lock().unwrap().len();
        let kept = async {
            while self.journal.entries.lock().unwrap().len() == before {
                tokio::task::yield_now().await;
            }
        };
        if let Either::Right(_) = select(pin!(kept), pin!(work)).await {
            panic!("it was done before it could crash");
        }
        self.spawn.0.lock().unwrap().drain(..).for_each(|task| task.abort());
        open(self.ports.clone(), Arc::clone(&self.catalogue)).await
    }

    /// The next POST's answer comes after `meanwhile`, which begins when the service has answered.
    pub async fn answered_after<T, M>(
        &self,
        work: impl Future<Output = T>,
        meanwhile: impl Future<Output = M>,
    ) -> (T, M) {
        let (open, until) = tokio::sync::oneshot::channel();
        self.fate(Fate::Late(until));
        let sent = self.posts().len();
        let meanwhile = async {
            while self.posts().len() == sent {
                tokio::task::yield_now().await;
            }
            let done = meanwhile.await;
            let _ = open.send(());
            done
        };
        tokio::join!(work, meanwhile)
    }

    pub fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }
}

pub fn sha256_hex(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// The code of what must have failed.
pub fn code<T>(result: Result<T, Error>) -> &'static str {
    match result {
        Ok(_) => panic!("it worked"),
        Err(error) => error.code(),
    }
}
