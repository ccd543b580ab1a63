//! What must happen unasked. A duty takes no input: it looks at the world and does what is due, so
//! that restart, second host and retry are one path.

mod refresh_due;
mod revoke_pending;

use std::sync::Arc;

use indicia_oauth::Timestamp;

use crate::Broker;
use crate::error::Error;

/// What a round of duties did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DutyReport {
    /// Grants refreshed, or found fresh.
    pub refreshed: usize,
    /// Grants whose refresh didn't come through this time.
    pub failed: usize,
    /// Revocations that a service answered.
    pub revoked: usize,
    /// Kept answers that were stored.
    pub recovered: usize,
    /// When to look again at the latest.
    #[serde(skip)]
    pub next_at: Option<Timestamp>,
}

impl Broker {
    /// Does what is due: pending revocations, kept answers, refreshes. Idempotent.
    ///
    /// # Errors
    /// The store's. What a service answers is no error here.
    pub async fn run_due(self: &Arc<Self>) -> Result<DutyReport, Error> {
        let mut report = DutyReport::default();
        revoke_pending::run(self, &mut report).await?;
        report.recovered = self.recover().await?.recovered.len();
        refresh_due::run(self, &mut report).await?;
        Ok(report)
    }
}
