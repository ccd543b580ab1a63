//! Indicia, the library: obtains OAuth 2.0 access tokens from email marketing services and keeps
//! them valid.
//!
//! The paved path: [`Indicia::open`] on a home folder gives a [`Broker`], whose verbs are
//! `connect`, `token`, `refresh`, `revoke`, `rotate_tokens` and `explain`; [`authorize`] puts a
//! token on a request of your own, and [`keep_going`] refreshes in time in a process that lives on.
//! The examples in `examples/` are whole programs: a script, a web application, a worker. Who wants
//! another store, network or clock puts it into [`Ports`] ([`Indicia::ports`]) and opens
//! [`Broker::open`] with them. Below it are the real adapters of the
//! engine's ports, each usable by itself: HTTPS ([`transport`]), the operating system's clocks,
//! randomness and tasks, the journal as files, and where the root key may be.
//!
//! What would surprise: opening is cheap. TLS roots, the journal, the service files that nobody
//! asked for, and on an empty home the files themselves, are made when they are first needed.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod authorize;
pub mod client_key;
pub mod clock;
pub mod drive;
pub mod journal_file;
mod own_file;
pub mod random;
pub mod root_key;
mod services;
pub mod spawn;
pub mod transport;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicia_broker::ports::{Clock, Random, RootKey};
use indicia_store::Sqlite;
use tokio::runtime::Handle;

use clock::SystemClock;
use journal_file::JournalFile;
use random::SystemChance;
use root_key::{FileRootKey, Missing};
use spawn::TokioSpawn;
use transport::{HttpsTransport, TransportOptions};

pub use authorize::{Authorized, authorize};
pub use http;
pub use indicia_broker::{Broker, Error, Force, Ports, Settings};
pub use indicia_broker::{
    clients, connect, device, explain, forecast, import, list, model, ports, recover, revoke,
    rotate_keys, rotate_tokens, view,
};
/// Bytes of a service file at most; more needn't be read.
pub use indicia_catalog::read::FILE_BYTES_MAX;
pub use indicia_catalog::{Capability, Catalogue, Flow};
pub use indicia_oauth::client_assertion::Algorithm;
pub use indicia_oauth::{ClientSecret, Timestamp};
pub use services::catalogue;

/// How an engine is opened on a home folder.
pub struct Options {
    /// The home: store, journal, root key and own service files are in it.
    pub home: PathBuf,
    /// Where the root key is.
    pub root_key: RootKeySource,
    /// How the store is opened. With `create` off, a home that isn't there is an error.
    pub store: indicia_store::Options,
    /// How the network is used.
    pub transport: TransportOptions,
    /// What an embedder may choose of the engine.
    pub settings: Settings,
}

impl Options {
    /// This home, made if it isn't there; its `root.key`; the defaults of everything else.
    pub fn new(home: PathBuf) -> Self {
        Self {
            root_key: RootKeySource::File(home.join(ROOT_KEY_FILE)),
            home,
            store: indicia_store::Options { create: true, ..indicia_store::Options::default() },
            transport: TransportOptions::default(),
            settings: Settings::default(),
        }
    }
}

/// Where the root key is.
pub enum RootKeySource {
    /// In this file; made when the store is empty and the file isn't there.
    File(PathBuf),
    /// Somewhere else.
    Given(Arc<dyn RootKey>),
}

/// Name of the root key's file in a home.
pub const ROOT_KEY_FILE: &str = "root.key";

/// Indicia on a home folder.
pub struct Indicia;

impl Indicia {
    /// Opens the engine, in a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// A store or root key that can't be used, or a service file that is refused: nothing was
    /// changed.
    pub async fn open(options: Options) -> Result<Arc<Broker>, Error> {
        let catalogue = Arc::new(catalogue(&options.home)?);
        let settings = options.settings.clone();
        let ports = Self::ports(options)?;
        Broker::open(ports, catalogue, settings).await
    }

    /// The ports alone, for who wants to put something of his own before one of them. As
    /// [`Self::open`], within a tokio runtime.
    ///
    /// # Errors
    /// A store that can't be used.
    pub fn ports(options: Options) -> Result<Ports, Error> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemChance);
        let store = Sqlite::open(&options.home, Arc::clone(&clock), &options.store)?;
        if !store.is_there() {
            return Err(no_store(&options.home));
        }
        let root_key = match options.root_key {
            RootKeySource::Given(key) => key,
            // The engine wraps a data key before it has unwrapped one only in an empty store.
            RootKeySource::File(path) => {
                Arc::new(FileRootKey::new(path, Missing::Make, Arc::clone(&random)))
            }
        };
        let journal = JournalFile::new(&options.home, Arc::clone(&clock), Arc::clone(&random));
        Ok(Ports {
            store,
            transport: Arc::new(HttpsTransport::new(options.transport)),
            clock,
            random,
            root_key,
            journal: Arc::new(journal),
            spawn: Arc::new(TokioSpawn::new(Handle::current())),
        })
    }
}

/// Does what is due, for as long as it is polled: refreshes in time, revocations that wait, changes
/// by other processes. For a process that lives on; never returns.
pub async fn keep_going(broker: Arc<Broker>) {
    drive::drive(&broker, &SystemClock, &tokio::sync::Notify::new()).await;
}

/// The system's unguessable bytes.
pub fn random() -> Arc<dyn Random> {
    Arc::new(SystemChance)
}

/// Told before anything looks for keys: none would be there, and none may be made.
fn no_store(home: &Path) -> Error {
    Error::Store {
        code: "store_unreadable",
        detail: format!("there is no store in {} yet", home.display()),
        hint: "`indicia clients add` makes one, or name another home with --home".into(),
    }
}
