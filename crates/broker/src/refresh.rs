//! A refresh, step by step: lease, second look, open spend, intent, request, journal, verdict,
//! commit. Reads like the list in ARCHITECTURE.md; all cleverness is in the pure files.
//!
//! Must never: send a refresh token against [`crate::decide`]'s table, or while another send of it
//! may be in flight.

use std::sync::Arc;
use std::time::Duration;

use indicia_catalog::{Flow, GrantType, RefreshRule};
use indicia_oauth::grant::{client_credentials, refresh as refresh_grant};
use indicia_oauth::{Credentials, TokenEndpoint, TokenSet};

use crate::Broker;
use crate::call::Bound;
use crate::client_gate::{ChosenSecret, Gate};
use crate::commit::{self, Claim, Committed, Flown, Free, Plan, Stored, Taken};
use crate::decide::{self, Attempt, Decision, Next};
use crate::error::Error;
use crate::flight::{Behind, End};
use crate::model::{
    Event, EventKind, GrantId, GrantRow, GrantState, Life, Reason, ReasonCode, RotationOwner,
};
use crate::outcome::Outcome;
use crate::ports::Settlement;
use crate::schedule;
use crate::token_facts;
use crate::view::TokenView;

/// How long somebody waits for another's refresh.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);

/// First and longest pause between looks at a row that another is refreshing.
const LOOK_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// Every so many looks the lease itself is asked for: its holder may have died.
const LOOKS_PER_CLAIM: u32 = 4;

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
        self.serve_end(&connection, end, None).await
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

enum Step {
    End(End),
    Again,
}

enum Lease {
    Ours(Box<Claim>),
    Moved(Box<GrantRow>),
}

fn busy() -> Error {
    Error::Unavailable {
        code: "refresh_busy",
        detail: "another process is refreshing this connection".into(),
        retry_after: Some(Duration::from_secs(2)),
        hint: "try again; `indicia explain` tells more".into(),
    }
}

/// Takes the lease, or waits for the commit or verdict of who has it.
async fn lease(broker: &Broker, id: &GrantId, seen: u64) -> Result<Lease, Error> {
    let started = tokio::time::Instant::now();
    let mut pause = LOOK_PAUSES.0;
    let mut looks = 0;
    let mut until = 0;
    #[cfg(feature = "mutants")]
    let before = broker.ports.store.grant(id).await?;
    loop {
        if looks % LOOKS_PER_CLAIM == 0 || broker.ports.clock.boot_millis() >= until {
            match Claim::take(broker, id).await? {
                #[cfg(feature = "mutants")]
                Taken::Claim(mut claim) if !broker.guards().recheck => {
                    if let Some(before) = before {
                        claim.look_away(before);
                    }
                    return Ok(Lease::Ours(claim));
                }
                Taken::Claim(claim) => return Ok(Lease::Ours(claim)),
                Taken::Busy { until_boot_ms } => until = until_boot_ms,
                Taken::Missing => return Err(gone(id)),
            }
        }
        if started.elapsed() > WAIT_MAX {
            return Err(busy());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_PAUSES.1);
        looks += 1;
        match broker.ports.store.grant(id).await? {
            Some(row) if row.version > seen && broker.guards().recheck => {
                return Ok(Lease::Moved(Box::new(row)));
            }
            Some(row) if row.lease.is_none() => until = 0,
            Some(_) => {}
            None => return Err(gone(id)),
        }
    }
}

fn gone(id: &GrantId) -> Error {
    Error::NotFound {
        what: "grant",
        id: id.to_string(),
        nearest: Vec::new(),
    }
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

/// What a send needs.
struct Fuel {
    bound: Bound,
    rule: RefreshRule,
    endpoint: TokenEndpoint,
    secret: ChosenSecret,
    /// Scopes, for client credentials.
    asked: Vec<String>,
}

enum Prepared {
    Ready(Box<Claim>, Box<Fuel>),
    Not(Box<Claim>),
    Stored(Step),
}

/// Everything that must hold before a spend.
async fn prepare(broker: &Arc<Broker>, claim: Box<Claim>, force: Force) -> Result<Prepared, Error> {
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
        Ok(Look::Not) => Ok(Prepared::Not(claim)),
        Ok(Look::NoWay) => no_way(broker, claim).await.map(Prepared::Stored),
        Err(error) => {
            claim.release(broker).await;
            Err(error)
        }
    }
}

fn open_spend(grant: &GrantRow) -> bool {
    grant
        .intent
        .as_ref()
        .is_some_and(|i| i.version == grant.version)
}

enum Look {
    /// May be sent.
    Send(Box<Fuel>),
    /// May not be sent, but a kept answer may be waiting.
    Kept(Box<Fuel>),
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
        return Ok(if good || grant.state.life == Life::Dead {
            Look::Not
        } else {
            Look::NoWay
        });
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
        return Ok(Look::Kept(Box::new(Fuel {
            bound,
            rule,
            endpoint,
            secret,
            asked,
        })));
    }
    let asked = grant.asked.clone();
    match broker
        .gate(&bound.client, bound.secret_input(), now)
        .await?
    {
        Gate::Closed(refused) => Err(closed(&bound, &refused, now)),
        Gate::Open(secret) if refused_before(broker, grant, &secret, &endpoint, force, &rule) => {
            Ok(Look::Kept(Box::new(Fuel {
                bound,
                rule,
                endpoint,
                secret,
                asked,
            })))
        }
        Gate::Open(secret) => Ok(Look::Send(Box::new(Fuel {
            bound,
            rule,
            endpoint,
            secret,
            asked,
        }))),
    }
}

/// Whether the row says "not yet". Force ends a back-off, but not the wait for a lost answer: that
/// one is the table's.
fn waits(
    grant: &GrantRow,
    rule: &RefreshRule,
    force: Force,
    now: indicia_oauth::Timestamp,
) -> bool {
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

fn closed(
    bound: &Bound,
    refused: &crate::model::ClientRefused,
    now: indicia_oauth::Timestamp,
) -> Error {
    Error::Unavailable {
        code: "client_refused",
        detail: format!(
            "{} refuses client {} ({}); no grant is to blame",
            bound.service.name, bound.client.id, refused.said
        ),
        retry_after: Some(refused.retry_at.since(now).max(Duration::from_secs(1))),
        hint: format!(
            "give it a valid secret: `indicia clients secrets {} add`",
            bound.client.id
        ),
    }
}

/// An answer that was kept and never stored is better than any request.
async fn recover_or(
    broker: &Arc<Broker>,
    claim: Box<Claim>,
    fuel: Box<Fuel>,
) -> Result<Prepared, Error> {
    let entries = broker
        .ports
        .journal
        .entries(Some(claim.grant().id.as_str()))
        .await;
    let version = claim.grant().version;
    let entry = entries
        .ok()
        .and_then(|all| all.into_iter().find(|e| e.version == version));
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
    let state = GrantState {
        life: Life::Dead,
        reason: Some(reason),
        ..grant.state.clone()
    };
    let event = grant_event(&grant, EventKind::GrantDied, now);
    let change = Settlement {
        state: state.clone(),
        next_at: None,
        clear_intent: true,
    };
    claim.settle(broker, change, vec![event]).await?;
    Ok(Step::End(End::Row(Arc::new(GrantRow { state, ..grant }))))
}

/// Sends, keeps, judges; again where the service forgives.
async fn spend(broker: &Arc<Broker>, mut claim: Box<Claim>, mut fuel: Fuel) -> Result<Step, Error> {
    let mut pause = AGAIN_PAUSE;
    loop {
        let free = free(claim.grant(), &fuel.rule);
        let spend = match claim.begin(broker, free).await {
            Ok(spend) => spend,
            Err((claim, error)) => {
                claim.release(broker).await;
                return Err(error);
            }
        };
        let attempt = spend.attempt(&fuel.endpoint.url, fuel.secret.n);
        let flow = fuel.bound.client.id.clone();
        let flown = spend.send(broker, |token| build(&fuel, token)).await;
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

fn free(grant: &GrantRow, rule: &RefreshRule) -> Option<Free> {
    if grant.flow == Flow::ClientCredentials {
        return Some(Free::NothingSpent);
    }
    rule.keeps()
        .filter(|_| !grant.facts.rotated)
        .map(Free::Keeps)
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

enum Concluded {
    Step(Step),
    Again(Box<Claim>, Box<Fuel>),
}

/// Stores what was granted; anything else is judged.
async fn conclude(
    broker: &Arc<Broker>,
    kept: commit::Kept,
    fuel: Fuel,
    attempt: Attempt,
    outcome: Outcome,
) -> Result<Concluded, Error> {
    let now = broker.ports.clock.now();
    let decision = decide::decide(kept.grant(), &attempt, &outcome, &fuel.rule, now);
    match outcome {
        Outcome::Granted(tokens) => store(broker, kept, &fuel, &attempt, decision, *tokens)
            .await
            .map(Concluded::Step),
        other => act(broker, kept.into_claim(), fuel, attempt, other, decision).await,
    }
}

async fn judge(
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
            .await?;
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
    };
    let settled = claim
        .settle(broker, change, events.into_iter().collect())
        .await;
    if another_secret {
        return Ok(Concluded::Step(Step::Again));
    }
    let row = match settled {
        // The lease or the version moved on: what is stored is the better truth.
        Ok(false) => broker.ports.store.grant(&grant.id).await?.unwrap_or(grant),
        Ok(true) | Err(_) => GrantRow {
            state: decision.state,
            ..grant
        },
    };
    let seen = attempt_version(&row, &attempt);
    Ok(Concluded::Step(Step::End(row_end(
        broker,
        Box::new(row),
        seen,
    ))))
}

/// The version that was spent from, as far as the row still tells: a newer one is to be served.
fn attempt_version(row: &GrantRow, attempt: &Attempt) -> u64 {
    let same = attempt.fingerprint.is_none() || row.facts.refresh == attempt.fingerprint;
    if same {
        row.version
    } else {
        row.version.saturating_sub(1)
    }
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
    let plan = plan(&grant, fuel, decision.state);
    let event = grant_event(&grant, EventKind::Refreshed, now);
    let seen = grant.version;
    let stored = kept.commit(broker, tokens, plan, vec![event]).await;
    let end = match stored {
        Stored::Committed(committed) => {
            broker
                .client_was_accepted(&fuel.bound.client, attempt.secret_n, now)
                .await
                .ok();
            End::Committed(Arc::from(committed), Behind::No)
        }
        Stored::Behind(committed, error) => {
            tracing::warn!(grant = %grant.id, %error, "an answer is kept, the store is behind");
            broker.store_later(&grant.id);
            End::Committed(Arc::from(committed), Behind::Yes)
        }
        Stored::Superseded(row) => row_end(broker, row, seen),
        Stored::Gone(tokens) => {
            broker
                .revoke_late(&grant, &fuel.bound, *tokens, now)
                .await?;
            End::Row(Arc::new(
                broker.ports.store.grant(&grant.id).await?.unwrap_or(grant),
            ))
        }
        Stored::Failed(error) => End::Failed(error.into()),
    };
    Ok(Step::End(end))
}

fn plan(grant: &GrantRow, fuel: &Fuel, state: GrantState) -> Plan {
    let before = grant.facts.clone();
    let rule = fuel.rule.clone();
    let id = grant.id.clone();
    Plan {
        state,
        next_at: Box::new(move |facts| {
            token_facts::next_at(Some(&before), facts, &rule, id.as_str())
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
        secret: ChosenSecret {
            n: claim.grant().state.secret_n.unwrap_or(0),
            secret: None,
        },
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
            Ok(if open {
                Kept::Unreadable(why)
            } else {
                Kept::Nothing
            })
        }
    }
}
