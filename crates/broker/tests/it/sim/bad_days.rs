//! A bad day at a service: for a while it refuses everybody, or our application, though every grant
//! lives and the secret is right.

use std::sync::Arc;
use std::time::Duration;

use indicia_broker::many_refused::{CANARY_EVERY, MANY};
use indicia_broker::model::{Cause, ClientRow, GrantId, GrantRow, GrantState};
use indicia_oauth::Answer;

use super::books::{Books, Seen, Sent};
use super::checkers::Writing;
use super::net::page;
use super::world::World;

/// So many connections of one client, that enough of them are refused to be noticed.
pub const CONNECTIONS: usize = MANY + 4;

/// A bad day is no shorter, so that each grant is tried in it.
const SECS_MIN: u64 = 400;

/// A day is longer than refusals count together, and a store that fails forgets one.
const BELIEVED_MAX: usize = MANY + 2;

/// Refusals that were on their way when it ended.
const LATE_MS: u64 = 120_000;

/// What a service answers to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadDay {
    Grants,
    Client,
}

type Lease = (Option<GrantId>, Option<u64>);

/// What the checkers know of bad days, by place.
#[derive(Clone, Default)]
pub struct Day {
    /// Until when; `u64::MAX`: it lasts.
    until: u64,
    /// Grants that were given up in it.
    given_up: Vec<GrantId>,
    /// It was noticed: the client was held.
    noticed: bool,
    /// Since when the client is held.
    held_since: Option<u64>,
    /// When the latest canary went out, and under which lease of which grant.
    canary: Option<(u64, Lease)>,
}

/// Begins one, of either sort; it ends by itself.
pub fn begin(world: &Arc<World>) {
    let what = world.draw(|rng| if rng.chance(6_000) { BadDay::Grants } else { BadDay::Client });
    let secs = SECS_MIN.max(2 * world.plan.life_secs);
    let secs = world.draw(|rng| rng.within(secs, 2 * secs));
    if world.bad_days.lock().unwrap().contains_key(&0) {
        return;
    }
    set(world, Some(what));
    let world = Arc::clone(world);
    world.clone().background(async move {
        tokio::time::sleep(Duration::from_secs(secs)).await;
        set(&world, None);
    });
}

/// Begins or ends one at the first service.
pub fn set(world: &World, what: Option<BadDay>) {
    let mut days = world.bad_days.lock().unwrap();
    match what {
        Some(what) => drop(days.insert(0, what)),
        None => drop(days.remove(&0)),
    }
    drop(days);
    let mut books = world.books();
    let until = if what.is_some() { u64::MAX } else { books.now + LATE_MS };
    let day = books.days.entry(0).or_default();
    if what.is_some() {
        day.given_up.clear();
        day.noticed = false;
    }
    day.until = until;
    drop(books);
    match what {
        Some(what) => world.tell(&format!("service 0 has a bad day: {what:?}")),
        None => world.tell("service 0 is itself again"),
    }
}

impl World {
    /// What a service says to everybody today.
    pub fn refusal_of_the_day(&self, place: usize) -> Option<Answer> {
        let day = self.bad_days.lock().unwrap().get(&place).copied()?;
        Some(match day {
            BadDay::Grants => page(400, "application/json", "{\"error\":\"invalid_grant\"}"),
            BadDay::Client => page(401, "application/json", "{\"error\":\"invalid_client\"}"),
        })
    }

    /// A client's row was stored.
    pub fn client_stored(&self, row: &ClientRow) {
        let place = self.plan.kinds.iter().position(|kind| kind.service() == row.service);
        let Some(place) = place else { return };
        let held = row.grants_refused.held.is_some();
        let mut books = self.books();
        let now = books.now;
        let day = books.days.entry(place).or_default();
        if held != day.held_since.is_some() {
            day.held_since = held.then_some(now);
            day.noticed |= held;
            day.canary = None;
            drop(books);
            self.tell(&format!("client of service {place} is held: {held}"));
        }
    }
}

impl Books {
    /// A few refusals of one bad day are believed, before there are too many; no more than these.
    pub fn is_bad_day(&mut self, place: usize, before: &GrantRow, state: &GrantState) -> bool {
        let now = self.now;
        let Some(day) = self.days.get_mut(&place).filter(|day| now < day.until) else {
            return false;
        };
        let cause = state.reason.as_ref().and_then(|reason| reason.cause);
        // What is lost may be ended; it is taken up with the others.
        if cause != Some(Cause::AnswerLost) && !day.given_up.contains(&before.id) {
            day.given_up.push(before.id.clone());
        }
        day.given_up.len() <= BELIEVED_MAX
    }

    /// Whether too few were refused on a bad day to tell it from one at which each of them ended.
    pub fn too_few(&self, place: usize) -> bool {
        self.days.get(&place).is_some_and(|day| !day.noticed)
    }

    /// What was refused on a bad day may be sent again.
    pub fn unbelieved(&mut self, grant: &GrantId) {
        let of = |s: &&mut Sent| s.store_grant.as_ref() == Some(grant) && s.seen == Seen::Refused;
        self.sent.iter_mut().filter(of).for_each(|s| s.settled_at = None);
    }

    /// While a client is held, one canary at a time goes out.
    pub fn check_canary(&mut self, place: usize, writing: &Writing) {
        let now = self.now;
        let Some(day) = self.days.get_mut(&place) else { return };
        let Some(since) = day.held_since else { return };
        if writing.claim.as_ref().is_none_or(|claim| claim.at <= since) {
            return;
        }
        let every = u64::try_from(CANARY_EVERY.as_millis()).unwrap();
        let lease = (writing.sent.store_grant.clone(), writing.sent.lease_no);
        // Where the service forgives it, a canary whose answer is lost is sent again at once.
        let before = day.canary.replace((now, lease.clone())).filter(|(_, its)| *its != lease);
        // From the gate to the write some time passes.
        if before.is_some_and(|(before, _)| now + 60_000 < before + every) {
            let holder = &writing.sent.holder;
            let text =
                format!("{holder} sent a second canary of service {place}, held since {since}");
            self.broken(text);
        }
    }
}
