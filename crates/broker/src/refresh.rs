//! A refresh, step by step: lease, second look, open spend, intent, request, journal, verdict,
//! commit. Reads like the list in ARCHITECTURE.md; all cleverness is in the pure files.
//!
//! Must never: send a refresh token against [`crate::decide`]'s table, or while another send of it
//! may be in flight.

use std::sync::Arc;
use std::time::Duration;

use indicia_catalog::{Flow, RefreshRule};
use indicia_oauth::grant::{client_credentials, refresh as refresh_grant};

use crate::Broker;
use crate::commit::{Claim, Flown, Free};
use crate::conclude::{Concluded, conclude, judge, row_end};
use crate::decide::{self, Attempt};
use crate::end::{Behind, End, Force, Step};
use crate::error::Error;
use crate::fuel::Fuel;
use crate::lease::{Lease, WAIT_MAX, busy, lease};
use crate::model::{GrantId, GrantRow};
use crate::outcome::Outcome;
use crate::prepare::{Prepared, prepare};
use crate::schedule;
use crate::view::TokenView;

/// Rounds of one flight at most: another secret, a lost lease.
const ROUNDS_MAX: u32 = 6;

/// First pause between sends within a reuse grace.
const AGAIN_PAUSE: Duration = Duration::from_millis(200);

impl Broker {
    /// Refreshes a connection's grant now.
    ///
    /// # Errors
    /// As [`Self::token`]; a token that is still good is given with a warning instead.
    pub async fn refresh(
        self: &Arc<Self>,
        id: &str,
        force: Force,
    ) -> Result<Arc<TokenView>, Error> {
        let (connection, grant) = self.load(id).await?;
        let end = self.fly(&grant.id, grant.version, force).await;
        self.serve_end(&connection, end, Some(grant)).await
    }
}

/// Flies one refresh to its end.
pub(crate) async fn fly(broker: &Arc<Broker>, id: &GrantId, mut seen: u64, force: Force) -> End {
    if let Err(held) = broker.may_send().await {
        return End::Failed(held);
    }
    let mut rounds = 0;
    loop {
        rounds += 1;
        let step = match lease(broker, id, seen).await {
            Ok(Lease::Ours(claim)) => round(broker, claim, seen, force).await,
            Ok(Lease::Moved(row)) => Ok(Step::End(row_end(broker, row, seen))),
            Err(error) => Err(error),
        };
        match step {
            Ok(Step::End(end)) => match ended_since(broker, &end, seen) {
                // mark: what-was-kept-may-have-ended
                Some(version) if rounds < ROUNDS_MAX => seen = version,
                _ => return end,
            },
            Ok(Step::Again) if rounds < ROUNDS_MAX => {}
            Ok(Step::Again) => return End::Failed(busy()),
            Err(error) => return End::Failed(error),
        }
    }
}

/// The version of a token set that was kept, or stored by another, so long ago that it has ended:
/// it is no answer, but the next one comes of it. None was obtained just now, whatever its life is.
fn ended_since(broker: &Broker, end: &End, seen: u64) -> Option<u64> {
    let End::Committed(committed, Behind::No) = end else { return None };
    let (row, now) = (committed.row(), broker.ports.clock.now());
    let need = schedule::effective_min_valid(&row.facts, None);
    let old = now.since(row.facts.obtained_at) > WAIT_MAX;
    let ended = old && !schedule::good_for(&row.facts, need, now);
    (ended && row.version > seen).then_some(row.version)
}

/// One round under the lease.
async fn round(
    broker: &Arc<Broker>,
    claim: Box<Claim>,
    seen: u64,
    force: Force,
) -> Result<Step, Error> {
    // mark: second-look
    if broker.guards().recheck && claim.grant().version > seen {
        let row = claim.release(broker).await;
        return Ok(Step::End(row_end(broker, Box::new(row), seen)));
    }
    let now = broker.ports.clock.now();
    let due = claim.grant().next_at.is_some_and(|at| at <= now);
    if force == Force::WhenDue && !due {
        let row = claim.release(broker).await;
        return Ok(Step::End(End::Row(Arc::new(row))));
    }
    if let Err(error) = broker.may_spend().await {
        claim.release(broker).await;
        return Err(error);
    }
    match prepare(broker, claim, force).await? {
        Prepared::Ready(claim, fuel) => spend(broker, claim, *fuel).await,
        Prepared::Stored(step) => Ok(step),
        Prepared::Not(claim) => {
            let row = claim.release(broker).await;
            Ok(Step::End(End::Row(Arc::new(row))))
        }
    }
}

/// Sends, keeps, judges; again where the service forgives.
async fn spend(broker: &Arc<Broker>, mut claim: Box<Claim>, mut fuel: Fuel) -> Result<Step, Error> {
    let mut pause = AGAIN_PAUSE;
    let began = broker.ports.clock.boot_millis();
    loop {
        let grant = claim.grant().clone();
        let free = free(&grant, &fuel.rule);
        let spend = match claim.begin(broker, free).await {
            Ok(spend) => spend,
            Err((claim, error)) => {
                claim.release(broker).await;
                return Err(error);
            }
        };
        let attempt =
            aged(broker, spend.attempt(&fuel.endpoint.url, fuel.secret.n), (&grant, began));
        let flow = fuel.bound.client.id.clone();
        let not_after = forgiven_until(broker, &attempt, &grant, &fuel.rule);
        let flown = spend.send(broker, not_after, |token| build(broker, &fuel, token)).await;
        let attempt = aged(broker, attempt, (&grant, began));
        let concluded = match flown {
            Flown::Kept(kept) => {
                let outcome = kept.outcome(&fuel.bound.service.dialect);
                tracing::debug!(client = %flow, outcome = outcome.name(), "a refresh was answered");
                conclude(broker, *kept, fuel, attempt, outcome).await?
            }
            Flown::NoAnswer(claim, outcome) => {
                tracing::debug!(client = %flow, outcome = outcome.name(), "no answer to a refresh");
                judge(broker, claim, fuel, attempt, outcome).await?
            }
            Flown::NotBuilt(claim, why) => {
                let outcome = Outcome::Misconfigured(crate::outcome::Evidence {
                    text: why,
                    ..Default::default()
                });
                judge(broker, claim, fuel, attempt, outcome).await?
            }
        };
        match concluded {
            Concluded::Step(step) => return Ok(step),
            Concluded::Again(again, same) => (claim, fuel) = (again, *same),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// As it is now. A wall clock that was put back meanwhile must not make a send look younger than it
/// is.
fn aged(broker: &Broker, attempt: Attempt, (grant, began_boot_ms): (&GrantRow, u64)) -> Attempt {
    let doubtful = broker.is_doubtful(grant);
    let clock = &broker.ports.clock;
    let boot_ms = clock.boot_millis();
    let ran = Duration::from_millis(boot_ms.saturating_sub(began_boot_ms));
    let first_sent_at = attempt.first_sent_at.min(clock.now().minus(ran));
    Attempt { first_sent_at, boot_ms, doubtful, ..attempt }
}

/// While the access token is good, a second send is right only as long as the service forgives it:
/// the end of that, on the boot clock, for the last look before the write.
fn forgiven_until(
    broker: &Broker,
    attempt: &Attempt,
    grant: &GrantRow,
    rule: &RefreshRule,
) -> Option<u64> {
    let now = broker.ports.clock.now();
    let need = schedule::effective_min_valid(&grant.facts, None);
    if attempt.sends < 2 || !schedule::good_for(&grant.facts, need, now) {
        return None;
    }
    let grace = rule.reuse_grace.unwrap_or_default();
    if !decide::within_grace(attempt.first_sent_at, grace, now) {
        return Some(0);
    }
    let spent = now.since(attempt.first_sent_at) + decide::GRACE_MARGIN;
    let left = grace.saturating_sub(spent);
    let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    Some(broker.ports.clock.boot_millis().saturating_add(left))
}

pub(crate) fn free(grant: &GrantRow, rule: &RefreshRule) -> Option<Free> {
    if grant.flow == Flow::ClientCredentials {
        return Some(Free::NothingSpent);
    }
    rule.keeps().filter(|_| !grant.facts.rotated).map(Free::Keeps)
}

fn build(
    broker: &Broker,
    fuel: &Fuel,
    token: Option<&indicia_oauth::RefreshToken>,
) -> Result<indicia_oauth::Request, String> {
    let proven =
        broker.client_proof(&fuel.bound, &fuel.secret).map_err(|error| error.to_string())?;
    let credentials = proven.credentials();
    let request = match token {
        Some(token) => refresh_grant::request(&fuel.endpoint, &credentials, token),
        None => {
            let scopes = &fuel.bound.service.scopes;
            client_credentials::request(
                &fuel.endpoint,
                &credentials,
                &fuel.asked,
                &scopes.separator,
            )
        }
    };
    request.map_err(|e| e.to_string())
}
