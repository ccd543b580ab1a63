//! A whole refresh of a service that rotates, 64 in flight: lease, intent, slot, the request over
//! HTTP, the journal, the commit; beside raw transactions of 64 rows on the same disk, in a table
//! of as many rows, each as large.
//!
//! What would surprise: the service has the same cores as we. Its share is told beside the figure.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use async_trait::async_trait;
use indicia::Broker;
use indicia_broker::Ports;
use indicia_broker::model::JournalId;
use indicia_broker::ports::{Journal, JournalEntry, JournalError, Sent, SlotNo, Transport};
use indicia_oauth::{Request, Timestamp};

use crate::figure::{Figure, Goal, Subject, compare, median};
use crate::journal::tails;
use crate::machine::{process_cpu, syncs_per_second};
use crate::raw::{ROWS_PER_COMMIT, Raw, row_bytes};
use crate::world::World;

/// Longer than any access token lives.
const LIFE_MILLIS: i64 = 2 * 24 * 3600 * 1000;

/// `Broker::token` on tokens that have ended.
pub fn figures(world: &World, pairs: usize) -> Result<Vec<Figure>> {
    let windows = Arc::new(Windows::default());
    let ports = world.ports()?;
    let ports = Ports {
        transport: Arc::new(Arriving { transport: ports.transport }),
        journal: Arc::new(Keeping { journal: ports.journal, windows: Arc::clone(&windows) }),
        ..ports
    };
    let broker = world.open(ports, 4 * world.ids.len())?;
    let mut raw = Raw::new(world.folder(), &world.stored_ids(), row_bytes(&world.home())?)?;
    let subject = Subject {
        what: "a whole refresh of a service that rotates, 64 in flight",
        baseline: "raw rusqlite, 64 rows a transaction",
        unit: "/s",
        goal: Goal::RatioAtLeast(0.25, 0.35),
    };
    let (mut ours_cpu, mut theirs_cpu, mut syncs) = (Vec::new(), Vec::new(), Vec::new());
    let base = || {
        syncs.push(syncs_per_second(world.folder())?);
        raw.commits(Duration::from_millis(700))
    };
    let ours = || {
        world.clock.move_on(LIFE_MILLIS);
        let cpu = || Ok((process_cpu(std::process::id())?, process_cpu(world.sandbox_pid())?));
        let before: Result<_> = cpu();
        let before = before?;
        let started = Instant::now();
        world.runtime.block_on(all(&broker, &world.ids))?;
        let rate = world.ids.len() as f64 / started.elapsed().as_secs_f64();
        let after: Result<_> = cpu();
        let after = after?;
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / world.ids.len() as f64;
        ours_cpu.push(each(after.0 - before.0));
        theirs_cpu.push(each(after.1 - before.1));
        Ok(rate)
    };
    let mut figure = compare(subject, pairs, base, ours)?;
    figure.notes.push(format!(
        "{} of {} stored grants are refreshed",
        world.ids.len(),
        world.stored
    ));
    figure.notes.push(format!(
        "CPU for each: {:.0} µs here, {:.0} µs in the service's process",
        median(&ours_cpu),
        median(&theirs_cpu)
    ));
    figure.notes.push(format!("{:.0} appends with fdatasync a second beside", median(&syncs)));
    figure.notes.push(tails("between an answer's arrival and its fsync", &windows.lock()));
    Ok(vec![figure])
}

async fn all(broker: &Arc<Broker>, ids: &[String]) -> Result<()> {
    let tasks = ids.chunks(ids.len().div_ceil(ROWS_PER_COMMIT)).map(|ids| {
        let (broker, ids) = (Arc::clone(broker), ids.to_vec());
        tokio::spawn(async move {
            for id in ids {
                let view = broker.token(&id, None).await?;
                if !view.warnings.is_empty() || view.version < 2 {
                    bail!("{id} was not refreshed: {:?}", view.warnings);
                }
            }
            anyhow::Ok(())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    Ok(())
}

/// Microseconds between an answer's arrival and its fsync.
#[derive(Default)]
struct Windows(Mutex<Vec<f64>>);

impl Windows {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<f64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// When the answer came that is now being kept: between the two nothing waits, so both are on
    /// one thread.
    static ARRIVED: Cell<Option<Instant>> = const { Cell::new(None) };
}

struct Arriving {
    transport: Arc<dyn Transport>,
}

#[async_trait]
impl Transport for Arriving {
    async fn send(&self, request: Request, may_write: &(dyn Fn() -> bool + Sync)) -> Sent {
        let sent = self.transport.send(request, may_write).await;
        ARRIVED.set(Some(Instant::now()));
        sent
    }
}

struct Keeping {
    journal: Arc<dyn Journal>,
    windows: Arc<Windows>,
}

#[async_trait]
impl Journal for Keeping {
    fn id(&self) -> JournalId {
        self.journal.id()
    }

    async fn reserve(&self) -> Result<SlotNo, JournalError> {
        self.journal.reserve().await
    }

    async fn keep(&self, slot: SlotNo, entry: JournalEntry) -> Result<(), JournalError> {
        let arrived = ARRIVED.take();
        self.journal.keep(slot, entry).await?;
        if let Some(arrived) = arrived {
            self.windows.lock().push(arrived.elapsed().as_secs_f64() * 1e6);
        }
        Ok(())
    }

    async fn give_back(&self, slot: SlotNo) {
        self.journal.give_back(slot).await;
    }

    async fn entries(&self, of: Option<&str>) -> Result<Vec<JournalEntry>, JournalError> {
        self.journal.entries(of).await
    }

    async fn committed(&self, of: &str, version: u64, now: Timestamp) -> Result<(), JournalError> {
        self.journal.committed(of, version, now).await
    }
}
