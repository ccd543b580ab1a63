//! Removes attempts to connect that came to nothing. One whose answer is kept and still waits to be
//! read stays as long as the answer does, if not for ever.

use std::sync::atomic::Ordering;
use std::time::Duration;

use indicia_oauth::Timestamp;

use crate::Broker;
use crate::error::Error;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long an attempt is remembered after its end: as long as its answer may be kept.
const FLOWS_KEPT: Duration = DAY.saturating_mul(7);

/// No longer than this, whatever waits: a code's answer is worth nothing by then, or its journal is
/// lost.
const TAKEN_KEPT: Duration = DAY.saturating_mul(400);

/// Taken flows looked at in one round; the next round goes on behind them.
const ROUND_MAX: usize = 64;

pub(super) async fn run(broker: &Broker) -> Result<(), Error> {
    let (store, journal) = (&broker.ports.store, &broker.ports.journal);
    let now = broker.ports.clock.now();
    let before = now.minus(FLOWS_KEPT);
    store.purge_flows(before, now.minus(TAKEN_KEPT)).await?;
    let after = Timestamp::from_millis(broker.flows_looked_at.load(Ordering::Relaxed));
    let stale = store.stale_flows(&journal.id(), (after, before), ROUND_MAX).await?;
    let last =
        stale.last().filter(|_| stale.len() == ROUND_MAX).map_or(0, |(at, _)| at.as_millis());
    broker.flows_looked_at.store(last, Ordering::Relaxed);
    for (_, flow) in stale {
        match journal.entries(Some(&flow)).await {
            Ok(kept) if kept.is_empty() => store.remove_flow(&flow).await?,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "kept answers can't be looked at"),
        }
    }
    Ok(())
}
