//! The whole of a run: hosts, store, journal, network, services, owners, in one thread and one
//! simulated time.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use indicia_broker::clients::NewClient;
use indicia_broker::connect::{ConnectRequest, ConnectStep};
use indicia_broker::model::{Environment, HolderId};
use indicia_broker::ports::{Clock, Store};
use indicia_broker::vault::Vault;
use indicia_broker::view::ConnectionView;
use indicia_broker::{Broker, Error, Ports, Settings};
use indicia_catalog::{Catalogue, ClientKind};
use indicia_oauth::ClientSecret;
use indicia_sandbox::{Incoming, Model, Options, Registration};
use indicia_store::Memory;

use super::bad_days::BadDay;
use super::books::Books;
use super::callers;
use super::disk::{Disk, SimJournal};
use super::faults::Plan;
use super::gate::{Gate, Standing};
use super::host::{Host, SimClock, SimRandom, SimRoot, SimSpawn};
use super::net::SimTransport;
use super::restores;
use super::rng::Rng;
use super::services::{KEEPS_SETTING, Kind, catalogue};
use super::store::SimStore;

/// A connection and whose account it is.
#[derive(Clone)]
pub struct Conn {
    pub id: String,
    pub place: usize,
    pub account: String,
}

/// One mishap, staged.
pub struct Staged {
    pub call: &'static str,
    /// So many such calls pass before it.
    pub passes: u32,
    /// A stand-still of so many seconds; none: the host's end.
    pub freeze_secs: Option<u64>,
}

/// A host while it lives.
struct Living {
    host: Arc<Host>,
    broker: Option<Arc<Broker>>,
}

pub struct World {
    pub plan: Plan,
    pub clock: Arc<SimClock>,
    pub disk: Mutex<Disk>,
    pub models: Vec<Mutex<Model>>,
    pub memory: Memory,
    pub conns: Vec<Conn>,
    pub skews: Vec<Arc<AtomicI64>>,
    /// A new secret of a client at its service, not yet known to us, by place.
    pub new_secrets: Mutex<BTreeMap<usize, (u64, String)>>,
    /// The newest secret of a client that we were told, after its first.
    pub told_secrets: Mutex<BTreeMap<usize, String>>,
    /// Copies of the store, the newest last.
    pub copies: Mutex<Vec<restores::Kept>>,
    /// Services that have a bad day, by place.
    pub bad_days: Mutex<BTreeMap<usize, BadDay>>,
    /// Numbers of the root keys that open the store.
    pub root_keys: Arc<Mutex<[u8; 2]>>,
    /// The store from outside: no faults, no delays.
    pub eye: Arc<dyn Store>,
    this: OnceLock<std::sync::Weak<Self>>,
    pub catalogue: Arc<Catalogue>,
    rng: Mutex<Rng>,
    books: Mutex<Books>,
    hosts: Mutex<Vec<Option<Living>>>,
    lives: Mutex<u32>,
    stormy: AtomicBool,
    settled: AtomicBool,
    store_down: AtomicBool,
    /// What a test has befall whoever comes to a call next.
    pub staged: Mutex<Option<Staged>>,
    trace: Mutex<Vec<String>>,
    aloud: Option<fn(&str)>,
}

impl World {
    pub fn new(plan: Plan, aloud: Option<fn(&str)>) -> Arc<Self> {
        let start = tokio::time::Instant::now();
        let clock = Arc::new(SimClock { start, skew_ms: Arc::default() });
        let catalogue = catalogue();
        let model = |kind: &Kind| {
            let service = catalogue.service(kind.service()).expect("it is in the catalogue");
            let options = Options {
                seed: plan.seed,
                life_max: Some(Duration::from_secs(plan.life_secs)),
                reuse_kills: Some(true),
                ..Options::default()
            };
            Mutex::new(Model::new(service, options))
        };
        let models = plan.kinds.iter().map(model).collect();
        let conns = (0..plan.connections).map(|n| Conn {
            id: format!("c{n}"),
            place: n % plan.kinds.len(),
            account: format!("owner-{n}"),
        });
        let dyn_clock: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let memory = Memory::new(dyn_clock);
        let world = Arc::new(Self {
            conns: conns.collect(),
            skews: (0..plan.hosts).map(|_| Arc::default()).collect(),
            hosts: Mutex::new((0..plan.hosts).map(|_| None).collect()),
            rng: Mutex::new(Rng::new(plan.seed ^ 0x5EED)),
            eye: memory.handle(HolderId::new("eye").unwrap()),
            this: OnceLock::new(),
            disk: Mutex::default(),
            new_secrets: Mutex::default(),
            told_secrets: Mutex::default(),
            copies: Mutex::default(),
            root_keys: Arc::default(),
            bad_days: Mutex::default(),
            books: Mutex::default(),
            lives: Mutex::default(),
            stormy: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            store_down: AtomicBool::new(false),
            staged: Mutex::default(),
            trace: Mutex::default(),
            plan,
            clock,
            models,
            memory,
            catalogue,
            aloud,
        });
        world.this.set(Arc::downgrade(&world)).expect("set once");
        world
    }

    pub fn this(&self) -> Arc<Self> {
        self.this.get().and_then(std::sync::Weak::upgrade).expect("the run goes on")
    }

    /// Milliseconds since the run began.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.start.elapsed().as_millis()).unwrap()
    }

    pub fn books(&self) -> MutexGuard<'_, Books> {
        let mut books = self.books.lock().unwrap();
        books.now = self.now_ms();
        books
    }

    pub fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.rng.lock().unwrap())
    }

    /// Chance while faults are on; none otherwise.
    pub fn stormy_chance(&self, share: u64) -> bool {
        share > 0 && self.is_stormy() && self.draw(|rng| rng.chance(share))
    }

    pub fn is_stormy(&self) -> bool {
        self.stormy.load(Ordering::Relaxed)
    }

    /// Whether all connections are made, so that callers may ask.
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    pub fn set_settled(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    pub fn is_store_down(&self) -> bool {
        self.store_down.load(Ordering::Relaxed)
    }

    pub fn set_store_down(&self, down: bool) {
        self.store_down.store(down, Ordering::Relaxed);
    }

    pub fn set_stormy(&self, stormy: bool) {
        self.stormy.store(stormy, Ordering::Relaxed);
    }

    pub fn tell(&self, what: &str) {
        let line = format!("{:>9} {what}", self.now_ms());
        if let Some(say) = self.aloud {
            say(&line);
        }
        self.trace.lock().unwrap().push(line);
    }

    pub fn take_trace(&self) -> Vec<String> {
        std::mem::take(&mut self.trace.lock().unwrap())
    }

    /// Goes on whatever becomes of the hosts.
    pub fn background(&self, task: impl Future<Output = ()> + Send + 'static) {
        #[expect(clippy::disallowed_methods, reason = "the world itself is no host")]
        drop(tokio::spawn(task));
    }

    /// The service that an address belongs to, and what is asked of it.
    pub fn service_at(&self, incoming: &Incoming) -> Option<(usize, &'static str)> {
        let mut models = self.models.iter().enumerate();
        models.find_map(|(n, model)| Some((n, model.lock().unwrap().endpoint_of(incoming)?)))
    }

    /// A host that is up and moves.
    pub fn some_broker(&self) -> Option<Arc<Broker>> {
        let hosts = self.hosts.lock().unwrap();
        let up = hosts.iter().flatten().filter(|l| l.host.gate.standing() == Standing::Open);
        up.filter_map(|l| l.broker.clone()).next()
    }

    pub fn is_all_up(&self) -> bool {
        let hosts = self.hosts.lock().unwrap();
        hosts.iter().all(|l| l.as_ref().is_some_and(|l| l.broker.is_some()))
    }

    /// Ends a host's life here and now; another begins a while later.
    pub fn crash(&self, n: usize) {
        let ended = self.hosts.lock().unwrap()[n].take();
        let Some(Living { host, .. }) = ended else { return };
        host.gate.set(Standing::Dead);
        self.memory.kill(&holder(&host));
        self.disk.lock().unwrap().ended(host.n, host.life);
        self.books().wishes.remove(&holder(&host));
        self.books().hold_up(&holder(&host), u64::MAX);
        let secs = self.draw(|rng| rng.within(0, 20));
        let world = self.this();
        self.background(async move {
            tokio::time::sleep(Duration::from_secs(secs)).await;
            world.start(n);
        });
    }

    /// Ends every life, and lets go of what holds the world.
    pub fn shut(&self) {
        for living in self.hosts.lock().unwrap().iter_mut().filter_map(Option::take) {
            living.host.gate.set(Standing::Dead);
        }
    }

    /// All engines that are up.
    pub fn brokers(&self) -> Vec<Arc<Broker>> {
        let hosts = self.hosts.lock().unwrap();
        hosts.iter().flatten().filter_map(|l| l.broker.clone()).collect()
    }

    /// Thaws who stands still.
    pub fn thaw(&self) {
        for living in self.hosts.lock().unwrap().iter().flatten() {
            living.host.gate.set(Standing::Open);
        }
    }

    /// Begins a life of a host.
    pub fn start(&self, n: usize) {
        let world = self.this();
        let life = {
            let mut lives = self.lives.lock().unwrap();
            *lives += 1;
            *lives
        };
        let host = Arc::new(Host { world, n, life, gate: Gate::open(), failures: Arc::default() });
        self.tell(&format!("{} starts", host.name()));
        self.hosts.lock().unwrap()[n] = Some(Living { host: Arc::clone(&host), broker: None });
        let spawn = SimSpawn(Arc::clone(&host));
        indicia_broker::ports::Spawn::spawn(&spawn, Box::pin(async move { live(host).await }));
    }

    /// The newest root key.
    pub fn root_key(&self) -> SimRoot {
        let open = Arc::clone(&self.root_keys);
        SimRoot { no: None, open }
    }

    fn ports(&self, host: &Arc<Host>) -> Ports {
        let inner = self.memory.handle(holder(host));
        let skew_ms = Arc::clone(&self.skews[host.n]);
        Ports {
            store: Arc::new(SimStore { host: Arc::clone(host), inner }),
            transport: Arc::new(SimTransport(Arc::clone(host))),
            clock: Arc::new(SimClock { start: self.clock.start, skew_ms }),
            random: Arc::new(SimRandom(self.this())),
            root_key: Arc::new(self.root_key()),
            journal: Arc::new(SimJournal(Arc::clone(host))),
            spawn: Arc::new(SimSpawn(Arc::clone(host))),
        }
    }

    pub fn settings(&self) -> Settings {
        Settings {
            #[cfg(feature = "mutants")]
            guards: self.plan.guards,
            ..Settings::default()
        }
    }

    async fn open(&self, host: &Arc<Host>) -> Result<Arc<Broker>, Error> {
        Broker::open(self.ports(host), Arc::clone(&self.catalogue), self.settings()).await
    }

    /// Registers the clients, at the services and here, and makes the connections.
    pub async fn settle_in(&self) {
        (0..self.plan.hosts).for_each(|n| self.start(n));
        while !self.is_all_up() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let random = Arc::new(SimRandom(self.this()));
        let root = Arc::new(self.root_key());
        let vault = Vault::open(Arc::clone(&self.eye), root, random, self.clock.now()).await;
        self.books().vault = Some(vault.expect("the key is right"));
        let broker = self.some_broker().expect("all are up");
        for (place, kind) in self.plan.kinds.iter().enumerate() {
            self.register(&broker, place, *kind).await;
        }
        for conn in &self.conns {
            self.connect(&broker, conn).await.expect("nothing goes wrong yet");
        }
    }

    async fn register(&self, broker: &Broker, place: usize, kind: Kind) {
        let settings = match kind {
            Kind::Keeps => BTreeMap::from([(KEEPS_SETTING.0.into(), KEEPS_SETTING.1.into())]),
            _ => BTreeMap::new(),
        };
        let secret = format!("canary-secret-{place}-0");
        let new = NewClient {
            service: kind.service().to_owned(),
            id: Some(kind.service().to_owned()),
            client_id: Some(format!("app-{place}")),
            secret: Some(ClientSecret::new(secret.clone())),
            secret_expires_at: None,
            kind: Some(ClientKind::Confidential),
            redirect_uri: None,
            inputs: BTreeMap::new(),
            settings: settings.clone(),
            environment: Environment::Live,
        };
        let client = broker.add_client(new).await.expect("a good client");
        self.models[place].lock().unwrap().register(Registration {
            client_id: format!("app-{place}"),
            secrets: vec![secret],
            kind: ClientKind::Confidential,
            redirect_uris: vec![client.redirect_uri],
            inputs: BTreeMap::new(),
            settings,
        });
    }

    /// The whole way of a connection, its owner clicking at once; also a reconnect.
    pub async fn connect(
        &self,
        broker: &Arc<Broker>,
        conn: &Conn,
    ) -> Result<ConnectionView, Error> {
        let kind = self.plan.kinds[conn.place];
        let service = self.catalogue.service(kind.service()).expect("it is in the catalogue");
        let request = ConnectRequest {
            client: kind.service().to_owned(),
            id: Some(conn.id.clone()),
            capabilities: service.scopes.capabilities.keys().copied().take(1).collect(),
            ..ConnectRequest::default()
        };
        match broker.connect(request).await? {
            ConnectStep::Done(view) => Ok(*view),
            ConnectStep::Browser(step) => {
                let clicked = {
                    let mut model = self.models[conn.place].lock().unwrap();
                    model.approve(&step.authorize_url, &conn.account, self.clock.now())
                };
                let callback = clicked.expect("the request is good");
                broker.finish(&callback).await
            }
            ConnectStep::Device(_) | ConnectStep::Key(_) => {
                panic!("no service of the simulation prefers those")
            }
        }
    }
}

pub fn holder(host: &Host) -> HolderId {
    HolderId::new(&host.name()).unwrap()
}

/// A host's life: opens the engine, then its callers and duties run.
async fn live(host: Arc<Host>) {
    let world = Arc::clone(&host.world);
    let broker = loop {
        match world.open(&host).await {
            Ok(broker) => break broker,
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    };
    if let Some(living) = world.hosts.lock().unwrap()[host.n].as_mut() {
        living.broker = Some(Arc::clone(&broker));
    }
    callers::begin(&host, &broker);
}
