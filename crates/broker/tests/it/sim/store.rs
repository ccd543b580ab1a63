//! The memory store as a host reaches it: each call takes time, may fail before it took effect or
//! after, and tells the books what took effect.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use indicia_broker::model::{
    ClientId, ClientRow, ConnectionId, ConnectionRow, Event, EventRow, FlowRow, GrantId, GrantRow,
    GrantState, HolderId, Intent, JournalId, RevocationItem, RevocationRow, TakenFlow,
};
use indicia_broker::ports::{
    ClaimOutcome, ClaimedRow, CommitOutcome, ConnectOutcome, ConnectionFilter, ForgetOutcome,
    NewTokens, REPLACED_BYTES, Settlement, Store, StoreError, StoreErrorKind, StoreIdentity,
    TakenFlows,
};
use indicia_broker::vault::{DataKeyRow, Fingerprint, KeyId, Sealed};
use indicia_oauth::Timestamp;

use super::host::{Host, Step};

pub struct SimStore {
    pub host: Arc<Host>,
    pub inner: Arc<dyn Store>,
}

fn failed(detail: &str, maybe_done: bool) -> StoreError {
    StoreError { kind: StoreErrorKind::Unavailable, detail: detail.to_owned(), maybe_done }
}

impl SimStore {
    async fn before(&self, call: &str, step: Step) -> Result<(), StoreError> {
        self.host.pass(call, step).await;
        let world = &self.host.world;
        if world.is_store_down() {
            self.host.failed();
            return Err(failed("the store is away", false));
        }
        if world.stormy_chance(world.plan.faults.store_before) {
            self.host.failed();
            world.tell(&format!("{} store: {call} failed before", self.host.name()));
            return Err(failed("it failed before it took effect", world.draw(|r| r.chance(3_000))));
        }
        Ok(())
    }

    async fn after(&self, call: &str, step: Step) -> Result<(), StoreError> {
        let world = &self.host.world;
        if world.stormy_chance(world.plan.faults.store_after) {
            self.host.failed();
            world.tell(&format!("{} store: {call} failed after", self.host.name()));
            self.host.pass(call, step).await;
            return Err(failed("its answer was lost", true));
        }
        if step == Step::Spend {
            self.host.pass(call, step).await;
        }
        Ok(())
    }

    /// Single flight stands in for a lease that is a host's: a second claim by it passes.
    async fn own_lease(&self, grant: &GrantId, claimed: &mut ClaimOutcome) {
        if !self.host.world.plan.lease_per_host || !matches!(claimed, ClaimOutcome::Busy { .. }) {
            return;
        }
        let Ok(Some(row)) = self.inner.grant(grant).await else { return };
        let Some(lease) = row.lease.clone().filter(|l| l.holder == self.inner.holder()) else {
            return;
        };
        *claimed = ClaimOutcome::Claimed(Box::new(ClaimedRow {
            grant: row,
            lease_no: lease.no,
            until_boot_ms: lease.until_boot_ms,
        }));
    }
}

macro_rules! through {
    ($self:ident, $step:ident, $name:ident($($arg:expr),*)) => {{
        $self.before(stringify!($name), Step::$step).await?;
        let done = $self.inner.$name($($arg),*).await;
        $self.after(stringify!($name), Step::$step).await?;
        done
    }};
}

#[async_trait]
impl Store for SimStore {
    fn holder(&self) -> HolderId {
        self.inner.holder()
    }

    async fn identity(&self) -> Result<StoreIdentity, StoreError> {
        through!(self, Other, identity())
    }

    async fn take_over(&self, events: Vec<Event>) -> Result<(), StoreError> {
        through!(self, Other, take_over(events))
    }

    async fn change_number(&self) -> Result<u64, StoreError> {
        through!(self, Other, change_number())
    }

    async fn data_keys(&self) -> Result<Vec<DataKeyRow>, StoreError> {
        through!(self, Other, data_keys())
    }

    async fn add_data_key(&self, row: DataKeyRow) -> Result<bool, StoreError> {
        through!(self, Other, add_data_key(row))
    }

    async fn rewrap_data_keys(
        &self,
        rows: Vec<DataKeyRow>,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        through!(self, Other, rewrap_data_keys(rows, events))
    }

    async fn remove_data_key(&self, id: KeyId, events: Vec<Event>) -> Result<bool, StoreError> {
        through!(self, Other, remove_data_key(id, events))
    }

    async fn sealed_before(
        &self,
        key: KeyId,
        after: Option<&GrantId>,
        limit: usize,
    ) -> Result<Vec<GrantRow>, StoreError> {
        through!(self, Other, sealed_before(key, after, limit))
    }

    async fn reseal(&self, sealed: Vec<(GrantId, u64, Sealed)>) -> Result<u64, StoreError> {
        through!(self, Other, reseal(sealed))
    }

    async fn add_client(&self, row: ClientRow, events: Vec<Event>) -> Result<bool, StoreError> {
        through!(self, Other, add_client(row, events))
    }

    async fn client(&self, id: &ClientId) -> Result<Option<ClientRow>, StoreError> {
        through!(self, Other, client(id))
    }

    async fn clients(&self) -> Result<Vec<ClientRow>, StoreError> {
        through!(self, Other, clients())
    }

    async fn update_client(&self, row: ClientRow, events: Vec<Event>) -> Result<bool, StoreError> {
        self.before("update_client", Step::Other).await?;
        let done = self.inner.update_client(row.clone(), events).await;
        if matches!(done, Ok(true)) {
            self.host.world.client_stored(&row);
        }
        self.after("update_client", Step::Other).await?;
        done
    }

    async fn remove_client(
        &self,
        id: &ClientId,
        events: Vec<Event>,
    ) -> Result<Option<u64>, StoreError> {
        through!(self, Other, remove_client(id, events))
    }

    async fn add_flow(&self, row: FlowRow) -> Result<(), StoreError> {
        through!(self, Other, add_flow(row))
    }

    async fn take_flow(
        &self,
        state_hash: &str,
        journal: &JournalId,
        now: Timestamp,
    ) -> Result<TakenFlow, StoreError> {
        through!(self, Spend, take_flow(state_hash, journal, now))
    }

    async fn flow(&self, state_hash: &str) -> Result<Option<FlowRow>, StoreError> {
        through!(self, Other, flow(state_hash))
    }

    async fn remove_flow(&self, state_hash: &str) -> Result<(), StoreError> {
        through!(self, Other, remove_flow(state_hash))
    }

    async fn purge_flows(
        &self,
        expired_before: Timestamp,
        taken_before: Timestamp,
    ) -> Result<u64, StoreError> {
        through!(self, Other, purge_flows(expired_before, taken_before))
    }

    async fn stale_flows(
        &self,
        journal: &JournalId,
        expired: (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<Vec<(Timestamp, String)>, StoreError> {
        through!(self, Other, stale_flows(journal, expired, limit))
    }

    async fn connect(
        &self,
        connection: ConnectionRow,
        grant: GrantRow,
        flow: Option<&str>,
        events: Vec<Event>,
    ) -> Result<ConnectOutcome, StoreError> {
        self.before("connect", Step::Spend).await?;
        let access = grant.facts.access;
        let done = self.inner.connect(connection, grant, flow, events).await;
        if matches!(done, Ok(ConnectOutcome::Done)) {
            self.host.world.books().durable(access);
        }
        self.after("connect", Step::Spend).await?;
        done
    }

    async fn join(
        &self,
        connection: ConnectionRow,
        flow: Option<&str>,
        events: Vec<Event>,
    ) -> Result<ConnectOutcome, StoreError> {
        through!(self, Spend, join(connection, flow, events))
    }

    async fn reconnect(
        &self,
        connection: ConnectionRow,
        grant: GrantRow,
        flow: Option<&str>,
        events: Vec<Event>,
    ) -> Result<ConnectOutcome, StoreError> {
        self.before("reconnect", Step::Spend).await?;
        let access = grant.facts.access;
        let before = self.inner.connection(&connection.id).await?;
        let consent = self.inner.flow(flow.unwrap_or_default()).await?;
        let done = self.inner.reconnect(connection, grant, flow, events).await;
        if matches!(done, Ok(ConnectOutcome::Done)) {
            self.host.world.reconnected(access, before, consent);
        }
        self.after("reconnect", Step::Spend).await?;
        done
    }

    async fn label(&self, connection: ConnectionRow) -> Result<bool, StoreError> {
        through!(self, Other, label(connection))
    }

    async fn connection(
        &self,
        id: &ConnectionId,
    ) -> Result<Option<(ConnectionRow, GrantRow)>, StoreError> {
        through!(self, Other, connection(id))
    }

    async fn connections(
        &self,
        filter: &ConnectionFilter,
        after: Option<&ConnectionId>,
        limit: usize,
    ) -> Result<Vec<(ConnectionRow, GrantRow)>, StoreError> {
        through!(self, Other, connections(filter, after, limit))
    }

    async fn forget(
        &self,
        id: &ConnectionId,
        grant: &GrantId,
        taken: TakenFlows,
        events: Vec<Event>,
    ) -> Result<ForgetOutcome, StoreError> {
        through!(self, Other, forget(id, grant, taken, events))
    }

    async fn grant(&self, id: &GrantId) -> Result<Option<GrantRow>, StoreError> {
        through!(self, Other, grant(id))
    }

    async fn grant_of_account(
        &self,
        client: &ClientId,
        account_id: &str,
    ) -> Result<Option<GrantRow>, StoreError> {
        through!(self, Other, grant_of_account(client, account_id))
    }

    async fn grant_of_refresh_token(
        &self,
        client: &ClientId,
        refresh: &Fingerprint,
    ) -> Result<Option<GrantRow>, StoreError> {
        through!(self, Other, grant_of_refresh_token(client, refresh))
    }

    async fn has_had(
        &self,
        grant: &GrantId,
        fingerprint: &Fingerprint,
    ) -> Result<bool, StoreError> {
        through!(self, Other, has_had(grant, fingerprint))
    }

    async fn replaced_tokens(&self) -> Result<BTreeSet<[u8; REPLACED_BYTES]>, StoreError> {
        through!(self, Other, replaced_tokens())
    }

    async fn grants_by_fingerprint(
        &self,
        fingerprint: &Fingerprint,
    ) -> Result<Vec<GrantRow>, StoreError> {
        through!(self, Other, grants_by_fingerprint(fingerprint))
    }

    async fn claim(&self, grant: &GrantId, lease: Duration) -> Result<ClaimOutcome, StoreError> {
        self.before("claim", Step::Spend).await?;
        let mut done = self.inner.claim(grant, lease).await?;
        self.own_lease(grant, &mut done).await;
        if let ClaimOutcome::Claimed(row) = &done {
            self.host.world.claimed(&self.host, row);
        }
        self.after("claim", Step::Spend).await?;
        Ok(done)
    }

    async fn renew(
        &self,
        grant: &GrantId,
        lease_no: u64,
        lease: Duration,
    ) -> Result<Option<u64>, StoreError> {
        through!(self, Other, renew(grant, lease_no, lease))
    }

    async fn begin(&self, grant: &GrantId, intent: Intent) -> Result<bool, StoreError> {
        through!(self, Spend, begin(grant, intent))
    }

    async fn commit(
        &self,
        grant: &GrantId,
        from_version: u64,
        lease_no: Option<u64>,
        new: NewTokens,
        events: Vec<Event>,
    ) -> Result<CommitOutcome, StoreError> {
        self.before("commit", Step::Spend).await?;
        let before = self.inner.grant(grant).await?;
        let (facts, version) = (new.facts.clone(), new.version);
        let done = self.inner.commit(grant, from_version, lease_no, new, events).await;
        if let (Ok(CommitOutcome::Done), Some(before)) = (&done, before) {
            let by_refresh = lease_no.is_some();
            self.host.world.committed(&self.host, &before, version, &facts, by_refresh);
        }
        self.after("commit", Step::Spend).await?;
        done
    }

    async fn settle(
        &self,
        grant: &GrantId,
        lease_no: u64,
        version: u64,
        change: Settlement,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        self.before("settle", Step::Spend).await?;
        let before = self.inner.grant(grant).await?;
        let state = change.state.clone();
        let done = self.inner.settle(grant, lease_no, version, change, events).await;
        if let (Ok(true), Some(before)) = (&done, before) {
            self.host.world.settled(&self.host, &before, lease_no, &state);
        }
        self.after("settle", Step::Spend).await?;
        done
    }

    async fn reject(
        &self,
        grant: &GrantId,
        version: u64,
        now: Timestamp,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        through!(self, Other, reject(grant, version, now, events.clone()))
    }

    async fn release(&self, grant: &GrantId, lease_no: u64) -> Result<(), StoreError> {
        through!(self, Other, release(grant, lease_no))
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<GrantId>, StoreError> {
        through!(self, Other, due(now, limit))
    }

    async fn open_intents(&self, limit: usize) -> Result<Vec<GrantId>, StoreError> {
        through!(self, Other, open_intents(limit))
    }

    async fn revoke(
        &self,
        grants: &[GrantId],
        state: GrantState,
        revocation: RevocationRow,
        events: Vec<Event>,
    ) -> Result<(), StoreError> {
        self.before("revoke", Step::Spend).await?;
        let done = self.inner.revoke(grants, state, revocation, events).await;
        if done.is_ok() {
            self.host.world.books().revoked(grants);
        }
        self.after("revoke", Step::Spend).await?;
        done
    }

    async fn revocation(&self, id: &str) -> Result<Option<RevocationRow>, StoreError> {
        through!(self, Other, revocation(id))
    }

    async fn revoked_item(&self, grant: &GrantId) -> Result<Option<RevocationItem>, StoreError> {
        through!(self, Other, revoked_item(grant))
    }

    async fn revocations_due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<RevocationRow>, StoreError> {
        through!(self, Other, revocations_due(now, limit))
    }

    async fn update_revocation(
        &self,
        row: RevocationRow,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        through!(self, Other, update_revocation(row, events))
    }

    async fn last_event(&self) -> Result<u64, StoreError> {
        through!(self, Other, last_event())
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<EventRow>, StoreError> {
        through!(self, Other, events(after, limit))
    }
}
