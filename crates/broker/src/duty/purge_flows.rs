//! Removes attempts to connect that came to nothing. One whose answer is kept and still waits to be
//! read stays as long as the answer does.

use std::time::Duration;

use crate::Broker;
use crate::error::Error;

/// How long an attempt is remembered after its end: as long as its answer may be kept.
const FLOWS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Taken flows looked at in one round.
const ROUND_MAX: usize = 64;

pub(super) async fn run(broker: &Broker) -> Result<(), Error> {
    let (store, journal) = (&broker.ports.store, &broker.ports.journal);
    let before = broker.ports.clock.now().minus(FLOWS_KEPT);
    store.purge_flows(before).await?;
    for flow in store.stale_flows(&journal.id(), before, ROUND_MAX).await? {
        match journal.entries(Some(&flow)).await {
            Ok(kept) if kept.is_empty() => store.remove_flow(&flow).await?,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "kept answers can't be looked at"),
        }
    }
    Ok(())
}
