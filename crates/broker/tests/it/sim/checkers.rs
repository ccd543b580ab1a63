//! What must hold, said once more and apart from the engine: each rule looks at the books alone.

use indicia_broker::model::{GrantId, GrantRow, GrantState, HolderId, Life, TokenFacts};
use indicia_broker::vault::Fingerprint;
use indicia_oauth::{Expiry, Timestamp};
use indicia_sandbox::record::{GrantRecord, Why};

use super::books::{Books, Claimed, Seen, Sent, SentId};
use super::services::{GRACE_MS, Kind};

/// A request about to be on its way, as seen from outside.
pub struct Writing {
    pub sent: Sent,
    pub claim: Option<Claimed>,
    /// The store itself says that it is held: the takeover is noted a moment after it is done.
    pub store_held: bool,
    /// The lease that was claimed is still in force.
    pub leased: bool,
    /// The writer's wall clock.
    pub clock: Timestamp,
    /// All clocks go right, so that ages can be compared.
    pub clocks_right: bool,
}

/// Whether a token is nearly used up, or ended: RFC-wise nothing, DESIGN-wise the moment from which
/// a lost spend may be sent again.
pub fn used_up(facts: &TokenFacts, now: Timestamp) -> bool {
    match facts.expiry {
        Expiry::At(end) => {
            let margin = 5_000.min(life_ms(facts).unwrap_or(0) / 2);
            facts.rejected || now.as_millis() + margin >= end.as_millis()
        }
        Expiry::Never | Expiry::Unknown => facts.rejected,
    }
}

/// The same token from the same version.
fn same_spend(old: &Sent, new: &Sent) -> bool {
    old.token == new.token && old.version == new.version && old.store_grant == new.store_grant
}

fn life_ms(facts: &TokenFacts) -> Option<i64> {
    match facts.expiry {
        Expiry::At(end) => Some(end.as_millis() - facts.obtained_at.as_millis()),
        Expiry::Never | Expiry::Unknown => None,
    }
}

impl Books {
    /// Looks at a refresh request when its first byte is written.
    pub fn write(&mut self, place: usize, writing: Writing) -> SentId {
        let id = self.sent.len();
        if writing.sent.late {
            // DESIGN §1.4: counted, and excused here alone.
        } else {
            self.check_lease(&writing);
            self.check_fresh(&writing);
        }
        self.check_one_in_flight(&writing);
        self.check_resend(&writing);
        self.check_refused(&writing);
        self.check_held("refresh", Some(&writing), &writing.sent.holder);
        self.check_old(&writing);
        self.check_canary(place, &writing);
        self.sent.push(writing.sent);
        id
    }

    /// Written under a lease in force, and what was read under it.
    fn check_lease(&mut self, writing: &Writing) {
        let holder = writing.sent.holder.clone();
        if writing.claim.is_none() {
            self.broken(format!("{holder} sent a refresh token that it didn't read under a lease"));
        } else if !writing.leased {
            self.broken(format!("{holder} wrote a refresh without the lease"));
        }
    }

    /// A fresh token is not refreshed again.
    fn check_fresh(&mut self, writing: &Writing) {
        let Some(claim) = writing.claim.as_ref().filter(|_| writing.clocks_right) else { return };
        let wished = self.wishes(&claim.holder).all > 0;
        let age = writing.clock.as_millis() - claim.facts.obtained_at.as_millis();
        let fresh = life_ms(&claim.facts).is_some_and(|life| age < life / 10);
        if fresh && !claim.facts.rejected && !claim.tried && !wished {
            self.broken(format!("{} refreshed a token of {age} ms", claim.holder));
        }
    }

    /// One refresh in flight for a grant and fence; and for a grant, while nothing holds up who
    /// waits for the answer: a lease is prolonged as long as that takes.
    fn check_one_in_flight(&mut self, writing: &Writing) {
        let sent = &writing.sent;
        let same = |s: &&Sent| {
            s.flies
                && s.store_grant.is_some()
                && s.store_grant == sent.store_grant
                && !sent.late
                && (s.lease_no == sent.lease_no || self.undisturbed(&s.holder, s.at))
        };
        if let Some(other) = self.sent.iter().find(same) {
            let text =
                format!("{} refreshed beside {} (sent at {})", sent.holder, other.holder, other.at);
            self.broken(text);
        }
    }

    /// DESIGN §1.2: what may be sent again.
    fn check_resend(&mut self, writing: &Writing) {
        let new = &writing.sent;
        if new.kind == Kind::Keeps {
            return;
        }
        let claimed_at = writing.claim.as_ref().map_or(new.at, |c| c.at);
        let mut first_open: Option<(u64, bool)> = None;
        let mut broken = Vec::new();
        let mut lost = Vec::new();
        for (id, old) in self.sent.iter().enumerate().filter(|(_, s)| s.token == new.token) {
            let kept_at = old.gave.and_then(|g| self.durable_since(&g.access));
            let rotated = old.gave.is_some_and(|g| g.rotated);
            match (old.seen, kept_at) {
                (Seen::Refused, _) if old.settled_at.is_some() && same_spend(old, new) => {
                    // A definite verdict, written down, resolves what was open before it.
                    first_open = None;
                    continue;
                }
                (Seen::Refused | Seen::Definite, _) => continue,
                (Seen::Granted, Some(_)) if !rotated => continue,
                (_, Some(at)) if rotated && at < claimed_at && !new.late => {
                    broken.push(format!(
                        "{} sent a spent token again; its answer is kept since {at}",
                        new.holder
                    ));
                }
                _ => {}
            }
            if rotated && !new.late {
                lost.push(id);
            }
            // What was open before the version that this token is of now was resolved by it.
            if same_spend(old, new) && !self.put_back_since(old.at) {
                first_open.get_or_insert((old.at, old.holder == new.holder));
            }
        }
        lost.into_iter().for_each(|id| self.sent[id].lost = true);
        broken.into_iter().for_each(|text| self.broken(text));
        let Some((first, same_process)) = first_open.filter(|_| !new.late) else { return };
        // Another process knows the first send by the wall clock alone: where that jumps, it can't
        // tell.
        let tells = writing.clocks_right || same_process;
        let forgiven = new.kind == Kind::Grace && (new.at < first + GRACE_MS || !tells);
        // Its clock may have been set right between its look and the write.
        let ended = writing.claim.as_ref().is_none_or(|c| {
            [c.clock, writing.clock].into_iter().any(|clock| used_up(&c.facts, clock))
        });
        if !forgiven && !ended {
            self.broken(format!(
                "{} sent a refresh token again while its token is good; first sent at {first}",
                new.holder
            ));
        }
    }

    /// What was refused isn't sent again to the same, but for one confirmation where it is kept.
    fn check_refused(&mut self, writing: &Writing) {
        let new = &writing.sent;
        if new.late || self.wishes(&new.holder).forced > 0 {
            return;
        }
        let same = |s: &&Sent| {
            s.seen == Seen::Refused
                && s.settled_at.is_some()
                && same_spend(s, new)
                && s.secret == new.secret
                && s.endpoint == new.endpoint
        };
        let allowed = if new.kind == Kind::Keeps { 1 } else { 0 };
        let times = self.sent.iter().filter(same).count();
        if times > allowed {
            self.broken(format!("{} sent what was refused {times} time(s)", new.holder));
        }
    }

    /// A commit names the version that it was spent from; one commit a version.
    pub fn check_commit(&mut self, before: &GrantRow, access: Fingerprint, by_refresh: bool) {
        if !self.commits.insert((before.id.clone(), before.version)) {
            self.broken(format!("two commits from version {} of {}", before.version, before.id));
        }
        let spent_from = |s: &Sent| Some(s.token) == before.facts.refresh;
        let mut origins = self.sent.iter().filter(|s| s.gave.is_some_and(|g| g.access == access));
        let right = origins.any(spent_from);
        if by_refresh && !right && !self.repaired(before, access) {
            self.broken(format!(
                "version {} of {} was replaced by an answer to another",
                before.version, before.id
            ));
        }
    }

    /// The outcome of what this lease sent is written down.
    pub fn settled(&mut self, grant: &GrantId, lease_no: u64) {
        let now = self.now;
        // A restore has numbers of leases come again.
        let since = self.restore.as_ref().map_or(0, |restore| restore.at);
        let of = |s: &&mut Sent| {
            s.store_grant.as_ref() == Some(grant) && s.lease_no == Some(lease_no) && s.at >= since
        };
        self.sent.iter_mut().filter(of).for_each(|s| s.settled_at = Some(now));
    }

    /// A grant is dead only where the service's own record says why it had to be.
    pub fn check_death(
        &mut self,
        before: &GrantRow,
        state: &GrantState,
        record: &GrantRecord,
        place: usize,
    ) {
        if state.life != Life::Dead || before.state.life == Life::Dead {
            return;
        }
        let why = record.ended.map(|(why, _)| why);
        let killed = |s: &&Sent| s.killed && self.tokens.get(&s.token) == Some(&(place, record.id));
        if let Some(killer) = self.sent.iter().find(killed).map(|s| s.token) {
            self.check_cause(state, killer);
        }
        let fine = match why {
            Some(Why::Owner | Why::Revoked | Why::Aged | Why::Idle | Why::CodeReuse) => true,
            Some(Why::Reuse) => self.had_to_be_reused((place, record.id)),
            None => self.is_bad_day(place, before, state),
        };
        if !fine {
            let place = (place, record.id);
            let killer =
                self.sent.iter().find(|s| s.killed && self.tokens.get(&s.token) == Some(&place));
            let how = killer.map(|k| {
                format!(
                    "{} sent {:?} at {}, version {}, lease {:?}, {:?}",
                    k.holder, k.token, k.at, k.version, k.lease_no, k.seen
                )
            });
            let what =
                format!("{} was given up; the service's record: {why:?}; {how:?}", before.id);
            self.broken(what);
        }
    }

    /// Whether what ended the grant was the right thing to send: an answer to the same token was
    /// lost before it could be kept, or it was written late.
    fn had_to_be_reused(&self, there: (usize, indicia_sandbox::GrantId)) -> bool {
        let of = |s: &&Sent| s.killed && self.tokens.get(&s.token) == Some(&there);
        let Some(killer) = self.sent.iter().find(of) else { return false };
        let same = self.sent.iter().filter(|s| s.token == killer.token);
        killer.late || same.into_iter().any(|s| s.late || s.lost || self.excused(s))
    }

    /// Whether an answer of this grant was lost before it could be kept.
    pub fn is_lost(&self, there: (usize, indicia_sandbox::GrantId)) -> bool {
        let mut sent = self.sent.iter().filter(|s| self.tokens.get(&s.token) == Some(&there));
        sent.any(|s| s.lost || self.excused(s))
    }

    /// It rotated, and its answer is nowhere, through nobody's fault.
    fn excused(&self, sent: &Sent) -> bool {
        let Some(gave) = sent.gave.filter(|g| g.rotated) else { return false };
        let nowhere = self.durable_since(&gave.access).is_none();
        nowhere && (sent.seen != Seen::Granted || sent.keep_began)
    }

    /// An answer that reached us whole is somewhere, unless keeping it was cut off.
    pub fn check_nothing_dropped(&mut self) {
        let dropped = |s: &&Sent| {
            s.seen == Seen::Granted
                && !s.keep_began
                && s.gave.is_some_and(|g| g.rotated && !self.durable.contains_key(&g.access))
        };
        let found: Vec<String> = self
            .sent
            .iter()
            .filter(dropped)
            .map(|s| format!("{} dropped an answer that it had (sent at {})", s.holder, s.at))
            .collect();
        found.into_iter().for_each(|text| self.broken(text));
    }

    pub fn revoked(&mut self, grants: &[GrantId]) {
        for grant in grants {
            let now = self.now;
            self.revoked.entry(grant.clone()).or_insert(now);
        }
    }

    /// What was taken back is served by nobody, two seconds later.
    pub fn check_off(&mut self, holder: &HolderId, grant: &GrantId, asked_at: u64) {
        let Some(since) = self.revoked.get(grant).copied() else { return };
        // What the store had a moment ago, before it was put back, may be at hand still.
        let noticed = !self.put_back_since(asked_at.saturating_sub(2_000));
        if asked_at > since + 2_000 && noticed && self.undisturbed(holder, since) {
            self.broken(format!("{holder} serves {grant}, which was taken back at {since}"));
        }
    }

    /// What is handed out is durable.
    pub fn check_handed_out(&mut self, who: &str, access: &str) {
        let access = self.fingerprint(access);
        if !self.durable.contains_key(&access) {
            self.broken(format!("{who} was handed a token that is nowhere durable"));
        }
    }
}
