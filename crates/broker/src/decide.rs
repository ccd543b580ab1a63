//! The heart as a table: what follows from an outcome. One `match`, no I/O.
//!
//! The rows are DESIGN §1.1 (what an outcome means) and §1.2 (what may be sent again after an
//! ambiguous spend). `explain` speaks from the values that are decided here.
#![warn(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use indicia_catalog::{RefreshRule, Rotation};
use indicia_oauth::Timestamp;

use crate::model::{
    Ambiguity, Cause, EventKind, GrantRow, GrantState, Life, REFUSALS_MAX, Reason, ReasonCode,
    RefusedSpend,
};
use crate::outcome::{Evidence, Outcome};
use crate::schedule;
use crate::vault::Fingerprint;

/// Pause before a refusal is asked for a second time, where the service keeps its refresh token: a
/// replica that lags has caught up by then.
pub const CONFIRM_PAUSE: Duration = Duration::from_secs(30);

/// Pause after an outcome that only a person can change (our request or the service file is wrong).
pub const WRONG_PAUSE: Duration = Duration::from_secs(15 * 60);

/// Stands for "not before the API refuses it", where a token has no end of its own: a hundred
/// years.
const NO_END_PAUSE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

const LOST: &str =
    "the answer to a refresh was lost; the service may have replaced the refresh token";
const LOST_NEXT: &str = "nothing now: it is tried again when the token has ended; `indicia connect` on \
                         the same id renews it at once";
const MANY_REFUSED: &str =
    "the service refused many grants of this client within minutes: it isn't believed";
const MANY_REFUSED_NEXT: &str = "nothing: one at a time is tried; if the application was removed on purpose, connect again: \
     `indicia connect CLIENT --id ID`";
const UNREADABLE: &str = "the answer to a refresh is kept, but can't be understood";
const WRONG_NEXT: &str = "`indicia doctor` and `indicia services show` look closer";

/// How long a request that nobody waits for any more may still be on its way, or in the service's
/// works: a second one that overtakes it would make the first one the reuse. Nothing is sent again
/// before, save where the service forgives it.
pub const FLYING: Duration = Duration::from_secs(10);

/// Kept free at the end of a reuse grace for the way to the service.
pub(crate) const GRACE_MARGIN: Duration = Duration::from_secs(1);

/// Sends of one spend within a reuse grace.
const GRACE_SENDS_MAX: u32 = 5;

/// What was sent, under which circumstances.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When the first of these sends went out (of an open spend: the first of all).
    pub first_sent_at: Timestamp,
    /// How often this credential was sent from this version.
    pub sends: u32,
    /// When its outcome was known, in milliseconds of [`crate::ports::Clock::boot_millis`].
    pub boot_ms: u64,
    /// With which client secret, by number; 0 for none.
    pub secret_n: u32,
    /// Where to.
    pub endpoint: String,
    /// What was spent; `None` where nothing is (client credentials).
    pub fingerprint: Option<Fingerprint>,
    /// It comes from before this store was taken over as a copy.
    pub doubtful: bool,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Store the token set.
    Commit,
    /// Send the same again at once: the service forgives it.
    SendAgain,
    /// Write down what the outcome left behind, and end.
    Settle,
}

/// What follows from an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub next: Next,
    /// The grant's new state.
    pub state: GrantState,
    /// When to look again.
    pub next_at: Option<Timestamp>,
    /// The spend is resolved: its intent can go.
    pub definite: bool,
    /// What to tell.
    pub event: Option<EventKind>,
}

/// Decides. `grant` is the row as read under the lease; `now` the time of the outcome.
pub fn decide(
    grant: &GrantRow,
    attempt: &Attempt,
    outcome: &Outcome,
    rule: &RefreshRule,
    now: Timestamp,
) -> Decision {
    let case = Case { grant, attempt, rotation: rotation(grant, rule, attempt), rule, now };
    match outcome {
        Outcome::Granted(_) => case.granted(),
        Outcome::Throttled(e) => {
            case.later(e, ReasonCode::Throttled, "the service asks us to wait")
        }
        Outcome::Unavailable(e) => {
            case.later(e, ReasonCode::ServiceUnavailable, "the service can't be reached")
        }
        Outcome::Ambiguous(e) => case.ambiguous(e),
        Outcome::GrantRefused(e) => case.grant_refused(e),
        Outcome::ClientRefused(e) => case.client_refused(e),
        Outcome::Misconfigured(e) => case.misconfigured(e),
        Outcome::Nonsense(e) => {
            case.later(e, ReasonCode::Nonsense, "the service answers with nothing we can read")
        }
    }
}

/// Whether what may fly for so long since then still may now, in milliseconds of the boot clock.
/// With a boot that clock begins anew, and so does the network.
pub fn flies(since_boot_ms: u64, so_long: Duration, boot_ms: u64) -> bool {
    let ago = boot_ms.checked_sub(since_boot_ms).map(Duration::from_millis);
    ago.is_some_and(|ago| ago < so_long)
}

/// Whether a spend first sent at `sent_at` is still forgiven. Not by a clock that was put back
/// since: then nobody knows how long ago that was.
pub fn within_grace(sent_at: Timestamp, grace: Duration, now: Timestamp) -> bool {
    sent_at <= now && now.since(sent_at) + GRACE_MARGIN < grace
}

/// How this grant's refresh token must be treated: as the catalogue has it verified, but a grant
/// that was ever given a different one rotates from then on. Where nothing is spent, nothing can be
/// lost.
pub fn rotation(grant: &GrantRow, rule: &RefreshRule, attempt: &Attempt) -> Rotation {
    if attempt.fingerprint.is_none() {
        return Rotation::Keeps;
    }
    if grant.facts.rotated { Rotation::Rotates } else { rule.effective_rotation() }
}

/// A refusal that isn't believed, since the service refuses everybody: the grant waits, and what
/// was refused may be sent again.
pub fn not_believed(
    grant: &GrantRow,
    evidence: &Evidence,
    retry_at: Timestamp,
    now: Timestamp,
) -> Decision {
    let mut state = may_come_back(grant, retry_at, now);
    if let Some(reason) = state.reason.as_mut().filter(|_| !evidence.text.is_empty()) {
        reason.detail = format!("{MANY_REFUSED} ({})", evidence.text);
    }
    let news = grant.state.reason.as_ref().map(|r| r.code) != Some(ReasonCode::ManyRefused);
    Decision {
        next: Next::Settle,
        state,
        next_at: Some(retry_at),
        definite: grant.state.ambiguity.is_none(),
        event: Some(EventKind::Attention).filter(|_| news),
    }
}

/// The state of a grant that was refused with everybody else's.
pub fn may_come_back(grant: &GrantRow, retry_at: Timestamp, now: Timestamp) -> GrantState {
    let mut refusals = grant.state.refusals.clone();
    refusals.retain(|refused| Some(refused.fingerprint) != grant.facts.refresh);
    let before = grant.state.reason.as_ref();
    // Refused again, its cause is the same.
    let lost = before.filter(|reason| reason.cause == Some(Cause::AnswerLost));
    let lost = lost.map(|reason| Ambiguity { since: reason.since, sends: 1, noted_boot_ms: 0 });
    let before = before.filter(|reason| reason.code == ReasonCode::ManyRefused);
    GrantState {
        life: Life::Alive,
        ambiguity: grant.state.ambiguity.clone().or(lost),
        reason: Some(Reason {
            code: ReasonCode::ManyRefused,
            detail: MANY_REFUSED.to_owned(),
            since: before.map_or(now, |reason| reason.since),
            next_step: MANY_REFUSED_NEXT.to_owned(),
            cause: None,
        }),
        refusals,
        retry_at: Some(retry_at),
        ..grant.state.clone()
    }
}

struct Case<'a> {
    grant: &'a GrantRow,
    attempt: &'a Attempt,
    rotation: Rotation,
    rule: &'a RefreshRule,
    now: Timestamp,
}

impl Case<'_> {
    fn granted(&self) -> Decision {
        // What a new token set doesn't cure is found anew when it is stored.
        let state = GrantState {
            secret_n: Some(self.attempt.secret_n),
            resent_boot_ms: self.open_before().then_some(self.attempt.boot_ms),
            ..GrantState::alive()
        };
        Decision {
            next: Next::Commit,
            state,
            next_at: None,
            definite: true,
            event: Some(EventKind::Refreshed),
        }
    }

    /// Whether an earlier send of this spend is still open: then a later refusal to look at it
    /// resolves nothing.
    fn open_before(&self) -> bool {
        self.grant.state.ambiguity.is_some() || self.attempt.sends > 1
    }

    /// Not processed, says the service (or the network): later.
    fn later(&self, evidence: &Evidence, code: ReasonCode, what: &str) -> Decision {
        if self.open_before() {
            return self.lost(evidence);
        }
        let reason = self.reason(code, what, evidence, "nothing: it is tried again by itself");
        self.wait(evidence.retry_after, reason)
    }

    fn ambiguous(&self, evidence: &Evidence) -> Decision {
        if self.rotation == Rotation::Keeps {
            let what = "no usable answer came";
            let next = "nothing: it is tried again by itself";
            let reason = self.reason(ReasonCode::ServiceUnavailable, what, evidence, next);
            return self.wait(evidence.retry_after, reason);
        }
        if self.forgiven() && !evidence.kept {
            return Decision { next: Next::SendAgain, ..self.lost(evidence) };
        }
        self.lost(evidence)
    }

    /// Whether the service still forgives a second send of the same refresh token.
    fn forgiven(&self) -> bool {
        self.attempt.sends < GRACE_SENDS_MAX
            && self
                .rule
                .reuse_grace
                .is_some_and(|grace| within_grace(self.attempt.first_sent_at, grace, self.now))
    }

    /// A spend whose answer is lost (or kept, but not understood): nothing is sent before the
    /// token's end; then it is sent again until the answer is definite. Had the service processed
    /// it, the grant was gone already.
    fn lost(&self, evidence: &Evidence) -> Decision {
        let serving = schedule::good_for(&self.grant.facts, Duration::ZERO, self.now);
        let end = schedule::served_until(&self.grant.facts);
        let failures = self.grant.state.failures.saturating_add(1);
        let pause = schedule::back_off(failures, evidence.retry_after, self.grant.id.as_str());
        let pause = pause.max(FLYING);
        let landed = self.now.plus(FLYING);
        let (retry_at, next_at) = match end {
            Some(end) if serving && end > self.now => (end.max(landed), Some(end.max(landed))),
            // Without an end, only the API's refusal can end the token: see `Store::reject`.
            None if serving => (self.now.plus(NO_END_PAUSE), None),
            Some(_) | None => (self.now.plus(pause), Some(self.now.plus(pause))),
        };
        let (code, what, next) = if evidence.kept {
            (ReasonCode::UnreadableAnswer, UNREADABLE, "`indicia recover`, once the file is right")
        } else {
            (ReasonCode::AnswerLost, LOST, LOST_NEXT)
        };
        let before = self.grant.state.ambiguity.as_ref();
        let ambiguity = Ambiguity {
            since: before.map_or(self.attempt.first_sent_at, |before| before.since),
            sends: self.attempt.sends,
            noted_boot_ms: self.attempt.boot_ms,
        };
        let reason = self.reason(code, what, evidence, next);
        let news = self.grant.state.reason.as_ref().map(|r| r.code) != Some(code);
        Decision {
            next: Next::Settle,
            state: GrantState {
                reason: Some(reason),
                failures,
                retry_at: Some(retry_at),
                ambiguity: Some(ambiguity),
                ..self.grant.state.clone()
            },
            next_at,
            definite: false,
            event: Some(EventKind::AnswerLost).filter(|_| news),
        }
    }

    fn grant_refused(&self, evidence: &Evidence) -> Decision {
        if self.attempt.fingerprint.is_none() {
            // Client credentials: there is no grant of anybody's to end.
            let what = "the service refuses what the client asks for";
            let reason = self.reason(ReasonCode::GrantRefused, what, evidence, WRONG_NEXT);
            return self.wait(Some(WRONG_PAUSE), reason);
        }
        let (refusals, times) = self.refusals();
        let state = GrantState { refusals, ambiguity: None, ..self.grant.state.clone() };
        if self.rotation == Rotation::Keeps && times == 1 {
            return self.unconfirmed(state, evidence);
        }
        let cause = self.cause();
        let mut reason = self.reason(
            ReasonCode::GrantRefused,
            cause_words(cause),
            evidence,
            &format!("connect again: `indicia connect {} --id ID`", self.grant.client),
        );
        reason.cause = Some(cause);
        Decision {
            next: Next::Settle,
            state: GrantState { life: Life::Dead, reason: Some(reason), retry_at: None, ..state },
            next_at: None,
            definite: true,
            event: Some(EventKind::GrantDied),
        }
    }

    /// Refused once where the refresh token is kept: a lagging replica can do that, and asking
    /// again harms nothing.
    fn unconfirmed(&self, state: GrantState, evidence: &Evidence) -> Decision {
        let retry_at = self.now.plus(CONFIRM_PAUSE);
        let reason = self.reason(
            ReasonCode::RefusalUnconfirmed,
            "the service refused the grant once; it is asked once more after a pause",
            evidence,
            "nothing: it is tried again by itself",
        );
        Decision {
            next: Next::Settle,
            state: GrantState { reason: Some(reason), retry_at: Some(retry_at), ..state },
            next_at: Some(retry_at),
            definite: true,
            event: Some(EventKind::Attention),
        }
    }

    /// What was refused before and now, and how often this very thing was.
    fn refusals(&self) -> (Vec<RefusedSpend>, u32) {
        let Attempt { fingerprint, secret_n, endpoint, .. } = self.attempt;
        let same = |r: &mut RefusedSpend| {
            Some(r.fingerprint) == *fingerprint
                && r.secret_n == *secret_n
                && r.endpoint == *endpoint
        };
        let mut all = self.grant.state.refusals.clone();
        let times = all.extract_if(.., same).map(|r| r.times).sum::<u32>() + 1;
        all.extend(fingerprint.map(|fingerprint| RefusedSpend {
            fingerprint,
            secret_n: *secret_n,
            endpoint: endpoint.clone(),
            at: self.now,
            times,
        }));
        all.drain(..all.len().saturating_sub(REFUSALS_MAX));
        (all, times)
    }

    /// Why a grant died, as far as the evidence goes; the surest cause first.
    fn cause(&self) -> Cause {
        let facts = &self.grant.facts;
        let aged = |since: Option<Timestamp>, limit: Option<Duration>| {
            since.zip(limit).is_some_and(|(since, limit)| self.now.since(since) >= limit)
        };
        if self.open_before() || self.attempt.sends > 1 {
            Cause::AnswerLost
        } else if aged(facts.refresh_since, self.rule.lifetime)
            || facts.refresh_expires_at.is_some_and(|end| end <= self.now)
        {
            Cause::Aged
        } else if aged(Some(facts.obtained_at), self.rule.idle) {
            Cause::Idle
        } else if self.attempt.doubtful && self.rotation != Rotation::Keeps {
            Cause::Replaced
        } else if self.grant.state.secret_n.is_some_and(|n| n != self.attempt.secret_n) {
            Cause::SecretChanged
        } else {
            Cause::EndedOutside
        }
    }

    fn client_refused(&self, evidence: &Evidence) -> Decision {
        if self.open_before() {
            return self.lost(evidence);
        }
        let next = format!("check the secret: `indicia clients secrets {} add`", self.grant.client);
        let what = "the service refuses the client, not this grant";
        let reason = self.reason(ReasonCode::ClientRefused, what, evidence, &next);
        Decision {
            next: Next::Settle,
            state: GrantState { reason: Some(reason), ..self.grant.state.clone() },
            next_at: Some(self.now.plus(WRONG_PAUSE)),
            definite: true,
            event: None,
        }
    }

    fn misconfigured(&self, evidence: &Evidence) -> Decision {
        // A 2xx may have rotated the refresh token: its answer is kept, the spend stays open.
        let open = self.open_before() || (evidence.kept && self.rotation != Rotation::Keeps);
        let what = "our request or the service file is wrong";
        let reason = self.reason(ReasonCode::Misconfigured, what, evidence, WRONG_NEXT);
        if open {
            let lost = self.lost(evidence);
            let state = GrantState { reason: Some(reason), ..lost.state };
            return Decision { state, ..lost };
        }
        self.wait(Some(WRONG_PAUSE), reason)
    }

    /// A definite outcome that says nothing about the grant: tried again after a pause.
    fn wait(&self, asked: Option<Duration>, reason: Reason) -> Decision {
        let failures = self.grant.state.failures.saturating_add(1);
        let pause = schedule::back_off(failures, asked, self.grant.id.as_str());
        let retry_at = self.now.plus(pause);
        let news = self.grant.state.reason.as_ref().map(|r| r.code) != Some(reason.code);
        Decision {
            next: Next::Settle,
            state: GrantState {
                reason: Some(reason),
                failures,
                retry_at: Some(retry_at),
                ..self.grant.state.clone()
            },
            next_at: Some(retry_at),
            definite: true,
            event: Some(EventKind::Attention).filter(|_| news),
        }
    }

    fn reason(&self, code: ReasonCode, what: &str, evidence: &Evidence, next: &str) -> Reason {
        let before = self.grant.state.reason.as_ref();
        let since = before.filter(|r| r.code == code).map_or(self.now, |r| r.since);
        let detail = if evidence.text.is_empty() {
            what.to_owned()
        } else {
            format!("{what} ({})", evidence.text)
        };
        Reason { code, detail, since, next_step: next.to_owned(), cause: None }
    }
}

/// A cause in words.
pub const fn cause_words(cause: Cause) -> &'static str {
    match cause {
        Cause::AnswerLost => {
            "the service refused the refresh token: it had replaced it in an answer that was lost"
        }
        Cause::Aged => "the refresh token reached the age that the service allows",
        Cause::Idle => "the refresh token was unused for longer than the service allows",
        Cause::Replaced => {
            "the service refused the grant: this store was taken over as a copy, and the original \
             had replaced the refresh token since"
        }
        Cause::SecretChanged => "the service refused the grant after the client's secret changed",
        Cause::EndedOutside => "the account's owner or the service ended the grant",
    }
}
