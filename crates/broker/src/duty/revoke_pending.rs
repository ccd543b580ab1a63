//! Tries revocations that a service hasn't answered yet.

use std::sync::Arc;

use super::DutyReport;
use crate::Broker;
use crate::error::Error;

/// Revocations taken up in one round.
const ROUND_MAX: usize = 64;

pub(super) async fn run(broker: &Arc<Broker>, report: &mut DutyReport) -> Result<(), Error> {
    let now = broker.ports.clock.now();
    for row in broker.ports.store.revocations_due(now, ROUND_MAX).await? {
        let id = row.id.clone();
        match broker.call_service(row).await {
            Ok(row) if row.next_at.is_none() => report.revoked += 1,
            Ok(_) => {}
            Err(error) => tracing::warn!(revocation = %id, %error, "a revocation can't be tried"),
        }
    }
    Ok(())
}
