//! The only ways out: traits whose methods are promises. They take and return plain data; nothing
//! here can make a claim, a spend or a committed token (those are [`crate::commit`]'s).

mod store;

use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use indicia_oauth::{Answer, Request, Timestamp};
use thiserror::Error;

use crate::model::JournalId;
use crate::vault::{Fingerprint, Sealed};

pub use store::{
    ClaimOutcome, ClaimedRow, CommitOutcome, ConnectOutcome, ConnectionFilter, ForgetOutcome,
    NewTokens, REPLACED_BYTES, Settlement, Store, StoreError, StoreErrorKind, StoreIdentity,
    TakenFlows,
};

/// What became of a request.
pub enum Sent {
    /// A whole head came back; the body may be cut ([`Answer::complete`]).
    Answer(Answer),
    /// No byte of the request was handed over.
    NotSent(String),
    /// At least one byte was; no usable head came back.
    MaybeSent(String),
}

/// The network, for requests that may spend something. Never re-sends, never follows a redirect.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends once. `may_write` is asked immediately before the first byte is written: when it says
    /// no, the answer is [`Sent::NotSent`].
    async fn send(&self, request: Request, may_write: &(dyn Fn() -> bool + Sync)) -> Sent;
}

/// Two clocks.
pub trait Clock: Send + Sync {
    /// Wall clock: for expiry.
    fn now(&self) -> Timestamp;
    /// Milliseconds since the machine booted, sleep included; never jumps: for leases and ages.
    fn boot_millis(&self) -> u64;
}

/// Unguessable bytes.
pub trait Random: Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The root key, wherever it is: wraps and unwraps data keys.
#[async_trait]
pub trait RootKey: Send + Sync {
    /// Wraps a data key; `context` is bound to it.
    async fn wrap(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, RootKeyError>;
    /// Unwraps it.
    async fn unwrap(
        &self,
        context: &[u8],
        wrapped: &[u8],
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, RootKeyError>;
}

/// Why a root key didn't work.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RootKeyError {
    /// It is another key.
    #[error("another key wrapped this")]
    Wrong,
    /// It can't be had.
    #[error("{0}")]
    Unavailable(String),
}

/// A place in the journal that is surely free: header and largest body fit.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotNo(pub u64);

/// A kept answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Grant id, or the state hash of a flow.
    pub of: String,
    /// Version that was spent from; 0 for a flow.
    pub version: u64,
    /// What was spent.
    pub fingerprint: Fingerprint,
    /// When the request was sent.
    pub sent_at: Timestamp,
    /// The raw answer, sealed ([`crate::vault::Field::Answer`]).
    pub answer: Sealed,
}

/// Why the journal failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct JournalError(pub String);

/// The sealed local log of answers.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Which journal it is (of which home).
    fn id(&self) -> JournalId;

    /// Takes a free slot; an error means: no spend.
    async fn reserve(&self) -> Result<SlotNo, JournalError>;

    /// Keeps an answer durably in a reserved slot (an entry of the same grant that is older is
    /// superseded).
    async fn keep(&self, slot: SlotNo, entry: JournalEntry) -> Result<(), JournalError>;

    /// Gives a slot back unused.
    async fn give_back(&self, slot: SlotNo);

    /// Entries that are kept: those of this grant or flow, or all.
    async fn entries(&self, of: Option<&str>) -> Result<Vec<JournalEntry>, JournalError>;

    /// Notes that the entry of `of` at `version` is stored; it stays for 7 days from `now`.
    async fn committed(&self, of: &str, version: u64, now: Timestamp) -> Result<(), JournalError>;
}

/// A task that outlives its caller.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where tasks are started.
pub trait Spawn: Send + Sync {
    /// Starts a task.
    fn spawn(&self, task: Task);
}
