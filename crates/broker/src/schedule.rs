//! When something is due. Pure: lifetimes in, moments out.

use std::time::Duration;

use indicia_catalog::RefreshRule;
use indicia_oauth::{Expiry, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::model::{GrantState, TokenFacts};

/// What a token must be good for, to be served without a wish of the caller's.
pub const SERVE_MARGIN: Duration = Duration::from_secs(5);

/// Share of a life after which a refresh is due, in thousandths; up to [`JITTER_SHARE`] later.
const DUE_SHARE: u64 = 700;

/// Jitter by grant, in thousandths of the life.
const JITTER_SHARE: u64 = 100;

/// No pause that is written down is longer: the longest that a service may ask for, and more.
const PAUSE_MAX: Duration = Duration::from_secs(2 * 3600);

/// A token that the API refuses is replaced at most this often.
const REJECTED_PAUSE: Duration = Duration::from_secs(5);

/// Share of an idle limit after which a refresh token is used to keep it alive, in thousandths.
const IDLE_SHARE: u64 = 800;

/// Share of an age that a client allows after which a token set is replaced, in thousandths; up to
/// [`JITTER_SHARE`] later.
const MAX_AGE_SHARE: u64 = 900;

/// No longer ahead is the end of a token told that can't be refreshed.
const TOLD_AHEAD_MAX: Duration = Duration::from_secs(24 * 3600);

/// Waits after 1, 2, 3… failures in a row. In sum: 2 s, 7 s, 22 s, 52 s, 2 min, 4 min, 9 min,
/// 19 min, then every 15 min. Short first, since most failures are a gateway's hiccup; long last,
/// since a service that is down for an hour gains nothing from more calls.
const BACK_OFF: [Duration; 9] = [
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
    Duration::from_secs(300),
    Duration::from_secs(600),
    Duration::from_secs(900),
];

/// A number in `0..1000` that is the same for the same grant, so that equal lives don't end in
/// step.
fn share_of(grant: &str) -> u64 {
    let digest = Sha256::digest(grant.as_bytes());
    (u64::from(digest[0]) << 8 | u64::from(digest[1])) % 1000
}

fn thousandths(of: Duration, share: u64) -> Duration {
    Duration::from_millis(u64::try_from(of.as_millis()).unwrap_or(u64::MAX) / 1000 * share)
}

fn fine_thousandths(of: Duration, share: u64) -> Duration {
    let millis = u64::try_from(of.as_millis()).unwrap_or(u64::MAX / 1000);
    if millis < u64::MAX / 1000 {
        Duration::from_millis(millis * share / 1000)
    } else {
        thousandths(of, share)
    }
}

/// The whole life of an access token, where it has an end.
pub fn life(facts: &TokenFacts) -> Option<Duration> {
    match facts.expiry {
        Expiry::At(end) => Some(end.since(facts.obtained_at)),
        Expiry::Never | Expiry::Unknown => None,
    }
}

/// What a wish for validity really means: never more than half a life, or short tokens would be
/// minted on every call.
pub fn effective_min_valid(facts: &TokenFacts, wish: Option<Duration>) -> Duration {
    let wish = wish.unwrap_or(SERVE_MARGIN).max(Duration::from_millis(1));
    match life(facts) {
        Some(life) => wish.min(life / 2),
        None => wish,
    }
}

/// Until when a token is served; `None`: until it is refused.
pub fn served_until(facts: &TokenFacts) -> Option<Timestamp> {
    match facts.expiry {
        Expiry::At(end) => Some(end.minus(effective_min_valid(facts, None))),
        Expiry::Never | Expiry::Unknown => None,
    }
}

/// Whether the token is good for `need` more.
pub fn good_for(facts: &TokenFacts, need: Duration, now: Timestamp) -> bool {
    if facts.rejected {
        return false;
    }
    match facts.expiry {
        Expiry::At(end) => now.plus(need) <= end,
        Expiry::Never | Expiry::Unknown => true,
    }
}

/// When a refresh is due: at 70 to 80 % of the access token's life, by grant; not before the
/// service gives a new one; before a refresh token dies of idleness or age; and before the token
/// set reaches the age that its client allows. `None`: never by itself.
pub fn refresh_at(facts: &TokenFacts, rule: &RefreshRule, grant: &str) -> Option<Timestamp> {
    let by_life = match facts.expiry {
        Expiry::At(end) => {
            let life = end.since(facts.obtained_at);
            let share = DUE_SHARE + share_of(grant) * JITTER_SHARE / 1000;
            let due = facts.obtained_at.plus(fine_thousandths(life, share));
            let earliest = rule.earliest_before_end.map_or(due, |before| end.minus(before));
            Some(due.max(earliest))
        }
        Expiry::Never | Expiry::Unknown => None,
    };
    let by_wish = rule.max_age.map(|age| {
        let share = MAX_AGE_SHARE + share_of(grant) * JITTER_SHARE / 1000;
        facts.obtained_at.plus(fine_thousandths(age, share))
    });
    by_life.into_iter().chain(keep_alive_at(facts, rule)).chain(by_wish).min()
}

/// When to tell that a token ends which can't be refreshed: for the last fifth of its life, a day
/// at most. `None`: it has no end.
pub fn ends_soon_at(facts: &TokenFacts) -> Option<Timestamp> {
    let Expiry::At(end) = facts.expiry else { return None };
    let ahead = (end.since(facts.obtained_at) / 5).min(TOLD_AHEAD_MAX);
    Some(end.minus(ahead))
}

/// When a refresh token must be used lest it die of idleness or age. `None`: it doesn't.
pub fn keep_alive_at(facts: &TokenFacts, rule: &RefreshRule) -> Option<Timestamp> {
    let by_idleness = rule
        .idle
        .filter(|_| facts.refresh.is_some())
        .map(|idle| facts.obtained_at.plus(fine_thousandths(idle, IDLE_SHARE)));
    let by_age = facts
        .refresh_expires_at
        .zip(facts.refresh_since)
        .map(|(end, since)| since.plus(fine_thousandths(end.since(since), IDLE_SHARE)));
    [by_idleness, by_age].into_iter().flatten().min()
}

/// Whether a row's `retry_at` still holds. One that lies further ahead than any pause of ours was
/// written under a clock that was wrong, unless it waits for a token's end.
pub fn still_waits(state: &GrantState, now: Timestamp) -> bool {
    let Some(at) = state.retry_at else { return false };
    let believable = state.ambiguity.is_some() || at.since(now) <= PAUSE_MAX;
    now < at && believable
}

/// Whether a token set was asked for so shortly before that another request would only mint: by the
/// service's limit, or, where the API refuses fresh tokens, by ours.
pub fn minted_lately(facts: &TokenFacts, rule: &RefreshRule, now: Timestamp) -> bool {
    let by_rule = rule.mint_limit.map(|(count, window)| window / count.max(1));
    let by_refusal = facts.rejected.then_some(REJECTED_PAUSE);
    if !facts.rejected && !good_for(facts, Duration::ZERO, now) {
        // It ended in its own time: what comes of asking is the service's to say.
        return false;
    }
    let pause = by_rule.max(by_refusal).unwrap_or_default();
    now < facts.obtained_at.plus(pause) && facts.obtained_at <= now
}

/// The pause after `failures` failures in a row (from 1), with up to a tenth more by grant; never
/// shorter than what the service asked for.
pub fn back_off(failures: u32, asked: Option<Duration>, grant: &str) -> Duration {
    let step = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    let base = BACK_OFF[step.min(BACK_OFF.len() - 1)];
    let wait = base + fine_thousandths(base, share_of(grant) / 10);
    asked.map_or(wait, |asked| asked.max(wait))
}
