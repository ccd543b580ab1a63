//! What must happen unasked. A duty takes no input: it looks at the world and does what is due, so
//! that restart, second host and retry are one path.

mod purge_flows;
mod recover_open;
mod refresh_due;
mod revoke_pending;
mod take_up_refused;

use std::sync::Arc;

use indicia_oauth::Timestamp;

use crate::Broker;
use crate::duty::refresh_due::Which;
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
    /// Does what is due: kept answers, refreshes, pending revocations. Idempotent. What is wrong
    /// with one grant or revocation holds up no other.
    ///
    /// # Errors
    /// The store's. What a service answers is no error here.
    pub async fn run_due(self: &Arc<Self>) -> Result<DutyReport, Error> {
        self.run(Which::Due).await
    }

    /// As [`Self::run_due`], for a process that ends with its own work (the command line): it
    /// refreshes only what would die unused. What is due otherwise is refreshed when it is asked
    /// for.
    ///
    /// # Errors
    /// The store's.
    pub async fn keep_up(self: &Arc<Self>) -> Result<DutyReport, Error> {
        self.run(Which::WouldDie).await
    }

    async fn run(self: &Arc<Self>, which: Which) -> Result<DutyReport, Error> {
        let mut report = DutyReport::default();
        recover_open::run(self, &mut report).await?;
        take_up_refused::run(self).await?;
        if !self.is_held().await {
            refresh_due::run(self, which, &mut report).await?;
            revoke_pending::run(self, &mut report).await?;
        }
        purge_flows::run(self).await?;
        Ok(report)
    }
}
