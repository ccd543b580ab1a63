//! The checkers' own books: what was read under which lease, sent, answered, kept and stored.
//! Written from outside the engine, at its ports; nothing in here asks the engine.

use std::collections::{BTreeMap, BTreeSet};

use indicia_broker::model::{GrantId, HolderId, TokenFacts};
use indicia_broker::ports::JournalEntry;
use indicia_broker::vault::{Field, Fingerprint, Vault};
use indicia_oauth::{Answer, Timestamp};

use super::bad_days::Day;
use super::restores::Restore;
use super::services::Kind;

/// Number of a send, from 0.
pub type SentId = usize;

/// What reached the host that sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Nothing,
    Granted,
    /// `invalid_grant`.
    Refused,
    /// Anything that tells that it wasn't processed.
    Definite,
    Ambiguous,
}

/// A token answer that a service gave, whether it arrived or not.
#[derive(Clone, Copy, Debug)]
pub struct Gave {
    pub access: Fingerprint,
    pub rotated: bool,
}

/// One refresh request that was written.
pub struct Sent {
    pub holder: HolderId,
    pub at: u64,
    pub kind: Kind,
    pub token: Fingerprint,
    pub secret: String,
    pub endpoint: String,
    pub store_grant: Option<GrantId>,
    pub lease_no: Option<u64>,
    /// The version that it is spent from.
    pub version: u64,
    /// Written after a stand-still in the last look at the lease.
    pub late: bool,
    /// On its way, there or back.
    pub flies: bool,
    pub gave: Option<Gave>,
    pub seen: Seen,
    /// Keeping its answer was begun: a crash from here on may tear it.
    pub keep_began: bool,
    /// When the outcome was written down.
    pub settled_at: Option<u64>,
    /// It rotated, and its answer was nowhere when the next send was prepared.
    pub lost: bool,
    /// A replica was made to lag for it.
    pub lagged: bool,
    /// The service took it for a reuse, and ended the grant.
    pub killed: bool,
}

/// What a holder read when the lease became its own.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub holder: HolderId,
    pub at: u64,
    /// What its wall clock said.
    pub clock: Timestamp,
    pub version: u64,
    pub facts: TokenFacts,
    /// A refresh was tried from this version before, and goes on.
    pub tried: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    pub all: u32,
    pub forced: u32,
}

#[derive(Default)]
pub struct Books {
    pub vault: Option<Vault>,
    pub sent: Vec<Sent>,
    pub claims: BTreeMap<(GrantId, u64), Claimed>,
    /// Access tokens that are or were in the store or in the journal, and since when.
    pub durable: BTreeMap<Fingerprint, u64>,
    /// Access tokens of `durable` that a restore has lost.
    pub forgotten: BTreeSet<Fingerprint>,
    pub restore: Option<Restore>,
    pub days: BTreeMap<usize, Day>,
    /// From which version of which grant there was a commit.
    pub commits: BTreeSet<(GrantId, u64)>,
    /// Every token that a service gave → which grant there (of which place).
    pub tokens: BTreeMap<Fingerprint, (usize, indicia_sandbox::GrantId)>,
    /// Refreshes under way that somebody wished for, and those of them that are forced, by holder.
    pub wishes: BTreeMap<HolderId, Wishes>,
    /// Until when a holder was last held up: it stood still, or the store failed it; or it ended.
    pub held_up: BTreeMap<HolderId, u64>,
    /// Grants that we took back, and since when.
    pub revoked: BTreeMap<GrantId, u64>,
    pub violations: Vec<String>,
    pub now: u64,
}

impl Books {
    /// A promise was broken.
    pub fn broken(&mut self, what: String) {
        self.violations.push(format!("{:>9} {what}", self.now));
    }

    pub fn fingerprint(&self, text: &str) -> Fingerprint {
        self.vault.as_ref().expect("the store was opened").fingerprint(text)
    }

    pub fn durable(&mut self, access: Fingerprint) {
        let now = self.now;
        self.durable.entry(access).or_insert(now);
    }

    /// Since when an access token has been where it can be found.
    pub fn durable_since(&self, access: &Fingerprint) -> Option<u64> {
        self.durable.get(access).filter(|_| !self.forgotten.contains(access)).copied()
    }

    /// The access token in an entry, read with keys of our own.
    pub fn access_in(&self, entry: &JournalEntry) -> Option<Fingerprint> {
        let field = Field::Answer { of: &entry.of, version: entry.version };
        let bytes = self.vault.as_ref()?.unseal(field, &entry.answer).ok()?;
        // A flow's entry has its inputs before the answer.
        let answer = Answer::from_bytes(&bytes).or_else(|| {
            let (length, rest) = bytes.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            Answer::from_bytes(rest.get(length..)?)
        })?;
        let json: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
        Some(self.fingerprint(json["access_token"].as_str()?))
    }

    pub fn keep_began(&mut self, entry: &JournalEntry) -> Option<Fingerprint> {
        let access = self.access_in(entry)?;
        let of =
            |s: &&mut Sent| s.seen == Seen::Granted && s.gave.is_some_and(|g| g.access == access);
        self.sent.iter_mut().filter(of).for_each(|s| s.keep_began = true);
        Some(access)
    }

    pub fn kept(&mut self, access: Option<Fingerprint>) {
        if let Some(access) = access {
            self.durable(access);
        }
    }

    pub fn landed(&mut self, id: SentId) {
        self.sent[id].flies = false;
    }

    pub fn arrived(&mut self, id: SentId, seen: Seen) {
        self.sent[id].seen = seen;
        self.sent[id].flies = false;
    }

    /// A holder may be late for `for_ms` from now on, and is excused for it.
    pub fn hold_up(&mut self, holder: &HolderId, for_ms: u64) {
        let until = self.now.saturating_add(for_ms);
        let known = self.held_up.entry(holder.clone()).or_default();
        *known = until.max(*known);
    }

    /// Whether a holder has gone on undisturbed since then.
    pub fn undisturbed(&self, holder: &HolderId, since: u64) -> bool {
        self.held_up.get(holder).is_none_or(|until| *until < since)
    }

    /// A replica lags once for a token, and not long before or after another time.
    pub fn may_lag(&self, id: SentId) -> bool {
        let (token, at) = (self.sent[id].token, self.sent[id].at);
        let near = |s: &Sent| s.lagged && s.token == token && at - s.at < 600_000;
        !self.sent.iter().any(near)
    }

    pub fn lagged(&mut self, id: SentId) {
        self.sent[id].lagged = true;
    }

    pub fn wish_began(&mut self, holder: &HolderId, forced: bool) {
        let wishes = self.wishes.entry(holder.clone()).or_default();
        wishes.all += 1;
        wishes.forced += u32::from(forced);
    }

    pub fn wish_ended(&mut self, holder: &HolderId, forced: bool) {
        if let Some(wishes) = self.wishes.get_mut(holder) {
            wishes.all -= 1;
            wishes.forced -= u32::from(forced);
        }
    }

    pub fn wishes(&self, holder: &HolderId) -> Wishes {
        self.wishes.get(holder).copied().unwrap_or_default()
    }
}
