//! The store is put back to a copy of earlier, as `indicia restore` does: what was refreshed since
//! is forgotten, the journals know better (or are lost, too), and nothing may be sent until
//! somebody has taken over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use indicia_broker::model::{Cause, GrantId, GrantRow, GrantState, HolderId};
use indicia_broker::ports::Clock as _;
use indicia_broker::vault::Fingerprint;
use indicia_oauth::Timestamp;
use indicia_store::Snapshot;

use super::books::{Books, Sent};
use super::checkers::{Writing, used_up};
use super::services::Kind;
use super::world::World;

/// Copies that are kept.
const COPIES_MAX: usize = 4;

/// From a restore to the take-over: so long that nothing of before it is still on its way.
const TAKEN_OVER_SECS: (u64, u64) = (90, 240);

/// Everybody who lives has noticed a restore by then.
const NOTICED_MS: u64 = 2_000;

/// A copy of the store, and the secrets that its clients had at their services.
pub struct Kept {
    at: u64,
    store: Snapshot,
    secrets: BTreeMap<usize, String>,
}

/// The latest restore, for the checkers.
#[derive(Clone)]
pub struct Restore {
    pub at: u64,
    /// When it was taken over; the second time is what the store's clock said.
    pub taken_over: Option<(u64, Timestamp)>,
    /// The version of each grant that came back.
    versions: BTreeMap<GrantId, u64>,
}

/// Puts a copy on the shelf.
pub fn copy(world: &Arc<World>) {
    if world.memory.is_held() {
        return;
    }
    let secrets = world.told_secrets.lock().unwrap().clone();
    let kept = Kept { at: world.now_ms(), store: world.memory.copied(), secrets };
    let mut copies = world.copies.lock().unwrap();
    copies.push(kept);
    let surplus = copies.len().saturating_sub(COPIES_MAX);
    copies.drain(..surplus);
}

/// Puts one of the copies back; somebody takes over later.
pub fn restore(world: &Arc<World>) {
    let copies = world.copies.lock().unwrap().len() as u64;
    if copies == 0 || world.memory.is_held() {
        return;
    }
    let n = usize::try_from(world.draw(|rng| rng.below(copies))).unwrap();
    put_back(world, n);
    let secs = world.draw(|rng| rng.within(TAKEN_OVER_SECS.0, TAKEN_OVER_SECS.1));
    let world = Arc::clone(world);
    world.clone().background(async move {
        tokio::time::sleep(Duration::from_secs(secs)).await;
        take_over(&world).await;
    });
}

/// Puts copy number `n` back.
pub fn put_back(world: &Arc<World>, n: usize) {
    let lost = world.plan.faults.journals_lost;
    let copies = world.copies.lock().unwrap();
    let kept = &copies[n];
    world.memory.put_back(&kept.store).expect("it can be told");
    let but = if lost { ", and the journals are lost" } else { "" };
    world.tell(&format!("the store is put back to its copy of {}{but}", kept.at));
    if lost {
        world.disk.lock().unwrap().lose();
    }
    let entries = world.disk.lock().unwrap().all();
    let rows = world.memory.grant_rows();
    world.books().restored(kept.at, &rows, &entries);
    // Whoever runs the application looks into the portal again.
    for (place, secret) in &*world.told_secrets.lock().unwrap() {
        if kept.secrets.get(place) != Some(secret) {
            let told_at = world.now_ms() + world.draw(|rng| rng.within(0, 60_000));
            let mut waiting = world.new_secrets.lock().unwrap();
            waiting.entry(*place).or_insert_with(|| (told_at, secret.clone()));
        }
    }
}

/// Somebody takes over, and tries until it is done.
pub async fn take_over(world: &World) {
    while world.memory.is_held() {
        if let Some(broker) = world.some_broker() {
            // Its host may end on the way.
            let done = tokio::time::timeout(Duration::from_secs(60), broker.take_over()).await;
            if !world.memory.is_held() {
                let at = world.clock.now();
                world.tell(&format!("somebody took over: {}", matches!(done, Ok(Ok(true)))));
                world.books().taken_over(at);
                return;
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

impl Books {
    /// The store is as it was at `copied_at`; `rows` and the journals' `entries` are what is left.
    fn restored(
        &mut self,
        copied_at: u64,
        rows: &[GrantRow],
        entries: &[indicia_broker::ports::JournalEntry],
    ) {
        let versions = rows.iter().map(|row| (row.id.clone(), row.version)).collect();
        let mut left: BTreeSet<Fingerprint> = rows.iter().map(|row| row.facts.access).collect();
        left.extend(entries.iter().filter_map(|entry| self.access_in(entry)));
        self.forget_all_but(&left);
        let restore = Restore { at: self.now, taken_over: None, versions };
        let of = |id: &GrantId| restore.versions.get(id).copied().unwrap_or(0);
        self.commits.retain(|(id, from)| *from < of(id));
        self.revoked.retain(|_, at| *at <= copied_at);
        let forgotten = |s: &&mut Sent| s.settled_at.is_some_and(|at| at > copied_at);
        self.sent.iter_mut().filter(forgotten).for_each(|s| s.settled_at = None);
        self.restore = Some(restore);
    }

    /// What is nowhere any more: of each grant at a service, all that came after the last answer
    /// that is left.
    fn forget_all_but(&mut self, left: &BTreeSet<Fingerprint>) {
        let mut newest = BTreeMap::new();
        for access in left {
            if let (Some(there), Some(at)) = (self.tokens.get(access), self.durable.get(access)) {
                let known = newest.entry(*there).or_insert(*at);
                *known = (*known).max(*at);
            }
        }
        let gone = self.durable.iter().filter(|(access, at)| {
            let there = self.tokens.get(access);
            there.is_some_and(|there| newest.get(there).is_none_or(|last| *at > last))
        });
        self.forgotten.extend(gone.map(|(access, _)| *access));
    }

    fn taken_over(&mut self, clock: Timestamp) {
        let now = self.now;
        if let Some(restore) = self.restore.as_mut() {
            restore.taken_over = Some((now, clock));
        }
    }

    /// Since when the store is held.
    fn held_since(&self) -> Option<u64> {
        self.restore.as_ref().filter(|r| r.taken_over.is_none()).map(|r| r.at)
    }

    /// Whether the store was put back since then.
    pub fn put_back_since(&self, at: u64) -> bool {
        self.restore.as_ref().is_some_and(|restore| restore.at >= at)
    }

    /// Nothing goes out of a store that is held. Whoever had a lease by then may not know it; other
    /// requests are let go for as long as it takes to notice.
    pub fn check_held(&mut self, what: &str, writing: Option<&Writing>, holder: &HolderId) {
        let Some(since) = self.held_since() else { return };
        let sent = match writing {
            // Frozen between its last look and the write, it may have lost its lease by that.
            Some(writing) if writing.sent.late || !writing.store_held => false,
            Some(writing) => writing.claim.as_ref().is_none_or(|claim| claim.at > since),
            None => self.now > since + NOTICED_MS && self.undisturbed(holder, since),
        };
        if sent {
            self.broken(format!("{holder} sent a {what} of a store that is held since {since}"));
        }
    }

    /// What a taken-over store has of old isn't spent while its token is good: the original, or
    /// this store before it was put back, may have spent it.
    pub fn check_old(&mut self, writing: &Writing) {
        let Some((_, taken_over)) = self.restore.as_ref().and_then(|r| r.taken_over) else {
            return;
        };
        let Some(claim) = writing.claim.as_ref() else { return };
        let old = claim.facts.obtained_at < taken_over && writing.sent.kind != Kind::Keeps;
        let ended = [claim.clock, writing.clock].into_iter().any(|at| used_up(&claim.facts, at));
        if old && !claim.tried && !ended {
            let holder = &writing.sent.holder;
            self.broken(format!("{holder} spent what a copy has of old while its token is good"));
        }
    }

    /// Whether a version was replaced by what a journal knew of a later one.
    pub fn repaired(&self, before: &GrantRow, access: Fingerprint) -> bool {
        let restored = self.restore.as_ref().and_then(|r| r.versions.get(&before.id));
        let there = before.facts.refresh.and_then(|refresh| self.tokens.get(&refresh));
        let later = |s: &Sent| match &s.store_grant {
            Some(grant) => *grant == before.id && s.version >= before.version,
            // Its claim was forgotten with the restore: the service knows whose the token is.
            None => self.tokens.get(&s.token) == there,
        };
        let later = |s: &Sent| s.gave.is_some_and(|g| g.access == access) && later(s);
        restored.is_some_and(|at| *at <= before.version) && self.sent.iter().any(later)
    }

    /// A grant that a store ended which knew no better says so.
    pub fn check_cause(&mut self, state: &GrantState, killer: Fingerprint) {
        let forgot = |s: &Sent| {
            s.token == killer && s.gave.is_some_and(|g| self.forgotten.contains(&g.access))
        };
        let cause = state.reason.as_ref().and_then(|reason| reason.cause);
        let told = matches!(cause, Some(Cause::Replaced | Cause::AnswerLost));
        if self.sent.iter().any(forgot) && !told {
            self.broken(format!("what a restore ended is told as {cause:?}"));
        }
    }
}
