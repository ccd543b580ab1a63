//! A refresh, step by step: lease, second look, open spend, intent, request, journal, verdict,
//! commit. Reads like the list in ARCHITECTURE.md; all cleverness is in the pure files.
//!
//! Must never: send a refresh token against [`crate::decide`]'s table, or while another send of it
//! may be in flight.

use std::sync::Arc;
use std::time::Duration;

use indicia_catalog::{Flow, RefreshRule};
use indicia_oauth::grant::{client_credentials, refresh as refresh_grant};
use indicia_oauth::{Credentials, TokenSet};

use crate::Broker;
use crate::commit::{self, Claim, Flown, Free};
use crate::committed::{Committed, Plan, Stored};
use crate::decide::{self, Attempt, Decision, Next};
use crate::error::Error;
use crate::flight::{Behind, End};
use crate::lease::{Lease, busy, gone, lease};
use crate::model::{Event, EventKind, GrantId, GrantRow, GrantState, Life};
use crate::outcome::Outcome;
use crate::ports::Settlement;
use crate::prepare::{Fuel, Prepared, prepare};
use crate::schedule;
use crate::standing::standing_reason;
use crate::token_facts;
use crate::view::TokenView;

/// How long somebody waits for another's refresh.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);

/// Rounds of one flight at most: another secret, a lost lease.
const ROUNDS_MAX: u32 = 6;

/// First pause between sends within a reuse grace.
const AGAIN_PAUSE: Duration = Duration::from_millis(200);

/// Whether a refresh is wished although nothing is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Only when the token needs it.
    No,
    /// Now; forgets refusals and back-off, but never what may not be sent again.
    Yes,
}

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
pub(crate) async fn fly(broker: &Arc<Broker>, id: &GrantId, seen: u64, force: Force) -> End {
    let mut rounds = 0;
    loop {
        rounds += 1;
        let step = match lease(broker, id, seen).await {
            Ok(Lease::Ours(claim)) => round(broker, claim, seen, force).await,
            Ok(Lease::Moved(row)) => Ok(Step::End(row_end(broker, row, seen))),
            Err(error) => Err(error),
        };
        match step {
            Ok(Step::End(end)) => return end,
            Ok(Step::Again) if rounds < ROUNDS_MAX => {}
            Ok(Step::Again) => return End::Failed(busy()),
            Err(error) => return End::Failed(error),
        }
    }
}

pub(crate) enum Step {
    End(End),
    Again,
}

/// A row that is newer than what was found wanting is served; any other is judged by the reader.
fn row_end(broker: &Broker, row: Box<GrantRow>, seen: u64) -> End {
    if row.version > seen && row.state.life == Life::Alive {
        match Committed::load(&broker.vault, *row) {
            Ok(committed) => End::Committed(Arc::new(committed), Behind::No),
            Err(error) => End::Failed(error.into()),
        }
    } else {
        End::Row(Arc::new(*row))
    }
}

/// One round under the lease.
async fn round(
    broker: &Arc<Broker>,
    claim: Box<Claim>,
    seen: u64,
    force: Force,
) -> Result<Step, Error> {
    if broker.guards().recheck && claim.grant().version > seen {
        let row = claim.release(broker).await;
        return Ok(Step::End(row_end(broker, Box::new(row), seen)));
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
        let attempt = spend.attempt(&fuel.endpoint.url, fuel.secret.n);
        let flow = fuel.bound.client.id.clone();
        let not_after = forgiven_until(broker, &attempt, &grant, &fuel.rule);
        let flown = spend.send(broker, not_after, |token| build(&fuel, token)).await;
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

/// While the access token is good, a second send is right only as long as the service forgives it: the
/// end of that, on the boot clock, for the last look before the write.
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
    let spent = now.since(attempt.first_sent_at) + decide::GRACE_MARGIN;
    let left = rule.reuse_grace.unwrap_or_default().saturating_sub(spent);
    let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    Some(broker.ports.clock.boot_millis().saturating_add(left))
}

fn free(grant: &GrantRow, rule: &RefreshRule) -> Option<Free> {
    if grant.flow == Flow::ClientCredentials {
        return Some(Free::NothingSpent);
    }
    rule.keeps().filter(|_| !grant.facts.rotated).map(Free::Keeps)
}

fn build(
    fuel: &Fuel,
    token: Option<&indicia_oauth::RefreshToken>,
) -> Result<indicia_oauth::Request, String> {
    let credentials = Credentials {
        client_id: &fuel.bound.client.client_id,
        secret: fuel.secret.secret.as_ref(),
    };
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

pub(crate) enum Concluded {
    Step(Step),
    Again(Box<Claim>, Box<Fuel>),
}

/// Stores what was granted; anything else is judged.
pub(crate) async fn conclude(
    broker: &Arc<Broker>,
    kept: commit::Kept,
    fuel: Fuel,
    attempt: Attempt,
    outcome: Outcome,
) -> Result<Concluded, Error> {
    let now = broker.ports.clock.now();
    let decision = decide::decide(kept.grant(), &attempt, &outcome, &fuel.rule, now);
    match outcome {
        Outcome::Granted(tokens) => {
            store(broker, kept, &fuel, &attempt, decision, *tokens).await.map(Concluded::Step)
        }
        other => act(broker, kept.into_claim(), fuel, attempt, other, decision).await,
    }
}

pub(crate) async fn judge(
    broker: &Arc<Broker>,
    claim: Box<Claim>,
    fuel: Fuel,
    attempt: Attempt,
    outcome: Outcome,
) -> Result<Concluded, Error> {
    let now = broker.ports.clock.now();
    let decision = decide::decide(claim.grant(), &attempt, &outcome, &fuel.rule, now);
    act(broker, claim, fuel, attempt, outcome, decision).await
}

/// Acts on a decision about anything but a token set.
async fn act(
    broker: &Arc<Broker>,
    mut claim: Box<Claim>,
    fuel: Fuel,
    attempt: Attempt,
    outcome: Outcome,
    decision: Decision,
) -> Result<Concluded, Error> {
    let now = broker.ports.clock.now();
    if decision.next == Next::SendAgain {
        claim.set_state(decision.state);
        return Ok(Concluded::Again(claim, Box::new(fuel)));
    }
    let mut another_secret = false;
    if let Outcome::ClientRefused(evidence) = &outcome {
        let input = fuel.bound.secret_input();
        another_secret = broker
            .client_was_refused(&fuel.bound.client, input, attempt.secret_n, evidence, now)
            .await
            // The verdict on this spend is worth more than the note about the client.
            .unwrap_or(false);
    }
    if matches!(outcome, Outcome::GrantRefused(_)) && fuel.proves_client() {
        broker.client_was_accepted(&fuel.bound.client, attempt.secret_n, now).await.ok();
    }
    let grant = claim.grant().clone();
    let events = decision.event.map(|kind| {
        let mut event = grant_event(&grant, kind, now);
        event.facts.insert("outcome".into(), outcome.name().into());
        event
    });
    let change = Settlement {
        state: decision.state.clone(),
        next_at: decision.next_at,
        clear_intent: decision.definite,
        clear_rejected: false,
    };
    let settled = claim.settle(broker, change, events.into_iter().collect()).await;
    if another_secret {
        return Ok(Concluded::Step(Step::Again));
    }
    let row = match settled {
        // The lease or the version moved on: what is stored is the better truth.
        Ok(false) => broker.ports.store.grant(&grant.id).await?.unwrap_or(grant),
        Ok(true) | Err(_) => GrantRow { state: decision.state, ..grant },
    };
    let seen = attempt_version(&row, &attempt);
    Ok(Concluded::Step(Step::End(row_end(broker, Box::new(row), seen))))
}

/// The version that was spent from, as far as the row still tells: a newer one is to be served.
fn attempt_version(row: &GrantRow, attempt: &Attempt) -> u64 {
    let same = attempt.fingerprint.is_none() || row.facts.refresh == attempt.fingerprint;
    if same { row.version } else { row.version.saturating_sub(1) }
}

async fn store(
    broker: &Arc<Broker>,
    kept: commit::Kept,
    fuel: &Fuel,
    attempt: &Attempt,
    decision: Decision,
    tokens: TokenSet,
) -> Result<Step, Error> {
    let now = broker.ports.clock.now();
    let grant = kept.grant().clone();
    let granted = tokens.scopes.as_ref().or(grant.facts.granted.as_ref());
    let account = grant.account.as_ref();
    let reason = standing_reason(&fuel.bound, &grant.asked, granted, account, now);
    let plan = plan(&grant, fuel, GrantState { reason, ..decision.state });
    let event = grant_event(&grant, EventKind::Refreshed, now);
    let seen = grant.version;
    let end = match kept.commit(broker, tokens, &plan, vec![event]).await {
        Stored::Committed(committed) => {
            if fuel.proves_client() {
                broker.client_was_accepted(&fuel.bound.client, attempt.secret_n, now).await.ok();
            }
            End::Committed(Arc::from(committed), Behind::No)
        }
        Stored::Behind(committed, error) => {
            tracing::warn!(grant = %grant.id, %error, "an answer is kept, the store is behind");
            broker.store_later(&grant.id);
            End::Committed(Arc::from(committed), Behind::Yes)
        }
        Stored::Superseded(row) => row_end(broker, row, seen),
        Stored::Revoked(tokens) => {
            broker.revoke_late(&grant, &fuel.bound, *tokens, now).await?;
            let _ = broker.ports.journal.committed(grant.id.as_str(), seen, now).await;
            End::Row(Arc::new(broker.ports.store.grant(&grant.id).await?.unwrap_or(grant)))
        }
        Stored::Forgotten => End::Failed(gone(&grant.id)),
        Stored::Failed(_, error) => End::Failed(error.into()),
    };
    Ok(Step::End(end))
}

fn plan(grant: &GrantRow, fuel: &Fuel, state: GrantState) -> Plan {
    let before = grant.facts.clone();
    let rule = fuel.rule.clone();
    let id = grant.id.clone();
    let flow = grant.flow;
    Plan {
        state,
        next_at: Box::new(move |facts| {
            token_facts::next_at(Some(&before), facts, &rule, flow, id.as_str())
        }),
        inputs: grant.inputs.clone(),
        account: grant.account.clone(),
        asked: None,
    }
}

/// An event about a grant.
pub(crate) fn grant_event(
    grant: &GrantRow,
    kind: EventKind,
    at: indicia_oauth::Timestamp,
) -> Event {
    Event {
        kind,
        at,
        connection: None,
        client: Some(grant.client.clone()),
        grant: Some(grant.id.clone()),
        facts: std::collections::BTreeMap::from([("version".into(), grant.version.to_string())]),
    }
}
