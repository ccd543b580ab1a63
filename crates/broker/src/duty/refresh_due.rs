//! Refreshes what is due: work is proportional to that, never to what is stored.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::DutyReport;
use crate::Broker;
use crate::end::End;
use crate::end::Force;
use crate::error::Error;

/// Refreshes in flight at once.
const IN_FLIGHT_MAX: usize = 16;

/// Rows taken up in one round.
const ROUND_MAX: usize = 256;

/// When to look again after a round that was not full.
const LOOK_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn run(broker: &Arc<Broker>, report: &mut DutyReport) -> Result<(), Error> {
    let now = broker.ports.clock.now();
    let due = broker.ports.store.due(now, ROUND_MAX).await?;
    for some in due.chunks(IN_FLIGHT_MAX) {
        let ends = join_all(some.iter().map(|id| one(broker, id))).await;
        for (id, end) in some.iter().zip(ends) {
            match end {
                Ok(Some(End::Committed(..))) => report.refreshed += 1,
                Ok(Some(End::Row(_))) => report.failed += 1,
                Ok(Some(End::Failed(error))) | Err(error) => {
                    report.failed += 1;
                    tracing::debug!(grant = %id, %error, "a refresh didn't come through");
                }
                Ok(None) => {}
            }
        }
    }
    let more = due.len() == ROUND_MAX;
    report.next_at = Some(if more { now } else { now.plus(LOOK_EVERY) });
    Ok(())
}

async fn one(broker: &Arc<Broker>, id: &crate::model::GrantId) -> Result<Option<End>, Error> {
    let Some(row) = broker.ports.store.grant(id).await? else {
        return Ok(None);
    };
    Ok(Some(broker.fly(id, row.version, Force::No).await))
}
