//! Refreshes what is due: work is proportional to that, never to what is stored. A budget per
//! client keeps one service that hangs, or one application with many connections, from holding up
//! the rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use indicia_oauth::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::DutyReport;
use crate::Broker;
use crate::end::{End, Force};
use crate::error::Error;
use crate::model::{ClientId, GrantRow};
use crate::schedule;

/// Refreshes in flight at once.
const IN_FLIGHT_MAX: usize = 16;

/// Of one client.
const IN_FLIGHT_PER_CLIENT_MAX: usize = 4;

/// Rows taken up in one round.
const ROUND_MAX: usize = 256;

/// A round begins no refresh after this: what is left is due in the next one, after what came
/// since.
const ROUND_TIME: Duration = Duration::from_secs(30);

/// When to look again after a round that was not full.
const LOOK_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn run(
    broker: &Arc<Broker>,
    which: Which,
    report: &mut DutyReport,
) -> Result<(), Error> {
    let now = broker.ports.clock.now();
    let due = broker.ports.store.due(now, ROUND_MAX).await?;
    let mut rows = Vec::new();
    for id in &due {
        let row = broker.ports.store.grant(id).await?;
        // Once more: another may have refreshed it since the list was read.
        if let Some(row) = row.filter(|row| row.next_at.is_some_and(|at| at <= now))
            && (which == Which::Due || would_die(broker, &row, now).await?)
        {
            rows.push(row);
        }
    }
    let budget = Budget::of(&rows);
    let ends = join_all(rows.iter().map(|row| budget.spend(broker, row))).await;
    for end in ends {
        match end {
            Some(End::Committed(..)) => report.refreshed += 1,
            Some(End::Row(row)) if row.next_at.is_some_and(|at| at > now) => report.refreshed += 1,
            Some(End::Row(_)) => report.failed += 1,
            Some(End::Failed(error)) => {
                report.failed += 1;
                tracing::debug!(%error, "a refresh didn't come through");
            }
            None => {}
        }
    }
    let more = due.len() == ROUND_MAX;
    report.next_at = Some(if more { now } else { now.plus(LOOK_EVERY) });
    Ok(())
}

/// Whether a grant's refresh token dies soon, unless it is used.
async fn would_die(broker: &Broker, row: &GrantRow, now: Timestamp) -> Result<bool, Error> {
    let Some(client) = broker.ports.store.client(&row.client).await? else { return Ok(false) };
    let Ok(bound) = broker.bind(client, &row.inputs) else { return Ok(false) };
    let at = schedule::keep_alive_at(&row.facts, &bound.refresh_rule());
    Ok(at.is_some_and(|at| at <= now))
}

/// What is refreshed in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// All that is due.
    Due,
    /// What would die unused. Who asks for one token is no reason to refresh others.
    WouldDie,
}

/// How many may be in flight.
struct Budget {
    all: Semaphore,
    per_client: BTreeMap<ClientId, Semaphore>,
    began: Instant,
}

impl Budget {
    fn of(rows: &[GrantRow]) -> Self {
        let client =
            |row: &GrantRow| (row.client.clone(), Semaphore::new(IN_FLIGHT_PER_CLIENT_MAX));
        Self {
            all: Semaphore::new(IN_FLIGHT_MAX),
            per_client: rows.iter().map(client).collect(),
            began: Instant::now(),
        }
    }

    /// Refreshes one; `None`: not in this round.
    async fn spend(&self, broker: &Arc<Broker>, row: &GrantRow) -> Option<End> {
        // The client's first: who waits for that one takes no place from others.
        let _of_client = self.per_client.get(&row.client)?.acquire().await.ok()?;
        let _of_all = self.all.acquire().await.ok()?;
        if self.began.elapsed() > ROUND_TIME {
            return None;
        }
        Some(broker.fly(&row.id, row.version, Force::WhenDue).await)
    }
}
