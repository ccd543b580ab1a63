//! What the service knows: its grants, and all that happened, as its own record.
//!
//! A checker believes this and nothing else. No token is in it, not even one that is alive: tokens
//! are kept as SHA-256, and shown by the first [`SHORT_HASH_CHARS`] characters of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use indicia_oauth::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::chance::digest;

/// Characters of a token's SHA-256 (hex) that the record shows.
pub const SHORT_HASH_CHARS: usize = 12;
/// Events that are kept; older ones go. Counters and grants stay whole.
pub const EVENTS_MAX: usize = 100_000;

/// A grant at this service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct GrantId(pub u32);

/// Why a grant ended at the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// A spent refresh token was used again.
    Reuse,
    /// An authorization code was used again (RFC 6749 §4.1.2).
    CodeReuse,
    /// The client took it back.
    Revoked,
    /// The account's owner took it back.
    Owner,
    /// Its refresh token reached the end of its life.
    Aged,
    /// Its refresh token was unused for too long.
    Idle,
}

/// What a refresh gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A new access token, and a new refresh token: the one before it is spent.
    Rotated,
    /// A new access token; the refresh token stays.
    Kept,
    /// The same pair again, within the time in which reuse is forgiven.
    Forgiven,
    /// The same access token again: it was asked for too early.
    TooEarly,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// A login page was shown.
    Authorize {
        /// Which client sent the browser.
        client_id: String,
    },
    /// The account's owner decided.
    Consent {
        /// Which client asked.
        client_id: String,
        /// Whose account.
        account: String,
        /// Yes or no.
        approved: bool,
    },
    /// An authorization code was issued.
    CodeIssued {
        /// To which client.
        client_id: String,
        /// For whose account.
        account: String,
    },
    /// A code was exchanged.
    Exchange {
        /// The grant.
        grant: GrantId,
        /// The token set issued.
        generation: u32,
    },
    /// Codes for a device were issued.
    DeviceAsked {
        /// To which client.
        client_id: String,
    },
    /// A device code was asked with.
    DevicePoll {
        /// By which client.
        client_id: String,
        /// `granted`, or the error code of the answer.
        said: &'static str,
    },
    /// A token was given for client credentials.
    Minted {
        /// The grant.
        grant: GrantId,
        /// The token set issued.
        generation: u32,
    },
    /// A refresh was processed and answered with a token.
    Refresh {
        /// The grant.
        grant: GrantId,
        /// The token set that the answer holds.
        generation: u32,
        /// What it gave.
        outcome: Outcome,
    },
    /// A spent refresh token was used again.
    ReuseDetected {
        /// The grant.
        grant: GrantId,
    },
    /// A grant ended.
    GrantEnded {
        /// The grant.
        grant: GrantId,
        /// Why.
        why: Why,
    },
    /// A revocation was asked for.
    Revoke {
        /// The grant whose token it was; `None`: unknown here.
        grant: Option<GrantId>,
    },
    /// The API was called with a token of this service.
    ApiCall {
        /// The grant; `None`: a token that was never issued here.
        grant: Option<GrantId>,
        /// The token set that the access token belongs to.
        generation: Option<u32>,
        /// Whether the call was let in.
        ok: bool,
    },
    /// A request was refused.
    Refused {
        /// Where: `authorize`, `token`, `refresh`, `revoke`, `api`, …
        at_endpoint: &'static str,
        /// The grant, where one was found.
        grant: Option<GrantId>,
        /// In words.
        why: String,
    },
}

impl What {
    /// Name of its counter.
    const fn name(&self) -> &'static str {
        match self {
            Self::Authorize { .. } => "authorize",
            Self::Consent { .. } => "consent",
            Self::CodeIssued { .. } => "code_issued",
            Self::Exchange { .. } => "exchange",
            Self::DeviceAsked { .. } => "device_asked",
            Self::DevicePoll { .. } => "device_poll",
            Self::Minted { .. } => "minted",
            Self::Refresh { .. } => "refresh",
            Self::ReuseDetected { .. } => "reuse_detected",
            Self::GrantEnded { .. } => "grant_ended",
            Self::Revoke { .. } => "revoke",
            Self::ApiCall { ok: true, .. } => "api_call",
            Self::ApiCall { ok: false, .. } => "api_call_refused",
            Self::Refused { .. } => "refused",
        }
    }
}

/// An event with its time (the service's own clock).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When, in Unix milliseconds.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// One token set that was issued.
#[derive(Clone, Debug, Serialize)]
pub struct Generation {
    /// Number within the grant, from 1.
    pub n: u32,
    /// When it was issued.
    pub at: Timestamp,
    /// The access token's hash.
    #[serde(serialize_with = "short")]
    pub access: String,
    /// When the access token ends by itself; `None`: never.
    pub access_ends: Option<Timestamp>,
    /// When it was ended before that.
    pub access_killed: Option<Timestamp>,
    /// Which refresh token the answer carried or left in force; 0: none.
    pub refresh_n: u32,
}

/// One refresh token that was issued.
#[derive(Clone, Debug, Serialize)]
pub struct RefreshRecord {
    /// Number within the grant, from 1.
    pub n: u32,
    /// The refresh token's hash.
    #[serde(serialize_with = "short")]
    pub hash: String,
    /// When it was issued.
    pub issued: Timestamp,
    /// When it was last used or issued.
    pub used: Timestamp,
    /// When a refresh spent it.
    pub spent: Option<Timestamp>,
    /// The generation that its first use gave.
    pub gave: Option<u32>,
}

/// One refresh that was processed: what a harness needs to tell whether its answer was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RefreshSeen {
    /// When.
    pub at: Timestamp,
    /// The generation that the answer holds.
    pub generation: u32,
    /// What it gave.
    pub outcome: Outcome,
}

/// One grant.
#[derive(Clone, Debug, Serialize)]
pub struct GrantRecord {
    /// Its number.
    pub id: GrantId,
    /// The client that it was given to.
    pub client_id: String,
    /// Name of the account; empty for client credentials.
    pub account: String,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Named inputs that it is bound to (a data centre, a tenant).
    pub inputs: BTreeMap<String, String>,
    /// When it began.
    pub since: Timestamp,
    /// Why and when it ended; `None`: alive.
    pub ended: Option<(Why, Timestamp)>,
    /// Token sets, oldest first.
    pub generations: Vec<Generation>,
    /// Refresh tokens, oldest first. The last one that isn't spent is the live one.
    pub refresh_tokens: Vec<RefreshRecord>,
    /// Refreshes that were processed.
    pub refreshes: Vec<RefreshSeen>,
}

impl GrantRecord {
    /// The newest token set's number; 0: none yet.
    pub fn newest(&self) -> u32 {
        self.generations.last().map_or(0, |g| g.n)
    }

    /// The refresh token that works now.
    pub fn live_refresh(&self) -> Option<&RefreshRecord> {
        self.refresh_tokens.last().filter(|r| r.spent.is_none() && self.ended.is_none())
    }

    /// One token set.
    pub fn generation(&self, n: u32) -> Option<&Generation> {
        self.generations.get(usize::try_from(n).ok()?.checked_sub(1)?)
    }

    pub(crate) fn refresh_mut(&mut self, n: u32) -> Option<&mut RefreshRecord> {
        self.refresh_tokens.get_mut(usize::try_from(n).ok()?.checked_sub(1)?)
    }
}

/// The whole of it.
#[derive(Debug, Default)]
pub struct Record {
    events: VecDeque<Event>,
    counters: BTreeMap<&'static str, u64>,
    grants: Vec<GrantRecord>,
    access: BTreeMap<String, (GrantId, u32)>,
    refresh: BTreeMap<String, (GrantId, u32)>,
}

impl Record {
    /// Events, oldest first; at most [`EVENTS_MAX`].
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }

    /// How many events of a kind there were (`refresh`, `reuse_detected`, `api_call`, …).
    pub fn count(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    /// All grants.
    pub fn grants(&self) -> &[GrantRecord] {
        &self.grants
    }

    /// One grant.
    pub fn grant(&self, grant: GrantId) -> Option<&GrantRecord> {
        self.grants.get(usize::try_from(grant.0).ok()?)
    }

    /// Whether a grant lives.
    pub fn grant_alive(&self, grant: GrantId) -> bool {
        self.grant(grant).is_some_and(|g| g.ended.is_none())
    }

    /// Why a grant ended, if it did.
    pub fn ended_why(&self, grant: GrantId) -> Option<Why> {
        self.grant(grant)?.ended.map(|(why, _)| why)
    }

    /// Refreshes of a grant that were processed and answered with a token, oldest first. An answer
    /// that never arrived is lost for the generation that it names.
    pub fn refreshes(&self, grant: GrantId) -> &[RefreshSeen] {
        self.grant(grant).map_or(&[], |g| &g.refreshes)
    }

    /// Those of a grant's generations that can only have been learnt from an answer that isn't
    /// among the `delivered` ones: lost answers.
    pub fn answers_lost(&self, grant: GrantId, delivered: &[u32]) -> Vec<u32> {
        let seen = self.refreshes(grant).iter().map(|r| r.generation);
        seen.filter(|n| !delivered.contains(n)).collect()
    }

    /// The grant and generation of an access token that was ever issued here.
    pub fn access_token(&self, token: &str) -> Option<(GrantId, u32)> {
        self.access.get(&digest(token)).copied()
    }

    /// The grant and number of a refresh token that was ever issued here.
    pub fn refresh_token(&self, token: &str) -> Option<(GrantId, u32)> {
        self.refresh.get(&digest(token)).copied()
    }

    /// Whether a refresh token would be taken for a fresh one: its grant lives and it isn't spent.
    pub fn is_refresh_token_live(&self, token: &str) -> bool {
        let Some((grant, n)) = self.refresh_token(token) else {
            return false;
        };
        self.grant(grant).and_then(GrantRecord::live_refresh).is_some_and(|live| live.n == n)
    }

    /// Whether the API would let this access token in. `now` is the service's own time.
    pub fn is_access_token_valid(&self, token: &str, now: Timestamp) -> bool {
        let Some((grant, n)) = self.access_token(token) else {
            return false;
        };
        let generation = self.grant(grant).and_then(|g| g.generation(n));
        generation
            .is_some_and(|g| g.access_killed.is_none() && g.access_ends.is_none_or(|e| now < e))
    }

    /// The record as JSON: counters, grants, events. Holds no secret.
    pub fn to_json(&self) -> Value {
        let grants: Vec<Value> = self.grants.iter().map(Self::grant_json).collect();
        json!({ "counters": self.counters, "grants": grants, "events": self.events })
    }

    fn grant_json(grant: &GrantRecord) -> Value {
        let mut value = json!(grant);
        let live = grant.live_refresh().map(|r| shorten(&r.hash));
        if let Value::Object(members) = &mut value {
            members.insert("alive".to_owned(), json!(grant.ended.is_none()));
            members.insert("live_refresh_token".to_owned(), json!(live));
        }
        value
    }

    pub(crate) fn note(&mut self, at: Timestamp, what: What) {
        *self.counters.entry(what.name()).or_default() += 1;
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(Event { at, what });
    }

    pub(crate) fn begin(
        &mut self,
        client_id: &str,
        account: &str,
        scopes: Vec<String>,
        inputs: BTreeMap<String, String>,
        at: Timestamp,
    ) -> GrantId {
        let id = GrantId(u32::try_from(self.grants.len()).unwrap_or(u32::MAX));
        self.grants.push(GrantRecord {
            id,
            client_id: client_id.to_owned(),
            account: account.to_owned(),
            scopes,
            inputs,
            since: at,
            ended: None,
            generations: Vec::new(),
            refresh_tokens: Vec::new(),
            refreshes: Vec::new(),
        });
        id
    }

    pub(crate) fn grant_mut(&mut self, grant: GrantId) -> Option<&mut GrantRecord> {
        self.grants.get_mut(usize::try_from(grant.0).ok()?)
    }

    pub(crate) fn add_access(
        &mut self,
        grant: GrantId,
        token: &str,
        at: Timestamp,
        ends: Option<Timestamp>,
        refresh_n: u32,
    ) -> u32 {
        let hash = digest(token);
        let Some(record) = self.grant_mut(grant) else {
            return 0;
        };
        let n = record.newest() + 1;
        record.generations.push(Generation {
            n,
            at,
            access: hash.clone(),
            access_ends: ends,
            access_killed: None,
            refresh_n,
        });
        self.access.insert(hash, (grant, n));
        n
    }

    pub(crate) fn add_refresh(&mut self, grant: GrantId, token: &str, at: Timestamp) -> u32 {
        let hash = digest(token);
        let Some(record) = self.grant_mut(grant) else {
            return 0;
        };
        let n = record.refresh_tokens.last().map_or(1, |r| r.n + 1);
        record.refresh_tokens.push(RefreshRecord {
            n,
            hash: hash.clone(),
            issued: at,
            used: at,
            spent: None,
            gave: None,
        });
        self.refresh.insert(hash, (grant, n));
        n
    }

    pub(crate) fn kill_access(&mut self, grant: GrantId, at: Timestamp) {
        let generations = self.grant_mut(grant).map(|g| &mut g.generations);
        for generation in generations.into_iter().flatten() {
            generation.access_killed.get_or_insert(at);
        }
    }

    /// Ends a grant with all of its tokens. Ending it twice changes nothing.
    pub(crate) fn end(&mut self, grant: GrantId, why: Why, at: Timestamp) {
        let Some(record) = self.grant_mut(grant).filter(|g| g.ended.is_none()) else {
            return;
        };
        record.ended = Some((why, at));
        self.kill_access(grant, at);
        self.note(at, What::GrantEnded { grant, why });
    }

    /// Ends one access token.
    pub(crate) fn kill_one_access(&mut self, grant: GrantId, n: u32, at: Timestamp) {
        let generations = self.grant_mut(grant).map(|g| &mut g.generations);
        for generation in generations.into_iter().flatten().filter(|g| g.n == n) {
            generation.access_killed.get_or_insert(at);
        }
    }

    /// Ends a grant and leaves its access tokens to end by themselves.
    pub(crate) fn end_refresh_only(&mut self, grant: GrantId, why: Why, at: Timestamp) {
        let Some(record) = self.grant_mut(grant).filter(|g| g.ended.is_none()) else {
            return;
        };
        record.ended = Some((why, at));
        self.note(at, What::GrantEnded { grant, why });
    }

    /// How many token requests were granted to a grant in the `window` up to `now`.
    pub(crate) fn minted_within(&self, grant: GrantId, window: Duration, now: Timestamp) -> usize {
        let since = now.minus(window);
        let generations = self.grant(grant).map_or(&[][..], |g| &g.generations);
        generations.iter().rev().take_while(|g| g.at > since).count()
    }
}

fn shorten(hash: &str) -> &str {
    hash.get(..SHORT_HASH_CHARS).unwrap_or(hash)
}

fn short<S: Serializer>(hash: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(shorten(hash))
}
