//! A home with connections, and the service that they are of: a simulated one, in a process of its
//! own.
//!
//! What would surprise: the engine here has the real adapters, but a clock that can be moved on, so
//! that tokens end without waiting.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context as _, Result, anyhow, bail};
use indicia::clock::SystemClock;
use indicia::{Broker, Indicia, Options, ROOT_KEY_FILE, RootKeySource, Settings};
use indicia_broker::Ports;
use indicia_broker::clients::NewClient;
use indicia_broker::connect::{ConnectRequest, ConnectStep};
use indicia_broker::model::Environment;
use indicia_broker::ports::Clock;
use indicia_catalog::{ClientKind, Context, Flow, Rotation, Service};
use indicia_oauth::{ClientSecret, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::copies::Copies;

/// A home, its engine, and the sandbox.
pub struct World {
    pub runtime: Runtime,
    pub clock: Arc<MovedClock>,
    /// Connections of the simulated service.
    pub ids: Vec<String>,
    /// How many there are in the store in all; the others are never refreshed.
    pub stored: usize,
    /// The service whose connections they are.
    pub service: String,
    sandbox: Sandbox,
    folder: TempDir,
}

impl World {
    /// Starts the sandbox and connects so many accounts of a service that rotates, among others so
    /// that there are `stored` in all.
    pub fn new(grants: usize, stored: usize) -> Result<Self> {
        let beside = program("indicia")?;
        let beside = beside.parent().context("a program stands in a folder")?;
        // Beside the programs, not in a temporary folder: that may be in memory.
        let folder = tempfile::tempdir_in(beside)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let mut world = Self {
            runtime,
            clock: Arc::default(),
            ids: (0..grants).map(|n| format!("account-{n:05}")).collect(),
            stored: stored.max(grants),
            service: String::new(),
            sandbox: Sandbox::start()?,
            folder,
        };
        eprintln!("connecting {grants} accounts among {stored}");
        world.connect_all()?;
        // From the first word on, what is read is what was written: nothing is left to copy back.
        world.checkpoint()?;
        Ok(world)
    }

    /// As many ids as there are connections in the store.
    pub fn stored_ids(&self) -> Vec<String> {
        (0..self.stored).map(|n| format!("stored-{n:07}")).collect()
    }

    /// The disk that counts; for what else is written.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub fn sandbox_pid(&self) -> u32 {
        self.sandbox.child.id()
    }

    /// The ports on the home, with the clock that can be moved.
    pub fn ports(&self) -> Result<Ports> {
        self.ports_on(&self.home())
    }

    /// The same on another home, under the same root key.
    pub fn ports_on(&self, home: &Path) -> Result<Ports> {
        let _inside = self.runtime.enter();
        let root_key = RootKeySource::File(self.home().join(ROOT_KEY_FILE));
        let ports = Indicia::ports(Options { root_key, ..Options::new(home.to_owned()) })?;
        Ok(Ports { clock: Arc::clone(&self.clock) as Arc<dyn Clock>, ..ports })
    }

    /// An engine on ports; `cache_entries_max`: tokens held in memory.
    pub fn open(&self, ports: Ports, cache_entries_max: usize) -> Result<Arc<Broker>> {
        let catalogue = Arc::new(indicia::catalogue(&self.home())?);
        let settings = Settings { refresh_ahead: false, cache_entries_max, ..Settings::default() };
        Ok(self.runtime.block_on(Broker::open(ports, catalogue, settings))?)
    }

    fn checkpoint(&self) -> Result<()> {
        let db = rusqlite::Connection::open(self.home().join("indicia.db"))?;
        Ok(db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
    }

    fn connect_all(&mut self) -> Result<()> {
        let broker = self.open(self.ports()?, self.ids.len())?;
        let service = rotating(&broker)?;
        self.service.clone_from(&service.id);
        let address = self.sandbox.address.clone();
        let new = NewClient {
            service: service.id.clone(),
            id: Some(CLIENT.into()),
            client_id: Some("bench".into()),
            secret: Some(ClientSecret::new("a-secret-of-the-benchmarks")),
            secret_expires_at: None,
            kind: Some(ClientKind::Confidential),
            redirect_uri: None,
            inputs: BTreeMap::new(),
            settings: BTreeMap::new(),
            environment: Environment::Sandbox { address: address.clone() },
        };
        self.runtime.block_on(broker.add_client(new))?;
        let ports = self.ports()?;
        let store = Arc::clone(&ports.store);
        let others = self.stored_ids();
        let mut others = others[self.ids.len()..].chunks(self.others_each());
        let mut copies = None;
        for ids in self.ids.chunks(AT_ONCE) {
            let connect = |id: &String| {
                let (broker, address, id) = (Arc::clone(&broker), address.clone(), id.clone());
                self.runtime.spawn(async move { connect(&broker, &address, &id).await })
            };
            let tasks: Vec<_> = ids.iter().map(connect).collect();
            self.runtime.block_on(async {
                for task in tasks {
                    task.await??;
                }
                if copies.is_none() {
                    copies = Some(Copies::of(ports.clone(), &ids[0]).await?);
                }
                match (&copies, others.next()) {
                    (Some(copies), Some(others)) => copies.add(store.as_ref(), others).await,
                    _ => Ok(()),
                }
            })?;
        }
        Ok(())
    }

    /// How many others come after each group that is connected at once.
    fn others_each(&self) -> usize {
        let groups = self.ids.len().div_ceil(AT_ONCE).max(1);
        (self.stored - self.ids.len()).div_ceil(groups).max(1)
    }
}

async fn connect(broker: &Arc<Broker>, address: &str, id: &str) -> Result<()> {
    let request = ConnectRequest {
        client: CLIENT.into(),
        id: Some(id.to_owned()),
        ..ConnectRequest::default()
    };
    let ConnectStep::Browser(step) = broker.connect(request).await? else {
        bail!("no person was asked");
    };
    let click = json!({ "authorize_url": step.authorize_url, "account": id });
    let address = address.to_owned();
    let clicked =
        tokio::task::spawn_blocking(move || post(&address, "/_sandbox/approve", &click)).await??;
    let callback = clicked["callback_url"].as_str();
    broker.finish(callback.ok_or_else(|| anyhow!("no callback: {clicked}"))?).await?;
    Ok(())
}

/// The first service that verifiably gives a new refresh token each time, and needs no input and no
/// scopes.
fn rotating(broker: &Broker) -> Result<Arc<Service>> {
    let catalogue = broker.catalogue();
    let fits = |service: &Arc<Service>| {
        let nothing = BTreeMap::new();
        let kind = ClientKind::Confidential;
        let cx = Context { kind, inputs: &nothing, settings: &nothing };
        let verified = service.verified.get("refresh.rotation") == Some(&true);
        verified
            && service.refresh_rule(cx).rotation == Rotation::Rotates
            && service.flows.contains(&Flow::AuthorizationCode)
            && service.inputs.is_empty()
            && service.settings.is_empty()
            && service.scopes.full_access
    };
    let mut services = catalogue.ids().into_iter().filter_map(|id| catalogue.service(&id));
    services.find(fits).context("no service in the catalogue rotates")
}

/// A program that was built with this one.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.is_file() {
        bail!("{} isn't there: run `cargo xtask bench`, which builds it", path.display());
    }
    Ok(path)
}

/// The system's clocks, the wall clock moved on by hand.
#[derive(Default)]
pub struct MovedClock {
    by_millis: AtomicI64,
}

impl MovedClock {
    pub fn move_on(&self, millis: i64) {
        self.by_millis.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now().as_millis();
        Timestamp::from_millis(now + self.by_millis.load(Ordering::Relaxed))
    }

    fn boot_millis(&self) -> u64 {
        SystemClock.boot_millis()
    }
}

struct Sandbox {
    address: String,
    child: Child,
}

impl Sandbox {
    fn start() -> Result<Self> {
        let mut command = Command::new(program("indicia")?);
        command.args(["sandbox", "--listen", "127.0.0.1:0", "--json"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut output = BufReader::new(child.stdout.take().context("its output is piped")?);
        let mut text = String::new();
        loop {
            if output.read_line(&mut text)? == 0 {
                bail!("the sandbox ended: {text}");
            }
            if let Ok(told) = serde_json::from_str::<Value>(&text) {
                let address = told["address"].as_str().context("it tells its address")?.to_owned();
                return Ok(Self { address, child });
            }
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn post(address: &str, path: &str, body: &Value) -> Result<Value> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (_, body) = text.split_once("\r\n\r\n").context("an answer has a body")?;
    Ok(serde_json::from_str(body)?)
}

const CLIENT: &str = "bench";

/// Accounts that are connected at once.
const AT_ONCE: usize = 64;
