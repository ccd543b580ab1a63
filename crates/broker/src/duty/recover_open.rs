//! Stores kept answers that were never stored: all that the journal has when a process begins,
//! later those of spends that are open.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::DutyReport;
use crate::Broker;
use crate::error::Error;
use crate::prepare::{self, Kept};

/// An exchange that began less than this ago is left to whoever began it.
const AT_WORK: Duration = Duration::from_secs(120);

/// Open spends looked at in one round.
const ROUND_MAX: usize = 64;

pub(super) async fn run(broker: &Arc<Broker>, report: &mut DutyReport) -> Result<(), Error> {
    if !broker.journal_read.load(Ordering::Relaxed) {
        match broker.recover_older_than(AT_WORK).await {
            Ok(found) => {
                report.recovered += found.recovered.len();
                broker.journal_read.store(true, Ordering::Relaxed);
            }
            // A journal that can't be read must not hold up refreshes where nothing is spent.
            Err(error) => tracing::warn!(%error, "kept answers can't be looked at"),
        }
        return Ok(());
    }
    for id in broker.ports.store.open_intents(ROUND_MAX).await? {
        if broker.flights.has(&id) {
            // Its own flight ends it.
            continue;
        }
        match prepare::recover_kept(broker, &id).await {
            Ok(Kept::Stored) => report.recovered += 1,
            Ok(Kept::Nothing | Kept::Unreadable(_)) => {}
            Err(error) => tracing::warn!(grant = %id, %error, "a kept answer can't be stored"),
        }
    }
    Ok(())
}
