//! The port to where rows are kept, with what it takes and answers. Every store passes the suite of
//! `indicia_store::conformance`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use indicia_oauth::Timestamp;
use thiserror::Error;

use crate::model::{
    Account, ClientId, ClientRow, ConnectionId, ConnectionRow, Event, EventRow, FlowRow, GrantId,
    GrantRow, GrantState, HolderId, Intent, JournalId, RevocationItem, RevocationRow, TakenFlow,
    TokenFacts,
};
use crate::vault::{DataKeyRow, Fingerprint, KeyId, Sealed};

/// Why a store can't do what was asked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{detail}")]
pub struct StoreError {
    /// Which kind.
    pub kind: StoreErrorKind,
    /// What happened, for people; no secret.
    pub detail: String,
    /// True when the effect may have happened all the same (an answer lost at commit).
    pub maybe_done: bool,
}

impl StoreError {
    /// Not now; nothing took effect.
    pub fn unavailable(detail: &str) -> Self {
        Self { kind: StoreErrorKind::Unavailable, detail: detail.to_owned(), maybe_done: false }
    }
}

/// Kinds of store failure that a caller treats differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Another program holds it.
    Locked,
    /// No space left.
    Full,
    /// Can't be written: read-only file system or rights.
    ReadOnly,
    /// Made by a newer Indicia.
    Newer,
    /// On a network file system, which can't keep its promises.
    NetworkFileSystem,
    /// Can't be read: not a store, damaged, or no rights.
    Unreadable,
    /// Anything else for now: tried again.
    Unavailable,
}

/// What a claim gave.
#[derive(Clone, Debug)]
pub enum ClaimOutcome {
    /// The lease is ours; the row was read after it became ours.
    Claimed(Box<ClaimedRow>),
    /// Somebody else's until then ([`super::Clock::boot_millis`]), unless its holder is found dead.
    Busy {
        /// End of that lease.
        until_boot_ms: u64,
    },
    /// No such grant.
    Missing,
}

/// A claimed grant.
#[derive(Clone, Debug)]
pub struct ClaimedRow {
    /// The row, its lease ours.
    pub grant: GrantRow,
    /// The fence: rises with each claim of this grant.
    pub lease_no: u64,
    /// End of our lease.
    pub until_boot_ms: u64,
}

/// A token set to commit.
#[derive(Clone, Debug)]
pub struct NewTokens {
    /// The version that it becomes: the one it started from and one more, or higher where a journal
    /// knows of more than the store does.
    pub version: u64,
    /// Sealed for that version.
    pub tokens: Sealed,
    /// What may be known of it.
    pub facts: TokenFacts,
    /// What it leaves behind.
    pub state: GrantState,
    /// When it is due.
    pub next_at: Option<Timestamp>,
    /// Inputs, as they are from now on.
    pub inputs: BTreeMap<String, String>,
    /// Account, as known from now on.
    pub account: Option<Account>,
    /// Scopes asked for, where this commit changes them (a reconnect).
    pub asked: Option<Vec<String>>,
    /// The taken flow whose consent this is: ended by this commit ([`Store::take_flow`]).
    pub flow: Option<String>,
}

/// What a commit did.
#[derive(Clone, Debug)]
pub enum CommitOutcome {
    /// Stored as the version that it was to become.
    Done,
    /// The grant had moved on: nothing was written; this is how it stands.
    Superseded(Box<GrantRow>),
    /// The grant was revoked: nothing was written.
    Revoked,
    /// No such grant: nothing was written.
    Missing,
    /// Its flow had ended, or the grant has a newer consent: nothing was written.
    FlowEnded,
    /// Its connection was taken back after its flow was taken: nothing was written. Told before
    /// anything else.
    FlowRevoked,
}

/// What making or moving a connection did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectOutcome {
    /// It is there.
    Done,
    /// A connection of this id is there already: nothing was written.
    IdTaken,
    /// There is no such connection to be moved: nothing was written.
    Missing,
    /// The flow that it comes from had ended, or the grant before has a newer consent: nothing was
    /// written.
    FlowEnded,
    /// Its connection was taken back after its flow was taken: nothing was written. Told before
    /// anything else.
    FlowRevoked,
}

/// What forgetting a connection did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForgetOutcome {
    /// It is gone.
    Done,
    /// There is no such connection.
    Missing,
    /// It has another grant: nothing was written.
    Moved,
}

/// What becomes of the taken flows of a connection that is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakenFlows {
    /// They end: what comes of them is dropped.
    End,
    /// They are marked: what comes of them is taken back ([`FlowRow::revoked`]).
    Revoke,
}

/// So much of a replaced token's fingerprint is kept.
pub const REPLACED_BYTES: usize = 8;

/// Which connections.
#[derive(Clone, Debug, Default)]
pub struct ConnectionFilter {
    /// Of this client.
    pub client: Option<ClientId>,
    /// Of these clients (a service's); an empty list matches none.
    pub clients: Option<Vec<ClientId>>,
    /// With this label.
    pub label: Option<(String, String)>,
    /// Of this grant.
    pub grant: Option<GrantId>,
}

/// Whose store this is, to be recognised after a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreIdentity {
    /// Random, made with the store.
    pub id: String,
    /// What the place of the store looked like when it was made or taken over (inode, birth time).
    pub place_then: String,
    /// What it looks like now.
    pub place_now: String,
    /// When it was last taken over as a copy ([`Store::take_over`]).
    pub taken_over_at: Option<Timestamp>,
}

/// Where rows are kept, and who arbitrates. Sees [`Sealed`] bytes only.
///
/// Each method is atomic and durable when it returns `Ok`. An error with `maybe_done` may have
/// taken effect; callers find out by reading. A lease alone may be forgotten when the machine loses
/// its power, since it ends with that boot anyway; what is written after it takes it along. Leases
/// end by [`super::Clock::boot_millis`] or at once when
/// their holder is known to be dead. `events` are appended in the same transaction as what they
/// tell.
#[async_trait]
pub trait Store: Send + Sync {
    /// Who claims through this handle.
    fn holder(&self) -> HolderId;

    /// Which store it is.
    async fn identity(&self) -> Result<StoreIdentity, StoreError>;

    /// Records where the store lies now as its place.
    async fn take_over(&self, events: Vec<Event>) -> Result<(), StoreError>;

    /// A number that rises with every change by anyone, for caches. Cheap.
    async fn change_number(&self) -> Result<u64, StoreError>;

    /// All data keys, oldest first.
    async fn data_keys(&self) -> Result<Vec<DataKeyRow>, StoreError>;

    /// Adds a data key; `false` when its number is taken (somebody was faster): nothing written.
    async fn add_data_key(&self, row: DataKeyRow) -> Result<bool, StoreError>;

    /// Puts these in the place of the data keys of their numbers, if those are all that there are;
    /// `false` otherwise: nothing written.
    async fn rewrap_data_keys(
        &self,
        rows: Vec<DataKeyRow>,
        events: Vec<Event>,
    ) -> Result<bool, StoreError>;

    /// Removes a data key that seals nothing here any more; `false` when it still does, or isn't
    /// there.
    async fn remove_data_key(&self, id: KeyId, events: Vec<Event>) -> Result<bool, StoreError>;

    /// Grants after `after`, by id, whose token set is sealed with an older data key than this; at
    /// most `limit`.
    async fn sealed_before(
        &self,
        key: KeyId,
        after: Option<&GrantId>,
        limit: usize,
    ) -> Result<Vec<GrantRow>, StoreError>;

    /// Puts another sealing of the same token set in its place, where the grant is still at that
    /// version; how many.
    async fn reseal(&self, sealed: Vec<(GrantId, u64, Sealed)>) -> Result<u64, StoreError>;

    /// Adds a client; `false` when the id is taken.
    async fn add_client(&self, row: ClientRow, events: Vec<Event>) -> Result<bool, StoreError>;

    /// One client.
    async fn client(&self, id: &ClientId) -> Result<Option<ClientRow>, StoreError>;

    /// All clients, by id.
    async fn clients(&self) -> Result<Vec<ClientRow>, StoreError>;

    /// Replaces a client if its stored revision is `row.revision - 1`; `false` otherwise.
    async fn update_client(&self, row: ClientRow, events: Vec<Event>) -> Result<bool, StoreError>;

    /// Removes a client without connections; `Ok(Some(n))`: it has `n` connections, nothing done;
    /// `Ok(None)`: removed, or it wasn't there.
    async fn remove_client(
        &self,
        id: &ClientId,
        events: Vec<Event>,
    ) -> Result<Option<u64>, StoreError>;

    /// Adds a pending flow. An error when one of this state is there, used or not, or its client
    /// isn't: nothing written.
    async fn add_flow(&self, row: FlowRow) -> Result<(), StoreError>;

    /// Takes a pending flow once: exactly one caller gets [`TakenFlow::Taken`]; the row is marked
    /// used, by `journal`, at `now`, and numbered in the order in which this store's flows are
    /// taken: clocks jump, the order of consents must not.
    ///
    /// A taken flow ends, once, with the write that stores its consent (`flow` of
    /// [`Self::connect`], [`Self::reconnect`], [`NewTokens`]); with it end those of its connection
    /// that were taken before it, and all of them when the connection is forgotten, but for those
    /// that were revoked. A grant remembers the number of its newest consent: an older one isn't
    /// stored over it, whichever connection it was given for. So whatever the clocks say, no
    /// consent is stored twice, or over a newer one.
    async fn take_flow(
        &self,
        state_hash: &str,
        journal: &JournalId,
        now: Timestamp,
    ) -> Result<TakenFlow, StoreError>;

    /// A flow, used or not, without taking it.
    async fn flow(&self, state_hash: &str) -> Result<Option<FlowRow>, StoreError>;

    /// Removes a flow: its grant is stored, or it ended long ago.
    async fn remove_flow(&self, state_hash: &str) -> Result<(), StoreError>;

    /// Removes flows that nobody took, and nobody could any more at `expired_before`, and those
    /// that were taken and could not be any more at `taken_before`; how many.
    async fn purge_flows(
        &self,
        expired_before: Timestamp,
        taken_before: Timestamp,
    ) -> Result<u64, StoreError>;

    /// Flows that were taken by this journal and ended between these two times, by that end, at
    /// most `limit`: end and state hash.
    async fn stale_flows(
        &self,
        journal: &JournalId,
        expired: (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<Vec<(Timestamp, String)>, StoreError>;

    /// Makes a connection with a grant of its own (version 1). An error when the client isn't
    /// there, or a grant of this id is: nothing written.
    async fn connect(
        &self,
        connection: ConnectionRow,
        grant: GrantRow,
        flow: Option<&str>,
        events: Vec<Event>,
    ) -> Result<ConnectOutcome, StoreError>;

    /// Makes a connection that joins a grant which is there; an error when it (or the client)
    /// isn't. Its flow goes on until its token set is stored, too.
    async fn join(
        &self,
        connection: ConnectionRow,
        flow: Option<&str>,
        events: Vec<Event>,
    ) -> Result<ConnectOutcome, StoreError>;

    /// Points a connection that is there at a new grant (which is added), in one step; the grant
    /// before goes when no other connection points to it and no revocation waits for it, or as soon
    /// as that is so. An error when a grant of this id is there.
    async fn reconnect(
        &self,
        connection: ConnectionRow,
        grant: GrantRow,
        flow: Option<&str>,
        events: Vec<Event>,
    ) -> Result<ConnectOutcome, StoreError>;

    /// Replaces labels and time of a connection that is there, whatever its grant is by now;
    /// `false` when it isn't.
    async fn label(&self, connection: ConnectionRow) -> Result<bool, StoreError>;

    /// A connection with its grant.
    async fn connection(
        &self,
        id: &ConnectionId,
    ) -> Result<Option<(ConnectionRow, GrantRow)>, StoreError>;

    /// Connections after `after`, by id, at most `limit`.
    async fn connections(
        &self,
        filter: &ConnectionFilter,
        after: Option<&ConnectionId>,
        limit: usize,
    ) -> Result<Vec<(ConnectionRow, GrantRow)>, StoreError>;

    /// Removes a connection that has this grant; the grant too when no other connection points to
    /// it.
    async fn forget(
        &self,
        id: &ConnectionId,
        grant: &GrantId,
        taken: TakenFlows,
        events: Vec<Event>,
    ) -> Result<ForgetOutcome, StoreError>;

    /// One grant.
    async fn grant(&self, id: &GrantId) -> Result<Option<GrantRow>, StoreError>;

    /// A living grant of this client for this account.
    async fn grant_of_account(
        &self,
        client: &ClientId,
        account_id: &str,
    ) -> Result<Option<GrantRow>, StoreError>;

    /// A grant of this client, not revoked, that holds this very refresh token and never had
    /// another: some services give the same one with each consent.
    async fn grant_of_refresh_token(
        &self,
        client: &ClientId,
        refresh: &Fingerprint,
    ) -> Result<Option<GrantRow>, StoreError>;

    /// Whether a grant's access or refresh token has this fingerprint: of the current version or,
    /// at least, of the nine before it.
    async fn has_had(&self, grant: &GrantId, fingerprint: &Fingerprint)
    -> Result<bool, StoreError>;

    /// The first [`REPLACED_BYTES`] of the fingerprints of tokens that were replaced, of at least
    /// so many versions as [`Self::has_had`] knows. Looks at every grant: for an import of many.
    async fn replaced_tokens(&self) -> Result<BTreeSet<[u8; REPLACED_BYTES]>, StoreError>;

    /// Grants, by id, of which [`Self::has_had`] is true. May look at every grant: it is for what
    /// leaked.
    async fn grants_by_fingerprint(
        &self,
        fingerprint: &Fingerprint,
    ) -> Result<Vec<GrantRow>, StoreError>;

    /// Takes the lease for `lease` if it is free, ended, its holder dead, or — never — our own: a
    /// second claim by the same holder is [`ClaimOutcome::Busy`] too. The row is read after.
    async fn claim(&self, grant: &GrantId, lease: Duration) -> Result<ClaimOutcome, StoreError>;

    /// Prolongs a lease that is still `lease_no`'s and not ended; the new end, or `None`: lost.
    async fn renew(
        &self,
        grant: &GrantId,
        lease_no: u64,
        lease: Duration,
    ) -> Result<Option<u64>, StoreError>;

    /// Writes the intent; `false` when the lease is lost or has ended, the version is another one,
    /// or the grant was revoked.
    async fn begin(&self, grant: &GrantId, intent: Intent) -> Result<bool, StoreError>;

    /// Stores a token set as its version, if the grant is still at `from_version`, whoever holds
    /// the lease: the version is the fence. Clears the intent; ends the lease if it is
    /// `lease_no`'s.
    async fn commit(
        &self,
        grant: &GrantId,
        from_version: u64,
        lease_no: Option<u64>,
        new: NewTokens,
        events: Vec<Event>,
    ) -> Result<CommitOutcome, StoreError>;

    /// Records what an outcome left behind, under the lease and at this version, and ends the
    /// lease. `clear_intent`: the outcome was definite. `false` when the lease or version moved on;
    /// a lease whose time has passed is still ours while nobody else claimed. A revoked grant stays
    /// as it is: `false` too, though the lease ends and the intent is cleared as told.
    async fn settle(
        &self,
        grant: &GrantId,
        lease_no: u64,
        version: u64,
        change: Settlement,
        events: Vec<Event>,
    ) -> Result<bool, StoreError>;

    /// Marks the access token of this version as refused by the API; `false` when the version
    /// moved. It counts as ended, so what waits for its end (an open ambiguity) is due `now`.
    async fn reject(
        &self,
        grant: &GrantId,
        version: u64,
        now: Timestamp,
        events: Vec<Event>,
    ) -> Result<bool, StoreError>;

    /// Ends the lease if it is `lease_no`'s.
    async fn release(&self, grant: &GrantId, lease_no: u64) -> Result<(), StoreError>;

    /// Grants whose `next_at` has come and whose lease is free, most overdue first: work is
    /// proportional to what is due.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<GrantId>, StoreError>;

    /// Grants with an open intent that were not revoked, by id.
    async fn open_intents(&self, limit: usize) -> Result<Vec<GrantId>, StoreError>;

    /// Marks grants as revoked, and the flows that were taken by then for their connections
    /// ([`FlowRow::revoked`]), and queues their calls, in one step. Of `state` only life and reason
    /// are taken; the grants are due no more; lease, intent and version are untouched. Grants that
    /// aren't there are passed over. An error when a revocation of this id is there.
    async fn revoke(
        &self,
        grants: &[GrantId],
        state: GrantState,
        revocation: RevocationRow,
        events: Vec<Event>,
    ) -> Result<(), StoreError>;

    /// A revocation.
    async fn revocation(&self, id: &str) -> Result<Option<RevocationRow>, StoreError>;

    /// Revocations whose `next_at` has come.
    async fn revocations_due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<RevocationRow>, StoreError>;

    /// Of what was queued to take this grant back, if anything ever was, that of its newest
    /// version, and of that what is pending ([`RevocationItem::newest`]): the grant may be gone.
    async fn revoked_item(&self, grant: &GrantId) -> Result<Option<RevocationItem>, StoreError>;

    /// Replaces a revocation if its stored revision is `row.revision - 1`; `false` otherwise.
    async fn update_revocation(
        &self,
        row: RevocationRow,
        events: Vec<Event>,
    ) -> Result<bool, StoreError>;

    /// Number of the newest event; 0 when there is none.
    async fn last_event(&self) -> Result<u64, StoreError>;

    /// Events after `after`, in order.
    async fn events(&self, after: u64, limit: usize) -> Result<Vec<EventRow>, StoreError>;
}

/// What [`Store::settle`] writes.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The new state.
    pub state: GrantState,
    /// When it is due.
    pub next_at: Option<Timestamp>,
    /// Remove the intent.
    pub clear_intent: bool,
    /// The API takes the access token after all: it counts as refused no longer.
    pub clear_rejected: bool,
}
