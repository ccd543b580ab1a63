//! A broker with everything in memory, beside one simulated service, on a clock that is moved by
//! hand: what `services try` plays on. Nothing of it outlives the command, and nothing of it is
//! secret: the root key is none.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use indicia_broker::model::{HolderId, JournalId};
use indicia_broker::ports::{
    Clock, Journal, JournalEntry, JournalError, Random, RootKey, RootKeyError, Sent, SlotNo, Spawn,
    Task, Transport,
};
use indicia_broker::{Broker, Ports, Settings};
use indicia_catalog::{Catalogue, Service};
use indicia_oauth::{Request, Timestamp};
use indicia_sandbox::{Incoming, Model, Options};
use indicia_store::Memory;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Broker, service and clock.
pub struct World {
    /// The broker.
    pub broker: Arc<Broker>,
    service: Arc<OneService>,
}

impl World {
    /// Made for one service; `seed` decides how what isn't verified is played.
    pub async fn new(
        catalogue: Catalogue,
        service: Arc<Service>,
        seed: u64,
    ) -> Result<Self, Failure> {
        let clock = Arc::new(HandClock { now: AtomicI64::new(crate::output::now().as_millis()) });
        let model = Model::new(service, Options { seed, ..Options::default() });
        let one = Arc::new(OneService {
            model: Mutex::new(model),
            clock: Arc::clone(&clock),
            is_down: AtomicBool::new(false),
        });
        let broken = |error: indicia_broker::model::IdError| {
            Failure::failed("internal", error.to_string(), "this is a defect: please report it")
        };
        let journal = JournalId::new("simulated").map_err(broken)?;
        let ports = Ports {
            store: Memory::new(Arc::clone(&clock) as Arc<dyn Clock>)
                .handle(HolderId::new("simulated").map_err(broken)?),
            transport: Arc::clone(&one) as Arc<dyn Transport>,
            clock,
            random: Arc::new(Counted { seed, drawn: AtomicU64::new(0) }),
            root_key: Arc::new(NoKey),
            journal: Arc::new(InMemory { id: journal, kept: Mutex::default() }),
            spawn: Arc::new(OnThisRuntime),
        };
        let settings = Settings { refresh_ahead: false, ..Settings::default() };
        let broker = Broker::open(ports, Arc::new(catalogue), settings).await?;
        Ok(Self { broker, service: one })
    }

    /// The simulated service.
    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.service.model()
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.service.clock.now()
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.service.clock.now.fetch_add(millis, Ordering::Relaxed);
    }

    /// Takes the service off the network, or puts it back.
    pub fn set_down(&self, is_down: IsDown) {
        self.service.is_down.store(is_down == IsDown::Yes, Ordering::Relaxed);
    }
}

/// Whether the service can't be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsDown {
    /// No connection is made.
    Yes,
    /// All is well.
    No,
}

struct HandClock {
    now: AtomicI64,
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::Relaxed))
    }

    fn boot_millis(&self) -> u64 {
        u64::try_from(self.now.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

/// The network: one service at the end of it.
struct OneService {
    model: Mutex<Model>,
    clock: Arc<HandClock>,
    is_down: AtomicBool,
}

impl OneService {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Transport for OneService {
    async fn send(&self, request: Request, may_write: &(dyn Fn() -> bool + Sync)) -> Sent {
        if self.is_down.load(Ordering::Relaxed) {
            return Sent::NotSent("the simulated service is down".to_owned());
        }
        if !may_write() {
            return Sent::NotSent("the deadline had passed".to_owned());
        }
        let incoming = Incoming::from_request(&request);
        Sent::Answer(self.model().handle(&incoming, self.clock.now()))
    }
}

/// Bytes by the seed and how many were drawn before. Unguessable to nobody: there is nothing to
/// guess.
struct Counted {
    seed: u64,
    drawn: AtomicU64,
}

impl Random for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let n = self.drawn.fetch_add(1, Ordering::Relaxed);
            // SplitMix64, Steele and others 2014.
            let mut x = self.seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^= x >> 31;
            chunk.copy_from_slice(&x.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Data keys as they are.
struct NoKey;

#[async_trait]
impl RootKey for NoKey {
    async fn wrap(&self, _context: &[u8], plain: &[u8]) -> Result<Vec<u8>, RootKeyError> {
        Ok(plain.to_vec())
    }

    async fn unwrap(
        &self,
        _context: &[u8],
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RootKeyError> {
        Ok(Zeroizing::new(wrapped.to_vec()))
    }
}

/// The newest answer of each grant or flow.
struct InMemory {
    id: JournalId,
    kept: Mutex<BTreeMap<String, JournalEntry>>,
}

impl InMemory {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, JournalEntry>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Journal for InMemory {
    fn id(&self) -> JournalId {
        self.id.clone()
    }

    async fn reserve(&self) -> Result<SlotNo, JournalError> {
        Ok(SlotNo(0))
    }

    async fn keep(&self, _slot: SlotNo, entry: JournalEntry) -> Result<(), JournalError> {
        self.kept().insert(entry.of.clone(), entry);
        Ok(())
    }

    async fn give_back(&self, _slot: SlotNo) {}

    async fn entries(&self, of: Option<&str>) -> Result<Vec<JournalEntry>, JournalError> {
        let kept = self.kept();
        let wanted = kept.iter().filter(|(name, _)| of.is_none_or(|of| of == *name));
        Ok(wanted.map(|(_, entry)| entry.clone()).collect())
    }

    async fn committed(
        &self,
        _of: &str,
        _version: u64,
        _now: Timestamp,
    ) -> Result<(), JournalError> {
        Ok(())
    }
}

struct OnThisRuntime;

impl Spawn for OnThisRuntime {
    fn spawn(&self, task: Task) {
        tokio::spawn(task);
    }
}
