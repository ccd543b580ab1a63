//! Everything that must hold before a refresh token is sent: may anything be sent now, to whom, with
//! which secret; and is there a kept answer that is better than any request?

use std::sync::Arc;
use std::time::Duration;

use indicia_catalog::{Flow, GrantType, RefreshRule};
use indicia_oauth::{Timestamp, TokenEndpoint};

use crate::Broker;
use crate::call::Bound;
use crate::client_gate::{ChosenSecret, Gate};
use crate::commit::{self, Claim, Taken};
use crate::decide::Attempt;
use crate::error::Error;
use crate::flight::{Behind, End};
use crate::model::{
    ClientRefused, EventKind, GrantId, GrantRow, GrantState, Life, Reason, ReasonCode,
    RotationOwner,
};
use crate::outcome::Outcome;
use crate::ports::Settlement;
use crate::refresh::{Concluded, Force, Step, conclude, grant_event, judge};
use crate::schedule;

/// What a send needs.
pub(crate) struct Fuel {
    pub(crate) bound: Bound,
    pub(crate) rule: RefreshRule,
    pub(crate) endpoint: TokenEndpoint,
    pub(crate) secret: ChosenSecret,
    /// Scopes, for client credentials.
    pub(crate) asked: Vec<String>,
}

pub(crate) enum Prepared {
    Ready(Box<Claim>, Box<Fuel>),
    Not(Box<Claim>),
    Stored(Step),
}

/// Everything that must hold before a spend.
pub(crate) async fn prepare(
    broker: &Arc<Broker>,
    claim: Box<Claim>,
    force: Force,
) -> Result<Prepared, Error> {
    match look(broker, &claim, force).await {
        Ok(Look::Send(fuel)) => {
            if open_spend(claim.grant()) || force == Force::Yes {
                return recover_or(broker, claim, fuel).await;
            }
            Ok(Prepared::Ready(claim, fuel))
        }
        Ok(Look::Kept(fuel)) => recover_or(broker, claim, fuel).await.map(|p| match p {
            Prepared::Ready(claim, _) => Prepared::Not(claim),
            other => other,
        }),
        Ok(Look::Lost(fuel)) => match recover_or(broker, claim, fuel).await? {
            Prepared::Ready(claim, fuel) => lost(broker, claim, *fuel).await.map(Prepared::Stored),
            other => Ok(other),
        },
        Ok(Look::Not) => Ok(Prepared::Not(claim)),
        Ok(Look::NoWay) => no_way(broker, claim).await.map(Prepared::Stored),
        Err(error) => {
            claim.release(broker).await;
            Err(error)
        }
    }
}

fn open_spend(grant: &GrantRow) -> bool {
    grant.intent.as_ref().is_some_and(|i| i.version == grant.version)
}

enum Look {
    /// May be sent.
    Send(Box<Fuel>),
    /// May not be sent, but a kept answer may be waiting.
    Kept(Box<Fuel>),
    /// A spend is open whose answer nobody waits for any more: as ambiguous as a lost answer.
    Lost(Box<Fuel>),
    /// May not be sent.
    Not,
    /// There is nothing to send.
    NoWay,
}

/// Looks at the row under the lease: may anything be sent now?
async fn look(broker: &Broker, claim: &Claim, force: Force) -> Result<Look, Error> {
    let grant = claim.grant();
    let now = broker.ports.clock.now();
    if grant.state.life == Life::Revoked || grant.rotation_owner == RotationOwner::Other {
        return Ok(Look::Not);
    }
    if grant.flow != Flow::ClientCredentials && grant.facts.refresh.is_none() {
        let good = schedule::good_for(&grant.facts, Duration::ZERO, now);
        return Ok(if good || grant.state.life == Life::Dead { Look::Not } else { Look::NoWay });
    }
    let client = broker.client_row(&grant.client).await?;
    let bound = broker.bind(client, &grant.inputs)?;
    let kind = match grant.flow {
        Flow::ClientCredentials => GrantType::ClientCredentials,
        _ => GrantType::RefreshToken,
    };
    let endpoint = bound.token_endpoint(kind)?;
    let rule = bound.refresh_rule();
    if waits(grant, &rule, force, now) {
        let secret = ChosenSecret { n: 0, secret: None };
        let asked = Vec::new();
        let noted = grant.state.ambiguous_at.is_some() || !open_spend(grant);
        let fuel = Box::new(Fuel { bound, rule, endpoint, secret, asked });
        return Ok(if noted { Look::Kept(fuel) } else { Look::Lost(fuel) });
    }
    let asked = grant.asked.clone();
    match broker.gate(&bound.client, bound.secret_input(), now).await? {
        Gate::Closed(refused) => Err(closed(&bound, &refused, now)),
        Gate::Open(secret) if refused_before(broker, grant, &secret, &endpoint, force, &rule) => {
            Ok(Look::Kept(Box::new(Fuel { bound, rule, endpoint, secret, asked })))
        }
        Gate::Open(secret) => {
            Ok(Look::Send(Box::new(Fuel { bound, rule, endpoint, secret, asked })))
        }
    }
}

/// Whether the row says "not yet". Force ends a back-off, but not the wait for a lost answer: that
/// one is the table's.
fn waits(grant: &GrantRow, rule: &RefreshRule, force: Force, now: Timestamp) -> bool {
    let not_yet = grant.state.retry_at.is_some_and(|at| now < at);
    if grant.state.ambiguous_at.is_some() {
        return not_yet;
    }
    if open_spend(grant) && !grant.facts.rejected {
        // Its holder died between the intent and the answer: as ambiguous as a lost answer.
        let forgiven = grant
            .intent
            .as_ref()
            .zip(rule.reuse_grace)
            .is_some_and(|(i, grace)| now.since(i.at) + Duration::from_secs(1) < grace);
        let need = schedule::effective_min_valid(&grant.facts, None);
        return !forgiven && schedule::good_for(&grant.facts, need, now);
    }
    not_yet && force == Force::No
}

/// Whether this very credential was refused by this endpoint for this secret.
fn refused_before(
    broker: &Broker,
    grant: &GrantRow,
    secret: &ChosenSecret,
    endpoint: &TokenEndpoint,
    force: Force,
    rule: &RefreshRule,
) -> bool {
    if force == Force::Yes || !broker.guards().refused_fingerprint {
        return false;
    }
    let keeps = !grant.facts.rotated && rule.keeps().is_some();
    let allowed = if keeps { 2 } else { 1 };
    match &grant.state.refused {
        Some(r) => {
            Some(r.fingerprint) == grant.facts.refresh
                && r.secret_n == secret.n
                && r.endpoint == endpoint.url
                && r.times >= allowed
        }
        // Dead without such a record: nothing that we could send would change it.
        None => grant.state.life == Life::Dead,
    }
}

fn closed(bound: &Bound, refused: &ClientRefused, now: Timestamp) -> Error {
    Error::Unavailable {
        code: "client_refused",
        detail: format!(
            "{} refuses client {} ({}); no grant is to blame",
            bound.service.name, bound.client.id, refused.said
        ),
        retry_after: Some(refused.retry_at.since(now).max(Duration::from_secs(1))),
        hint: format!("give it a valid secret: `indicia clients secrets {} add`", bound.client.id),
    }
}

/// An answer that was kept and never stored is better than any request.
async fn recover_or(
    broker: &Arc<Broker>,
    claim: Box<Claim>,
    fuel: Box<Fuel>,
) -> Result<Prepared, Error> {
    let entries = broker.ports.journal.entries(Some(claim.grant().id.as_str())).await;
    let version = claim.grant().version;
    let entry = entries.ok().and_then(|all| all.into_iter().find(|e| e.version == version));
    let Some(entry) = entry else {
        return Ok(Prepared::Ready(claim, fuel));
    };
    match commit::Kept::from_journal(broker, claim, &entry) {
        Ok(kept) => match kept.outcome(&fuel.bound.service.dialect) {
            Outcome::Granted(tokens) => {
                let attempt = Attempt {
                    first_sent_at: entry.sent_at,
                    sends: 1,
                    secret_n: fuel.secret.n,
                    endpoint: fuel.endpoint.url.clone(),
                    fingerprint: Some(entry.fingerprint),
                };
                let granted = Outcome::Granted(tokens);
                let step = conclude(broker, kept, *fuel, attempt, granted).await?;
                Ok(match step {
                    Concluded::Step(step) => Prepared::Stored(step),
                    Concluded::Again(claim, fuel) => Prepared::Ready(claim, fuel),
                })
            }
            _ => Ok(Prepared::Ready(kept.into_claim(), fuel)),
        },
        Err((claim, _)) => Ok(Prepared::Ready(claim, fuel)),
    }
}

/// Writes down that an answer was lost with the process that waited for it. Sends nothing.
async fn lost(broker: &Arc<Broker>, claim: Box<Claim>, fuel: Fuel) -> Result<Step, Error> {
    let grant = claim.grant();
    let now = broker.ports.clock.now();
    let intent = grant.intent.as_ref();
    let attempt = Attempt {
        first_sent_at: intent.map_or(now, |i| i.at),
        sends: intent.map_or(1, |i| i.sends),
        secret_n: fuel.secret.n,
        endpoint: fuel.endpoint.url.clone(),
        fingerprint: intent.map(|i| i.fingerprint),
    };
    let why = "whoever sent it ended before its answer was kept";
    match judge(broker, claim, fuel, attempt, Outcome::lost(why)).await? {
        Concluded::Step(step) => Ok(step),
        Concluded::Again(claim, _) => {
            let row = claim.release(broker).await;
            Ok(Step::End(End::Row(Arc::new(row))))
        }
    }
}

/// No refresh token, and the access token has ended or was refused: only the owner can renew it.
async fn no_way(broker: &Arc<Broker>, claim: Box<Claim>) -> Result<Step, Error> {
    let now = broker.ports.clock.now();
    let grant = claim.grant().clone();
    let reason = Reason {
        code: ReasonCode::NoRefreshToken,
        detail: "the access token has ended or was refused, and there is no refresh token".into(),
        since: now,
        next_step: format!("connect again: `indicia connect {} --id ID`", grant.client),
        cause: None,
    };
    let state = GrantState { life: Life::Dead, reason: Some(reason), ..grant.state.clone() };
    let event = grant_event(&grant, EventKind::GrantDied, now);
    let change = Settlement { state: state.clone(), next_at: None, clear_intent: true };
    claim.settle(broker, change, vec![event]).await?;
    Ok(Step::End(End::Row(Arc::new(GrantRow { state, ..grant }))))
}

/// What reading a kept answer again gave.
pub(crate) enum Kept {
    /// It is stored now.
    Stored,
    /// There was nothing better than what is stored.
    Nothing,
    /// It can't be read; why.
    Unreadable(String),
}

/// Reads the kept answer of a grant again, and stores it if it is better than what is stored. Sends
/// nothing.
pub(crate) async fn recover_kept(broker: &Arc<Broker>, id: &GrantId) -> Result<Kept, Error> {
    let claim = match Claim::take(broker, id).await? {
        Taken::Claim(claim) => claim,
        Taken::Busy { .. } | Taken::Missing => return Ok(Kept::Nothing),
    };
    let client = broker.client_row(&claim.grant().client).await?;
    let bound = broker.bind(client, &claim.grant().inputs)?;
    let fuel = Fuel {
        endpoint: bound.token_endpoint(GrantType::RefreshToken)?,
        rule: bound.refresh_rule(),
        secret: ChosenSecret { n: claim.grant().state.secret_n.unwrap_or(0), secret: None },
        asked: Vec::new(),
        bound,
    };
    match recover_or(broker, claim, Box::new(fuel)).await? {
        Prepared::Stored(Step::End(End::Committed(_, Behind::No))) => Ok(Kept::Stored),
        Prepared::Stored(Step::End(End::Failed(error))) => Err(error),
        Prepared::Stored(_) => Ok(Kept::Nothing),
        Prepared::Ready(claim, _) | Prepared::Not(claim) => {
            let open = open_spend(claim.grant());
            claim.release(broker).await;
            let why = "its kept answer has no token that we can use".to_owned();
            Ok(if open { Kept::Unreadable(why) } else { Kept::Nothing })
        }
    }
}
