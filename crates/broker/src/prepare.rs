//! Everything that must hold before a refresh token is sent: may anything be sent now, to whom,
//! with which secret; and is there a kept answer that is better than any request?

use std::sync::Arc;
use std::time::Duration;

use indicia_catalog::{Flow, GrantType, RefreshRule};
use indicia_oauth::{Expiry, Timestamp, TokenEndpoint};

use crate::Broker;
use crate::call::Bound;
use crate::client_gate::{ChosenSecret, Gate, next_secret};
use crate::commit::{self, Claim, Taken};
use crate::committed::open_tokens;
use crate::conclude::{Concluded, conclude, judge};
use crate::decide::{self, Attempt};
use crate::end::{Behind, End};
use crate::end::{Force, Step};
use crate::error::Error;
use crate::fuel::Fuel;
use crate::many_refused::{GrantsGate, held_error};
use crate::model::{
    ClientRefused, EventKind, GrantId, GrantRow, GrantState, Life, Reason, ReasonCode,
    RotationOwner, grant_event,
};
use crate::outcome::Outcome;
use crate::ports::{JournalEntry, JournalError, Settlement};
use crate::probe::Probed;
use crate::refresh::free;
use crate::schedule;

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
            let grant = claim.grant();
            let free = free(grant, &fuel.rule).is_some();
            let unusual = force == Force::Yes || grant.state.life != Life::Alive;
            // mark: a-copy-looks-into-the-journal
            let old = unusual || broker.is_doubtful(grant);
            if open_spend(grant) || (old && !free) {
                return recover_or(broker, claim, fuel, MustRead::Yes).await;
            }
            Ok(Prepared::Ready(claim, fuel))
        }
        Ok(Look::Kept(fuel)) => match recover_or(broker, claim, fuel, MustRead::No).await? {
            Prepared::Ready(claim, _) => Ok(Prepared::Not(claim)),
            other => Ok(other),
        },
        Ok(Look::Refused(fuel)) => match recover_or(broker, claim, fuel, MustRead::No).await? {
            Prepared::Ready(claim, _) => {
                let row = not_due(broker, claim).await;
                Ok(Prepared::Stored(Step::End(End::Row(Arc::new(row)))))
            }
            other => Ok(other),
        },
        Ok(Look::Doubtful(fuel)) => match recover_or(broker, claim, fuel, MustRead::No).await? {
            Prepared::Ready(claim, _) => {
                let end = schedule::served_until(&claim.grant().facts);
                let row = due_at(broker, claim, end).await;
                Ok(Prepared::Stored(Step::End(End::Row(Arc::new(row)))))
            }
            other => Ok(other),
        },
        Ok(Look::Lost(fuel)) => match recover_or(broker, claim, fuel, MustRead::Yes).await? {
            Prepared::Ready(claim, fuel) => lost(broker, claim, *fuel).await.map(Prepared::Stored),
            other => Ok(other),
        },
        Ok(Look::Not) => {
            let row = not_due(broker, claim).await;
            Ok(Prepared::Stored(Step::End(End::Row(Arc::new(row)))))
        }
        Ok(Look::EndsSoon(end)) => {
            let row = tell_of_end(broker, claim, end).await;
            Ok(Prepared::Stored(Step::End(End::Row(Arc::new(row)))))
        }
        Ok(Look::NoWay) => no_way(broker, claim).await.map(Prepared::Stored),
        Err(error) => {
            postpone(broker, claim, &error).await;
            Err(error)
        }
    }
}

/// Nothing will change by itself: it isn't due until something else moves it.
async fn not_due(broker: &Broker, claim: Box<Claim>) -> GrantRow {
    due_at(broker, claim, None).await
}

/// Nothing will change by itself before that.
async fn due_at(broker: &Broker, claim: Box<Claim>, next_at: Option<Timestamp>) -> GrantRow {
    if claim.grant().next_at == next_at {
        return claim.release(broker).await;
    }
    let row = GrantRow { next_at, ..claim.grant().clone() };
    let change = Settlement {
        state: row.state.clone(),
        next_at,
        clear_intent: false,
        clear_rejected: false,
    };
    // A failure only means that it is looked at once more.
    let _ = claim.settle(broker, change, Vec::new()).await;
    row
}

/// Writes down that the token ends soon, and looks again when it has.
async fn tell_of_end(broker: &Broker, claim: Box<Claim>, end: Timestamp) -> GrantRow {
    let grant = claim.grant();
    if grant.state.reason.is_some() && grant.next_at == Some(end) {
        return claim.release(broker).await;
    }
    let now = broker.ports.clock.now();
    let reason = grant.state.reason.clone().unwrap_or_else(|| Reason {
        code: ReasonCode::EndsSoon,
        detail: "the access token ends soon, and there is no refresh token".into(),
        since: now,
        next_step: format!("connect again before: `indicia connect {} --id ID`", grant.client),
        cause: None,
    });
    let state = GrantState { reason: Some(reason), ..grant.state.clone() };
    let row = GrantRow { state: state.clone(), next_at: Some(end), ..grant.clone() };
    let event = grant_event(grant, EventKind::Attention, now);
    let change =
        Settlement { state, next_at: Some(end), clear_intent: false, clear_rejected: false };
    // A failure only means that it is looked at once more.
    let _ = claim.settle(broker, change, vec![event]).await;
    // It is served with a warning from now on.
    broker.cache.touch(&row.id);
    row
}

/// What is in the way isn't the grant's: it is looked at again later, so that others get their
/// turn.
async fn postpone(broker: &Broker, claim: Box<Claim>, error: &Error) {
    let now = broker.ports.clock.now();
    let pause = match error {
        Error::Unavailable { retry_after: Some(pause), .. } => *pause,
        _ => IN_THE_WAY_PAUSE,
    };
    let row = claim.grant();
    let change = Settlement {
        state: row.state.clone(),
        next_at: row.next_at.map(|at| at.max(now.plus(pause))),
        clear_intent: false,
        clear_rejected: false,
    };
    let _ = claim.settle(broker, change, Vec::new()).await;
}

/// Pause after something that only a person can mend: a service file that is gone, a damaged
/// secret.
const IN_THE_WAY_PAUSE: Duration = Duration::from_secs(300);

fn open_spend(grant: &GrantRow) -> bool {
    grant.intent.as_ref().is_some_and(|i| i.version == grant.version)
}

enum Look {
    /// May be sent.
    Send(Box<Fuel>),
    /// May not be sent yet, but a kept answer may be waiting.
    Kept(Box<Fuel>),
    /// May not be sent again at all, but a kept answer may be waiting.
    Refused(Box<Fuel>),
    /// The original of this store may have spent it: as ambiguous as a lost answer, so nothing is
    /// sent while the token is good, but a kept answer may be waiting.
    Doubtful(Box<Fuel>),
    /// A spend is open whose answer nobody waits for any more: as ambiguous as a lost answer.
    Lost(Box<Fuel>),
    /// Nothing can be sent, and the token ends soon.
    EndsSoon(Timestamp),
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
    let client = broker.client_row(&grant.client).await?;
    let bound = broker.bind(client, &grant.inputs)?;
    let kind = match grant.flow {
        Flow::ClientCredentials => GrantType::ClientCredentials,
        _ => GrantType::RefreshToken,
    };
    let rule = bound.refresh_rule();
    let sendable = grant.facts.refresh.is_some() && rule.supported;
    if grant.flow != Flow::ClientCredentials && !sendable {
        let good = schedule::good_for(&grant.facts, Duration::ZERO, now);
        let waits = schedule::still_waits(&grant.state, now) && force != Force::Yes;
        let over = grant.state.life == Life::Dead && force != Force::Yes;
        if let (Some(told_at), Expiry::At(end)) =
            (schedule::ends_soon_at(&grant.facts), grant.facts.expiry)
            && good
            && told_at <= now
        {
            return Ok(Look::EndsSoon(end));
        }
        return Ok(if good || waits || over { Look::Not } else { Look::NoWay });
    }
    let endpoint = bound.token_endpoint(kind)?;
    if waits(grant, &rule, force, now, broker.ports.clock.boot_millis()) {
        let secret = ChosenSecret::unopened(0);
        let asked = Vec::new();
        let noted = noted(grant) || !open_spend(grant);
        let fuel = Box::new(Fuel { bound, rule, endpoint, secret, asked });
        return Ok(if noted { Look::Kept(fuel) } else { Look::Lost(fuel) });
    }
    // mark: a-copy-spends-nothing-early
    if broker.is_doubtful(grant) && !open_spend(grant) && free(grant, &rule).is_none() {
        let need = schedule::effective_min_valid(&grant.facts, None);
        if schedule::good_for(&grant.facts, need, now) {
            let (secret, asked) = (ChosenSecret::unopened(0), Vec::new());
            return Ok(Look::Doubtful(Box::new(Fuel { bound, rule, endpoint, secret, asked })));
        }
    }
    let asked = grant.asked.clone();
    // Before the gate: who won't send anything must not take the canary's place.
    let n = next_secret(&bound.client, bound.secret_input());
    if refused_before(broker, grant, n, &endpoint, force, &rule) {
        let secret = ChosenSecret::unopened(n);
        return Ok(Look::Refused(Box::new(Fuel { bound, rule, endpoint, secret, asked })));
    }
    let gate = match kind {
        GrantType::RefreshToken => broker.grants_gate(&bound.client, now).await?,
        _ => GrantsGate::Open,
    };
    // mark: both-gates
    let canary = match gate {
        GrantsGate::Open => None,
        GrantsGate::Canary(row) => Some(row),
        GrantsGate::Held(held) => return Err(held_error(&bound, &held, now)),
    };
    let client = canary.as_deref().unwrap_or(&bound.client);
    match broker.gate(client, bound.secret_input(), now).await? {
        Gate::Closed(refused) => Err(closed(&bound, &refused, now)),
        Gate::Open(secret) => {
            Ok(Look::Send(Box::new(Fuel { bound, rule, endpoint, secret, asked })))
        }
    }
}

/// Whether the row says "not yet". Force ends a back-off, but not the wait for a lost answer (that
/// one is the table's) nor the pause before a refusal is confirmed.
fn waits(grant: &GrantRow, rule: &RefreshRule, force: Force, now: Timestamp, boot_ms: u64) -> bool {
    let not_yet = schedule::still_waits(&grant.state, now);
    if grant.state.resent_boot_ms.is_some_and(|at| decide::flies(at, decide::FLYING, boot_ms)) {
        return true;
    }
    if let Some(lost) = grant.state.ambiguity.as_ref().filter(|_| noted(grant)) {
        return not_yet || decide::flies(lost.noted_boot_ms, decide::FLYING, boot_ms);
    }
    if let Some(intent) = grant.intent.as_ref().filter(|_| open_spend(grant)) {
        // Its holder died between the intent and the answer: as ambiguous as a lost answer.
        let forgiven =
            rule.reuse_grace.is_some_and(|grace| decide::within_grace(intent.at, grace, now));
        let need = schedule::effective_min_valid(&grant.facts, None);
        let good = schedule::good_for(&grant.facts, need, now);
        return !forgiven && (good || decide::flies(intent.begun_boot_ms, UNNOTED_FLYING, boot_ms));
    }
    let unconfirmed =
        grant.state.reason.as_ref().is_some_and(|r| r.code == ReasonCode::RefusalUnconfirmed);
    let minted = schedule::minted_lately(&grant.facts, rule, now);
    (not_yet && (force != Force::Yes || unconfirmed)) || (minted && force != Force::Yes)
}

/// Whether the latest send is noted as lost.
fn noted(grant: &GrantRow) -> bool {
    let sends = grant.intent.as_ref().filter(|_| open_spend(grant)).map_or(0, |i| i.sends);
    grant.state.ambiguity.as_ref().is_some_and(|lost| sends <= lost.sends)
}

/// How long a request of which nobody told what became of it may be on its way after it was begun:
/// it is written while its lease holds.
const UNNOTED_FLYING: Duration = commit::LEASE.saturating_add(decide::FLYING);

/// Whether this very credential was refused by this endpoint for this secret.
// mark: refused-not-sent-again
fn refused_before(
    broker: &Broker,
    grant: &GrantRow,
    secret_n: u32,
    endpoint: &TokenEndpoint,
    force: Force,
    rule: &RefreshRule,
) -> bool {
    if force == Force::Yes || !broker.guards().refused_fingerprint {
        return false;
    }
    let keeps = !grant.facts.rotated && rule.keeps().is_some();
    let allowed = if keeps { 2 } else { 1 };
    let refusals = &grant.state.refusals;
    if refusals.is_empty() {
        // Dead without such a record: nothing that we could send would change it.
        return grant.state.life == Life::Dead;
    }
    refusals.iter().any(|r| {
        Some(r.fingerprint) == grant.facts.refresh
            && r.secret_n == secret_n
            && r.endpoint == endpoint.url
            && r.times >= allowed
    })
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

/// An answer that was kept and never stored is better than any request: the latest first, of this
/// spend, or of a later one where the store forgot what the journal knows.
async fn recover_or(
    broker: &Arc<Broker>,
    mut claim: Box<Claim>,
    mut fuel: Box<Fuel>,
    must_read: MustRead,
) -> Result<Prepared, Error> {
    let entries = broker.ports.journal.entries(Some(claim.grant().id.as_str())).await;
    let mut entries = match entries {
        Ok(entries) => entries,
        // A better answer may be in there: what can't be read is waited for.
        Err(error) if must_read == MustRead::Yes || open_spend(claim.grant()) => {
            claim.release(broker).await;
            return Err(journal_unreadable(&error));
        }
        Err(_) => Vec::new(),
    };
    entries.retain(|entry| is_better(entry, claim.grant()));
    entries.sort_by_key(|entry| (entry.version, entry.sent_at));
    let sends = claim.grant().intent.as_ref().filter(|_| open_spend(claim.grant()));
    let sends = sends.map_or(1, |intent| intent.sends);
    for entry in entries.into_iter().rev() {
        let kept = match commit::Kept::from_journal(broker, claim, &entry) {
            Ok(kept) => kept,
            Err((back, _)) => {
                claim = back;
                continue;
            }
        };
        let outcome = kept.outcome(&fuel.bound.service.dialect);
        if !matches!(outcome, Outcome::Granted(_)) {
            claim = kept.into_claim();
            continue;
        }
        let attempt = Attempt {
            first_sent_at: entry.sent_at,
            sends,
            boot_ms: broker.ports.clock.boot_millis(),
            secret_n: kept.grant().state.secret_n.unwrap_or(fuel.secret.n),
            endpoint: fuel.endpoint.url.clone(),
            fingerprint: Some(entry.fingerprint),
            doubtful: false,
        };
        fuel.secret.secret = None;
        return Ok(match conclude(broker, kept, *fuel, attempt, outcome).await? {
            Concluded::Step(step) => Prepared::Stored(step),
            Concluded::Again(claim, fuel) => Prepared::Ready(claim, fuel),
        });
    }
    Ok(Prepared::Ready(claim, fuel))
}

/// Whether something hangs on what the journal has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MustRead {
    Yes,
    No,
}

fn journal_unreadable(error: &JournalError) -> Error {
    Error::Store {
        code: "journal_unreadable",
        detail: format!("the journal can't be read, so nothing is sent again: {error}"),
        hint: "`indicia doctor` looks closer".into(),
    }
}

/// Whether a kept answer may be a better truth than the row: it was given for what the row holds,
/// or came after everything that the row knows.
fn is_better(entry: &JournalEntry, grant: &GrantRow) -> bool {
    let same = entry.version == grant.version && Some(entry.fingerprint) == grant.facts.refresh;
    same || (entry.version > grant.version && entry.sent_at > grant.facts.obtained_at)
}

/// Writes down that an answer was lost with the process that waited for it. Sends nothing.
async fn lost(broker: &Arc<Broker>, claim: Box<Claim>, fuel: Fuel) -> Result<Step, Error> {
    let grant = claim.grant();
    let now = broker.ports.clock.now();
    let intent = grant.intent.as_ref();
    let attempt = Attempt {
        first_sent_at: intent.map_or(now, |i| i.at),
        sends: intent.map_or(1, |i| i.sends),
        boot_ms: broker.ports.clock.boot_millis(),
        secret_n: fuel.secret.n,
        endpoint: fuel.endpoint.url.clone(),
        fingerprint: intent.map(|i| i.fingerprint),
        doubtful: false,
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

/// No refresh token, and the access token has ended or was refused. A refusal is doubted first: one
/// hiccup of an API must not end a grant that only its owner can renew.
async fn no_way(broker: &Arc<Broker>, claim: Box<Claim>) -> Result<Step, Error> {
    let now = broker.ports.clock.now();
    let grant = claim.grant().clone();
    let ended = matches!(grant.facts.expiry, Expiry::At(end) if end <= now);
    // mark: probed-before-given-up
    let probed = if ended { Probed::NoCall } else { probe(broker, &grant).await };
    let (state, events, clear_rejected, next_at) = match probed {
        Probed::Taken => (grant.state.clone(), Vec::new(), true, grant.next_at),
        Probed::Unknown(_) => {
            let failures = grant.state.failures.saturating_add(1);
            let at = now.plus(schedule::back_off(failures, None, grant.id.as_str()));
            let state = GrantState { failures, retry_at: Some(at), ..grant.state.clone() };
            (state, Vec::new(), false, Some(at))
        }
        // Without a call that could tell, what its caller said of it is believed.
        Probed::Refused(_) | Probed::NoCall => {
            let event = grant_event(&grant, EventKind::GrantDied, now);
            (no_refresh_token(&grant, now), vec![event], false, None)
        }
    };
    let change = Settlement { state: state.clone(), next_at, clear_intent: true, clear_rejected };
    claim.settle(broker, change, events).await?;
    let mut facts = grant.facts.clone();
    facts.rejected &= !clear_rejected;
    Ok(Step::End(End::Row(Arc::new(GrantRow { state, facts, next_at, ..grant }))))
}

fn no_refresh_token(grant: &GrantRow, now: Timestamp) -> GrantState {
    let reason = Reason {
        code: ReasonCode::NoRefreshToken,
        detail: "the access token has ended or was refused, and there is no refresh token".into(),
        since: now,
        next_step: format!("connect again: `indicia connect {} --id ID`", grant.client),
        cause: None,
    };
    GrantState { life: Life::Dead, reason: Some(reason), ..grant.state.clone() }
}

/// Asks the API.
async fn probe(broker: &Broker, grant: &GrantRow) -> Probed {
    let unknown = |error: Error| Probed::Unknown(error.to_string());
    let bound = match broker.client_row(&grant.client).await {
        Ok(client) => broker.bind(client, &grant.inputs),
        Err(error) => return unknown(error),
    };
    match (bound, open_tokens(&broker.vault, grant)) {
        (Ok(bound), Ok(tokens)) => broker.probe_with(&bound, tokens.access_token.expose()).await,
        (Err(error), _) => unknown(error),
        (_, Err(error)) => unknown(error.into()),
    }
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
    let fuel = match fuel_without_secret(broker, claim.grant()).await {
        Ok(fuel) => fuel,
        Err(error) => {
            claim.release(broker).await;
            return Err(error);
        }
    };
    match recover_or(broker, claim, Box::new(fuel), MustRead::Yes).await? {
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

async fn fuel_without_secret(broker: &Broker, grant: &GrantRow) -> Result<Fuel, Error> {
    let client = broker.client_row(&grant.client).await?;
    let bound = broker.bind(client, &grant.inputs)?;
    Ok(Fuel {
        endpoint: bound.token_endpoint(GrantType::RefreshToken)?,
        rule: bound.refresh_rule(),
        secret: ChosenSecret::unopened(grant.state.secret_n.unwrap_or(0)),
        asked: Vec::new(),
        bound,
    })
}
