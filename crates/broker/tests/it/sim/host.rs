//! One life of one host: its gate, its clock, and what may befall it at each call that it makes.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use indicia_broker::ports::{Clock, Random, RootKey, RootKeyError, Spawn, Task};
use indicia_oauth::Timestamp;
use zeroize::Zeroizing;

use super::gate::{Gate, Standing};
use super::world::{Staged, World, holder};

/// Wall clock at the start of each run.
pub const START_MS: i64 = 1_795_000_000_000;

/// How exposed a call is: those on the way of a spend are hit more often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Spend,
    Other,
}

pub struct Host {
    pub world: Arc<World>,
    pub n: usize,
    pub life: u32,
    pub gate: Arc<Gate>,
    /// Failures of the store, stand-stills and the like that its callers had to bear.
    pub failures: Arc<AtomicU64>,
}

impl Host {
    pub fn name(&self) -> String {
        format!("h{}.{}", self.n, self.life)
    }

    /// Each call at a port passes here: it takes its time, and may be the last one of this life.
    pub async fn pass(&self, call: &str, step: Step) {
        let world = &self.world;
        let delay = world.draw(|rng| match rng.below(10) {
            0..=5 => 0,
            6..=8 => rng.within(1, 3),
            _ => rng.within(3, 20),
        });
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        let times = if step == Step::Spend { 12 } else { 1 };
        let staged = world.staged_at(call);
        let crashes = staged.as_ref().is_some_and(|s| s.freeze_secs.is_none());
        if crashes || world.stormy_chance(world.plan.faults.crash * times) {
            world.tell(&format!("{} crashes at {call}", self.name()));
            world.crash(self.n);
            std::future::pending::<()>().await;
        }
        if let Some(secs) = staged.and_then(|s| s.freeze_secs) {
            self.freeze(call, secs);
            tokio::task::yield_now().await;
        }
        if world.stormy_chance(world.plan.faults.pause * times) {
            let secs = world.draw(|rng| rng.within(1, 45));
            self.freeze(call, secs);
            tokio::task::yield_now().await;
        }
    }

    /// Something failed that a caller may rightly notice.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.world.books().hold_up(&holder(self), 0);
    }

    /// Stands still from the next await on.
    pub fn freeze(&self, call: &str, secs: u64) {
        self.failed();
        self.world.books().hold_up(&holder(self), secs * 1_000);
        self.world.tell(&format!("{} stands still for {secs} s at {call}", self.name()));
        self.gate.set(Standing::Frozen);
        let gate = Arc::clone(&self.gate);
        let (world, name) = (Arc::clone(&self.world), self.name());
        self.world.background(async move {
            tokio::time::sleep(Duration::from_secs(secs)).await;
            if gate.standing() == Standing::Frozen {
                world.tell(&format!("{name} goes on"));
                gate.set(Standing::Open);
            }
        });
    }
}

impl World {
    /// Counts down to the one mishap that a test has staged.
    fn staged_at(&self, call: &str) -> Option<Staged> {
        let mut staged = self.staged.lock().unwrap();
        let next = staged.as_mut().filter(|s| s.call == call)?;
        if next.passes > 0 {
            next.passes -= 1;
            return None;
        }
        staged.take()
    }
}

/// A host's two clocks: the wall clock may be wrong and jump, the boot clock is the machine's.
pub struct SimClock {
    pub start: tokio::time::Instant,
    pub skew_ms: Arc<AtomicI64>,
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let ran = i64::try_from(self.start.elapsed().as_millis()).unwrap();
        Timestamp::from_millis(START_MS + ran + self.skew_ms.load(Ordering::Relaxed))
    }

    fn boot_millis(&self) -> u64 {
        1_000_000 + u64::try_from(self.start.elapsed().as_millis()).unwrap()
    }
}

pub struct SimRandom(pub Arc<World>);

impl Random for SimRandom {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.draw(|rng| {
            for part in bytes.chunks_mut(8) {
                let next = rng.next().to_be_bytes();
                part.copy_from_slice(&next[..part.len()]);
            }
        });
    }
}

/// A root key by its number. Wraps by turning each bit: what a root key does is tested elsewhere.
pub struct SimRoot {
    /// None: whichever is the newest by then.
    pub no: Option<u8>,
    /// The numbers of those that open what they wrapped: while one takes the other's place, both.
    pub open: Arc<Mutex<[u8; 2]>>,
}

#[async_trait]
impl RootKey for SimRoot {
    async fn wrap(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, RootKeyError> {
        let turned: Vec<u8> = plain.iter().map(|byte| !byte).collect();
        let no = self.no.unwrap_or_else(|| self.open.lock().unwrap()[0]);
        Ok([context, &[no], &turned].concat())
    }

    async fn unwrap(
        &self,
        context: &[u8],
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RootKeyError> {
        let turned = wrapped.strip_prefix(context).ok_or(RootKeyError::Wrong)?;
        let (no, turned) = turned.split_first().ok_or(RootKeyError::Wrong)?;
        if !self.open.lock().unwrap().contains(no) {
            return Err(RootKeyError::Wrong);
        }
        Ok(Zeroizing::new(turned.iter().map(|byte| !byte).collect()))
    }
}

pub struct SimSpawn(pub Arc<Host>);

impl Spawn for SimSpawn {
    fn spawn(&self, task: Task) {
        let (world, name) = (Arc::clone(&self.0.world), self.0.name());
        let panicked = move |text: String| world.books().broken(format!("{name} panicked: {text}"));
        self.0.gate.spawn(task, Arc::new(panicked));
    }
}
