//! A copy of the store, opened on a host of its own beside the original: it serves what is good,
//! and sends nothing, whatever is asked of it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use indicia_broker::model::{ConnectionId, GrantRow, HolderId, JournalId, Life};
use indicia_broker::ports::{
    Clock as _, Journal, JournalEntry, JournalError, Sent, SlotNo, Spawn as _, Store, Transport,
};
use indicia_broker::{Broker, Force, Ports};
use indicia_oauth::{Expiry, Request, Timestamp};

use super::gate::{Gate, Standing};
use super::host::{Host, SimClock, SimRandom, SimSpawn};
use super::world::World;

/// How long a copy lives.
const SECS: (u64, u64) = (60, 400);

/// How often it is asked.
const ASKED_EVERY: Duration = Duration::from_secs(3);

/// Copies the store, and opens the copy.
pub fn open(world: &Arc<World>) {
    let secs = world.draw(|rng| rng.within(SECS.0, SECS.1));
    world.tell("a copy of the store is opened on another host");
    let copied = Copied::of(world);
    let world = Arc::clone(world);
    world.clone().background(async move {
        let gate = Arc::clone(&copied.host.gate);
        let lived = tokio::time::timeout(Duration::from_secs(secs), copied.live()).await;
        gate.set(Standing::Dead);
        world.tell(&format!("the copy is gone: {}", lived.is_err()));
    });
}

/// A copied home with its store, its journal, and its root key.
pub struct Copied {
    host: Arc<Host>,
    store: Arc<dyn Store>,
    clock: SimClock,
    kept: Vec<JournalEntry>,
}

impl Copied {
    pub fn of(world: &Arc<World>) -> Self {
        let clock = SimClock { start: world.clock.start, skew_ms: Arc::default() };
        let memory = world.memory.copied().opened(Arc::clone(&world.clock) as _);
        let (n, failures) = (world.plan.hosts, Arc::<AtomicU64>::default());
        let host = Host { world: Arc::clone(world), n, life: 0, gate: Gate::open(), failures };
        Self {
            host: Arc::new(host),
            store: memory.handle(HolderId::new("copy").unwrap()),
            clock,
            kept: world.disk.lock().unwrap().all(),
        }
    }

    pub async fn open(&self) -> Arc<Broker> {
        let world = &self.host.world;
        let ports = Ports {
            store: Arc::clone(&self.store),
            transport: Arc::new(NoWayOut(Arc::clone(&self.host))),
            clock: Arc::new(SimClock { start: self.clock.start, skew_ms: Arc::default() }),
            random: Arc::new(SimRandom(Arc::clone(world))),
            root_key: Arc::new(world.root_key()),
            journal: Arc::new(CopiedJournal(self.kept.clone())),
            spawn: Arc::new(SimSpawn(Arc::clone(&self.host))),
        };
        let opened = Broker::open(ports, Arc::clone(&world.catalogue), world.settings()).await;
        opened.expect("nothing is in its way")
    }

    async fn live(&self) {
        let broker = self.open().await;
        let (duties, spawn) = (Arc::clone(&broker), SimSpawn(Arc::clone(&self.host)));
        spawn.spawn(Box::pin(async move {
            loop {
                tokio::time::sleep(ASKED_EVERY).await;
                let _ = duties.run_due().await;
                let _ = duties.notice_changes().await;
            }
        }));
        loop {
            tokio::time::sleep(ASKED_EVERY).await;
            for conn in &self.host.world.conns {
                self.ask(&broker, &conn.id).await;
            }
        }
    }

    /// What is good is served; whoever wants more is told why not.
    pub async fn ask(&self, broker: &Arc<Broker>, id: &str) {
        let key = ConnectionId::new(id).unwrap();
        let found = self.store.connection(&key).await.expect("it has no faults");
        let Some((_, row)) = found else { return };
        let served = broker.token(id, None).await;
        let _ = broker.refresh(id, Force::Yes).await;
        if is_good(&row, self.clock.now())
            && let Err(error) = served
        {
            let text = format!("a held copy doesn't serve {id}: {}", error.code());
            self.host.world.books().broken(text);
        }
    }
}

fn is_good(row: &GrantRow, now: Timestamp) -> bool {
    let lives = match row.facts.expiry {
        Expiry::At(end) => now.as_millis() + 6_000 <= end.as_millis(),
        Expiry::Never | Expiry::Unknown => true,
    };
    lives && !row.facts.rejected && row.state.life != Life::Revoked
}

struct NoWayOut(Arc<Host>);

#[async_trait]
impl Transport for NoWayOut {
    async fn send(&self, _: Request, _: &(dyn Fn() -> bool + Sync)) -> Sent {
        self.0.world.books().broken("a held copy sends something".to_owned());
        Sent::NotSent("it is held".to_owned())
    }
}

/// A copied journal: it can be read, and has no room.
struct CopiedJournal(Vec<JournalEntry>);

#[async_trait]
impl Journal for CopiedJournal {
    fn id(&self) -> JournalId {
        JournalId::new("copy").unwrap()
    }

    async fn reserve(&self) -> Result<SlotNo, JournalError> {
        Ok(SlotNo(0))
    }

    async fn keep(&self, _: SlotNo, _: JournalEntry) -> Result<(), JournalError> {
        Err(JournalError("nothing comes here".to_owned()))
    }

    async fn give_back(&self, _: SlotNo) {}

    async fn entries(&self, of: Option<&str>) -> Result<Vec<JournalEntry>, JournalError> {
        let its = self.0.iter().filter(|entry| of.is_none_or(|of| of == entry.of));
        Ok(its.cloned().collect())
    }

    async fn committed(&self, _: &str, _: u64, _: Timestamp) -> Result<(), JournalError> {
        Ok(())
    }
}
