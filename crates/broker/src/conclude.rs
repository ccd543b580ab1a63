//! How a refresh is concluded: what was granted is stored; anything else is judged, and what it
//! leaves behind is written down.

use std::sync::Arc;

use indicia_oauth::TokenSet;

use crate::Broker;
use crate::commit::{self, Claim};
use crate::committed::{Committed, Plan, Stored};
use crate::decide::{self, Attempt, Decision, Next};
use crate::end::{Behind, End, Step};
use crate::error::Error;
use crate::fuel::Fuel;
use crate::lease::gone;
use crate::many_refused::Believed;
use crate::model::{EventKind, GrantRow, GrantState, Life, grant_event};
use crate::outcome::Outcome;
use crate::ports::Settlement;
use crate::revoke::Whose;
use crate::standing::standing_reason;
use crate::token_facts;

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
    mut decision: Decision,
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
    let mut believed = None;
    // mark: many-refused-not-believed
    if let Outcome::GrantRefused(evidence) = &outcome
        && broker.guards().many_refused
        && decision.state.life == Life::Dead
        && grant.state.life != Life::Dead
        && let Some(cause) = decision.state.reason.as_ref().and_then(|reason| reason.cause)
    {
        let whose = (&grant.client, &grant.id);
        let said = broker.grant_was_refused(whose, cause, &evidence.text, now).await?;
        if let Believed::No { retry_at } = said {
            decision = decide::not_believed(&grant, evidence, retry_at, now);
        }
        believed = Some(said);
    }
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
    match believed {
        None | Some(Believed::Yes) => {}
        Some(Believed::Counted) => {
            broker.take_up_again(&grant.client, Some(&grant.id), now).await;
        }
        Some(Believed::No { .. }) => broker.take_up_again(&grant.client, None, now).await,
    }
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
    let (seen, sent_at) = (grant.version, kept.sent_at());
    let end = match kept.commit(broker, tokens, &plan, vec![event]).await {
        Stored::Committed(committed) => {
            if fuel.proves_client() {
                let client = &fuel.bound.client;
                broker.client_was_accepted(client, attempt.secret_n, now).await.ok();
                broker.grant_was_granted(client, sent_at, now).await.ok();
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
            broker.revoke_late(&Whose::of(&grant), &fuel.bound, *tokens, now).await?;
            let _ = broker.ports.journal.committed(grant.id.as_str(), seen, now).await;
            End::Row(Arc::new(broker.ports.store.grant(&grant.id).await?.unwrap_or(grant)))
        }
        Stored::Forgotten(tokens) => {
            broker.revoke_if_taken_back(&grant, &fuel.bound, *tokens, now).await?;
            let _ = broker.ports.journal.committed(grant.id.as_str(), seen, now).await;
            End::Failed(gone(&grant.id))
        }
        // A refresh comes from no flow.
        Stored::FlowEnded | Stored::FlowRevoked => End::Failed(gone(&grant.id)),
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
        flow: None,
    }
}

/// A row that is newer than what was found wanting is served; any other is judged by the reader.
pub(crate) fn row_end(broker: &Broker, row: Box<GrantRow>, seen: u64) -> End {
    if row.version > seen && row.state.life == Life::Alive {
        match Committed::load(&broker.vault, *row) {
            Ok(committed) => End::Committed(Arc::new(committed), Behind::No),
            Err(error) => End::Failed(error.into()),
        }
    } else {
        End::Row(Arc::new(*row))
    }
}
