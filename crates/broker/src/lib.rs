//! The grant-safe engine: connect, token, refresh, revoke, explain.
//!
//! Knows no SQL, no HTTP server, no real clock, no environment, no files: all of that comes in
//! through [`ports`]. The one promise: who asks for a connection's token gets a valid one, at once,
//! for as long as the grant lives, and the grant never dies through our fault.
//!
//! One file a verb: [`clients`], [`connect`], [`import`], [`read`], [`refresh`], [`explain`],
//! [`revoke`], [`recover`], [`list`]. What must happen unasked is in [`duty`]. Shared state, all of
//! it: the cache of committed tokens, the map of flights with the count of open spends, and how far
//! the events were read.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use indicia_catalog::Catalogue;

mod adopt;
pub mod api_key;
mod cache;
mod call;
mod callback;
mod client_gate;
pub mod client_key;
pub mod clients;
mod commit;
mod commit_code;
mod committed;
mod conclude;
pub mod connect;
mod credentials;
pub mod decide;
pub mod device;
mod discovery;
pub mod duty;
mod end;
mod environment;
pub mod error;
pub mod explain;
mod flight;
pub mod forecast;
mod fuel;
#[doc(hidden)]
pub mod fuzzed;
mod guards;
mod held;
mod implicit;
pub mod import;
mod leaked;
mod lease;
pub mod list;
pub mod many_refused;
mod metadata;
pub mod model;
pub mod outcome;
pub mod ports;
mod prepare;
mod present;
pub mod probe;
pub mod read;
pub mod recover;
pub mod refresh;
pub mod revoke;
mod revoke_call;
mod revoke_late;
pub mod rotate_keys;
pub mod rotate_tokens;
pub mod schedule;
pub mod scopes;
mod serve;
pub mod spoken;
mod standing;
mod token_facts;
pub mod vault;
pub mod view;
mod watch;

pub use end::Force;
pub use error::Error;
pub use guards::Guards;

use ports::{Clock, Journal, Random, RootKey, Spawn, Store, Transport};

/// The ways out.
#[derive(Clone)]
pub struct Ports {
    /// Where rows are kept.
    pub store: Arc<dyn Store>,
    /// The network.
    pub transport: Arc<dyn Transport>,
    /// Two clocks.
    pub clock: Arc<dyn Clock>,
    /// Unguessable bytes.
    pub random: Arc<dyn Random>,
    /// The root key.
    pub root_key: Arc<dyn RootKey>,
    /// The log of answers.
    pub journal: Arc<dyn Journal>,
    /// Where tasks are started.
    pub spawn: Arc<dyn Spawn>,
}

/// What an embedder may choose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A read of a token that is due starts a refresh behind the answer. Off in the command line,
    /// which can't: it ends.
    pub refresh_ahead: bool,
    /// Port of the default loopback redirect URI.
    pub callback_port: u16,
    /// Committed token sets held in memory at most.
    pub cache_entries_max: usize,
    /// Switches of the mutation proof.
    #[cfg(feature = "mutants")]
    pub guards: Guards,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            refresh_ahead: true,
            callback_port: 8917,
            cache_entries_max: 100_000,
            #[cfg(feature = "mutants")]
            guards: Guards::ALL,
        }
    }
}

/// The engine. Cheap to share; everything goes through it.
pub struct Broker {
    pub(crate) ports: Ports,
    pub(crate) vault: vault::Vault,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) settings: Settings,
    pub(crate) cache: cache::Cache,
    pub(crate) flights: flight::Flights,
    pub(crate) watch: watch::Watch,
    pub(crate) held: held::Held,
    /// Which connection each refresh token that was imported here went to.
    pub(crate) imports: import::Imports,
    /// Up to which end of theirs taken flows were looked at; 0: from the first on.
    flows_looked_at: AtomicI64,
    /// Whether this process has read the whole journal once.
    pub(crate) journal_read: std::sync::atomic::AtomicBool,
}

impl Broker {
    /// Opens the engine on its ports: unwraps the store's data keys (and makes the first one in an
    /// empty store).
    ///
    /// # Errors
    /// A wrong root key, or a store that can't be read: nothing was changed.
    pub async fn open(
        ports: Ports,
        catalogue: Arc<Catalogue>,
        settings: Settings,
    ) -> Result<Arc<Self>, Error> {
        let vault = vault::Vault::open(
            Arc::clone(&ports.store),
            Arc::clone(&ports.root_key),
            Arc::clone(&ports.random),
            ports.clock.now(),
        )
        .await?;
        let held = held::Held::of(ports.store.as_ref(), settings.guards()).await;
        let ports = Ports { transport: held.guarding(Arc::clone(&ports.transport)), ..ports };
        let cache = cache::Cache::new(settings.cache_entries_max);
        let flights = flight::Flights::default();
        let watch = watch::Watch::default();
        let journal_read = std::sync::atomic::AtomicBool::new(false);
        Ok(Arc::new(Self {
            ports,
            vault,
            catalogue,
            settings,
            cache,
            flights,
            watch,
            held,
            imports: import::Imports::default(),
            flows_looked_at: AtomicI64::new(0),
            journal_read,
        }))
    }

    /// The services that there are.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Waits until no spend of this process is open: to be called before it exits.
    pub async fn drain(&self) {
        self.flights.drain().await;
    }

    pub(crate) const fn guards(&self) -> Guards {
        self.settings.guards()
    }
}

impl Settings {
    #[cfg(feature = "mutants")]
    const fn guards(&self) -> Guards {
        self.guards
    }

    #[cfg(not(feature = "mutants"))]
    #[expect(clippy::unused_self, reason = "the mutation proof's build looks at the settings")]
    const fn guards(&self) -> Guards {
        Guards::ALL
    }
}
