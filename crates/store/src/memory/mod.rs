//! A store in memory, for the simulation and for examples: one shared state, many holders.
//!
//! What would surprise: it is deterministic. It has no randomness, no thread and no clock of its
//! own, and each call is done when its future is first polled; delays and failures are for whoever
//! wraps it.

mod copy;
mod grants;
mod state;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use indicia_broker::model::{
    ClientId, ClientRow, ConnectionId, ConnectionRow, Event, EventRow, FlowRow, GrantId, GrantRow,
    GrantState, HolderId, Intent, JournalId, RevocationItem, RevocationRow, TakenFlow,
};
use indicia_broker::ports::{
    ClaimOutcome, Clock, CommitOutcome, ConnectOutcome, ConnectionFilter, ForgetOutcome, NewTokens,
    REPLACED_BYTES, Settlement, Store, StoreError, StoreIdentity, TakenFlows,
};
use indicia_broker::vault::{DataKeyRow, Fingerprint, KeyId, Sealed};
use indicia_oauth::Timestamp;

pub use copy::Snapshot;
pub use state::CommitRecord;
use state::State;

/// A store in memory that several simulated hosts share.
#[derive(Clone)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
}

impl Memory {
    /// An empty store; leases end by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { state: Arc::default(), clock }
    }

    /// The store as one holder sees it. A restarted host is a new holder.
    pub fn handle(&self, holder: HolderId) -> Arc<dyn Store> {
        Arc::new(Handle { memory: self.clone(), holder })
    }

    /// Marks a holder as dead: its leases end at once.
    pub fn kill(&self, holder: &HolderId) {
        self.with(|state| state.kill(holder));
    }

    /// All grants, by id: for checkers.
    pub fn grant_rows(&self) -> Vec<GrantRow> {
        self.with(|state| state.grant_rows())
    }

    /// All commits of token sets, oldest first: for checkers.
    pub fn commits(&self) -> Vec<CommitRecord> {
        self.with(|state| state.commits.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        // A checker that panics inside must not turn every later call into a panic of its own.
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Handle {
    memory: Memory,
    holder: HolderId,
}

impl Handle {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        self.memory.with(act)
    }

    fn boot_ms(&self) -> u64 {
        self.memory.clock.boot_millis()
    }
}

#[async_trait]
impl Store for Handle {
    fn holder(&self) -> HolderId {
        self.holder.clone()
    }

    async fn identity(&self) -> Result<StoreIdentity, StoreError> {
        let here = || "memory".to_owned();
        Ok(self.with(|state| StoreIdentity {
            id: here(),
            place_then: if state.put_back { "put back from a copy".to_owned() } else { here() },
            place_now: here(),
            taken_over_at: state.taken_over_at,
        }))
    }

    async fn take_over(&self, events: Vec<Event>) -> Result<(), StoreError> {
        let now = self.memory.clock.now();
        self.with(|state| {
            state.taken_over_at = Some(now);
            state.put_back = false;
            state.changed(events)
        })
    }

    async fn change_number(&self) -> Result<u64, StoreError> {
        Ok(self.with(|state| state.change_number))
    }

    async fn data_keys(&self) -> Result<Vec<DataKeyRow>, StoreError> {
        Ok(self.with(|state| state.data_keys()))
    }

    async fn add_data_key(&self, row: DataKeyRow) -> Result<bool, StoreError> {
        Ok(self.with(|state| state.add_data_key(row)))
    }

    async fn rewrap_data_keys(
        &self,
        rows: Vec<DataKeyRow>,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        self.with(|state| state.rewrap_data_keys(rows, events))
    }

    async fn remove_data_key(&self, id: KeyId, events: Vec<Event>) -> Result<bool, StoreError> {
        self.with(|state| state.remove_data_key(id, events))
    }

    async fn sealed_before(
        &self,
        key: KeyId,
        after: Option<&GrantId>,
        limit: usize,
    ) -> Result<Vec<GrantRow>, StoreError> {
        Ok(self.with(|state| state.sealed_before(key, after, limit)))
    }

    async fn reseal(&self, sealed: Vec<(GrantId, u64, Sealed)>) -> Result<u64, StoreError> {
        Ok(self.with(|state| state.reseal(sealed)))
    }

    async fn add_client(&self, row: ClientRow, events: Vec<Event>) -> Result<bool, StoreError> {
        self.with(|state| state.add_client(row, events))
    }

    async fn client(&self, id: &ClientId) -> Result<Option<ClientRow>, StoreError> {
        Ok(self.with(|state| state.clients.get(id).cloned()))
    }

    async fn clients(&self) -> Result<Vec<ClientRow>, StoreError> {
        Ok(self.with(|state| state.clients.values().cloned().collect()))
    }

    async fn update_client(&self, row: ClientRow, events: Vec<Event>) -> Result<bool, StoreError> {
        self.with(|state| state.update_client(row, events))
    }

    async fn remove_client(
        &self,
        id: &ClientId,
        events: Vec<Event>,
    ) -> Result<Option<u64>, StoreError> {
        self.with(|state| state.remove_client(id, events))
    }

    async fn add_flow(&self, row: FlowRow) -> Result<(), StoreError> {
        self.with(|state| state.add_flow(row))
    }

    async fn take_flow(
        &self,
        state_hash: &str,
        journal: &JournalId,
        now: Timestamp,
    ) -> Result<TakenFlow, StoreError> {
        Ok(self.with(|state| state.take_flow(state_hash, journal, now)))
    }

    async fn flow(&self, state_hash: &str) -> Result<Option<FlowRow>, StoreError> {
        Ok(self.with(|state| state.flows.get(state_hash).cloned()))
    }

    async fn remove_flow(&self, state_hash: &str) -> Result<(), StoreError> {
        self.with(|state| state.remove_flow(state_hash));
        Ok(())
    }

    async fn purge_flows(
        &self,
        expired_before: Timestamp,
        taken_before: Timestamp,
    ) -> Result<u64, StoreError> {
        Ok(self.with(|state| state.purge_flows(expired_before, taken_before)))
    }

    async fn stale_flows(
        &self,
        journal: &JournalId,
        expired: (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<Vec<(Timestamp, String)>, StoreError> {
        Ok(self.with(|state| state.stale_flows(journal, expired, limit)))
    }

    async fn connect(
        &self,
        connection: ConnectionRow,
        grant: GrantRow,
        flow: Option<&str>,
        events: Vec<Event>,
    ) -> Result<ConnectOutcome, StoreError> {
        self.with(|state| state.connect(connection, grant, flow, events))
    }

    async fn join(
        &self,
        connection: ConnectionRow,
        flow: Option<&str>,
        events: Vec<Event>,
    ) -> Result<ConnectOutcome, StoreError> {
        self.with(|state| state.join(connection, flow, events))
    }

    async fn reconnect(
        &self,
        connection: ConnectionRow,
        grant: GrantRow,
        flow: Option<&str>,
        events: Vec<Event>,
    ) -> Result<ConnectOutcome, StoreError> {
        self.with(|state| state.reconnect(connection, grant, flow, events))
    }

    async fn label(&self, connection: ConnectionRow) -> Result<bool, StoreError> {
        Ok(self.with(|state| state.label(connection)))
    }

    async fn connection(
        &self,
        id: &ConnectionId,
    ) -> Result<Option<(ConnectionRow, GrantRow)>, StoreError> {
        Ok(self.with(|state| state.connection(id)))
    }

    async fn connections(
        &self,
        filter: &ConnectionFilter,
        after: Option<&ConnectionId>,
        limit: usize,
    ) -> Result<Vec<(ConnectionRow, GrantRow)>, StoreError> {
        Ok(self.with(|state| state.connections(filter, after, limit)))
    }

    async fn forget(
        &self,
        id: &ConnectionId,
        grant: &GrantId,
        taken: TakenFlows,
        events: Vec<Event>,
    ) -> Result<ForgetOutcome, StoreError> {
        self.with(|state| state.forget(id, grant, taken, events))
    }

    async fn grant(&self, id: &GrantId) -> Result<Option<GrantRow>, StoreError> {
        Ok(self.with(|state| state.grant(id)))
    }

    async fn grant_of_account(
        &self,
        client: &ClientId,
        account_id: &str,
    ) -> Result<Option<GrantRow>, StoreError> {
        Ok(self.with(|state| state.grant_of_account(client, account_id)))
    }

    async fn grant_of_refresh_token(
        &self,
        client: &ClientId,
        refresh: &Fingerprint,
    ) -> Result<Option<GrantRow>, StoreError> {
        Ok(self.with(|state| state.grant_of_refresh_token(client, refresh)))
    }

    async fn has_had(
        &self,
        grant: &GrantId,
        fingerprint: &Fingerprint,
    ) -> Result<bool, StoreError> {
        Ok(self.with(|state| state.has_had(grant, fingerprint)))
    }

    async fn replaced_tokens(&self) -> Result<BTreeSet<[u8; REPLACED_BYTES]>, StoreError> {
        Ok(self.with(|state| state.replaced_tokens()))
    }

    async fn grants_by_fingerprint(
        &self,
        fingerprint: &Fingerprint,
    ) -> Result<Vec<GrantRow>, StoreError> {
        Ok(self.with(|state| state.grants_by_fingerprint(fingerprint)))
    }

    async fn claim(&self, grant: &GrantId, lease: Duration) -> Result<ClaimOutcome, StoreError> {
        let now_ms = self.boot_ms();
        Ok(self.with(|state| state.claim(grant, &self.holder, lease, now_ms)))
    }

    async fn renew(
        &self,
        grant: &GrantId,
        lease_no: u64,
        lease: Duration,
    ) -> Result<Option<u64>, StoreError> {
        let now_ms = self.boot_ms();
        Ok(self.with(|state| state.renew(grant, lease_no, lease, now_ms)))
    }

    async fn begin(&self, grant: &GrantId, intent: Intent) -> Result<bool, StoreError> {
        let now_ms = self.boot_ms();
        Ok(self.with(|state| state.begin(grant, intent, now_ms)))
    }

    async fn commit(
        &self,
        grant: &GrantId,
        from_version: u64,
        lease_no: Option<u64>,
        new: NewTokens,
        events: Vec<Event>,
    ) -> Result<CommitOutcome, StoreError> {
        let record = CommitRecord {
            grant: grant.clone(),
            from_version,
            to_version: new.version,
            holder: self.holder.clone(),
            boot_ms: self.boot_ms(),
        };
        self.with(|state| state.commit(record, lease_no, new, events))
    }

    async fn settle(
        &self,
        grant: &GrantId,
        lease_no: u64,
        version: u64,
        change: Settlement,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        self.with(|state| state.settle(grant, lease_no, version, change, events))
    }

    async fn reject(
        &self,
        grant: &GrantId,
        version: u64,
        now: Timestamp,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        self.with(|state| state.reject(grant, version, now, events))
    }

    async fn release(&self, grant: &GrantId, lease_no: u64) -> Result<(), StoreError> {
        self.with(|state| state.release(grant, lease_no));
        Ok(())
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<GrantId>, StoreError> {
        let now_ms = self.boot_ms();
        Ok(self.with(|state| state.due(now, now_ms, limit)))
    }

    async fn open_intents(&self, limit: usize) -> Result<Vec<GrantId>, StoreError> {
        Ok(self.with(|state| state.open_intents(limit)))
    }

    async fn revoke(
        &self,
        grants: &[GrantId],
        state: GrantState,
        revocation: RevocationRow,
        events: Vec<Event>,
    ) -> Result<(), StoreError> {
        self.with(|held| held.revoke(grants, &state, revocation, events))
    }

    async fn revocation(&self, id: &str) -> Result<Option<RevocationRow>, StoreError> {
        Ok(self.with(|state| state.revocations.get(id).cloned()))
    }

    async fn revoked_item(&self, grant: &GrantId) -> Result<Option<RevocationItem>, StoreError> {
        Ok(self.with(|state| {
            let items = state.revocations.values().flat_map(|row| &row.items);
            items.filter(|item| item.grant == *grant).max_by_key(|item| item.newest()).cloned()
        }))
    }

    async fn revocations_due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<RevocationRow>, StoreError> {
        Ok(self.with(|state| state.revocations_due(now, limit)))
    }

    async fn update_revocation(
        &self,
        row: RevocationRow,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        self.with(|state| state.update_revocation(row, events))
    }

    async fn last_event(&self) -> Result<u64, StoreError> {
        Ok(self.with(|state| state.last_event()))
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<EventRow>, StoreError> {
        Ok(self.with(|state| state.events(after, limit)))
    }
}
