//! The port, method by method: which of them read, which write, and what the writing thread is
//! handed.

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
    NewTokens, REPLACED_BYTES, Settlement, Store, StoreError, StoreIdentity, TakenFlows,
};
use indicia_broker::vault::{DataKeyRow, Fingerprint, KeyId, Sealed};
use indicia_oauth::Timestamp;

use super::leases::Claimed;
use super::writer::missing;
use super::{
    Sqlite, clients, connections, events, flows, grants, home, leases, revocations, token_sets,
};

#[async_trait]
impl Store for Sqlite {
    fn holder(&self) -> HolderId {
        self.holder.id().clone()
    }

    async fn identity(&self) -> Result<StoreIdentity, StoreError> {
        let found = self.read(|conn| {
            let query = "SELECT id, place, taken_over_at FROM store";
            let (id, place_then, taken_over): (_, _, Option<i64>) =
                conn.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            let taken_over_at = taken_over.map(Timestamp::from_millis);
            let place_now = home::place(&self.db)?;
            Ok(Some(StoreIdentity { id, place_then, place_now, taken_over_at }))
        })?;
        found.ok_or_else(|| missing(&self.db))
    }

    async fn take_over(&self, events: Vec<Event>) -> Result<(), StoreError> {
        let (db, now) = (self.db.clone(), self.clock.now().as_millis());
        self.write(move |conn| {
            let update = "UPDATE store SET place = ?, taken_over_at = ?";
            conn.execute(update, rusqlite::params![home::place(&db)?, now])?;
            events::append(conn, &events)
        })
        .await
    }

    async fn change_number(&self) -> Result<u64, StoreError> {
        // Asked for a few times a second by whoever lives long: the moment to see this.
        self.file.is_there().map_err(|failure| failure.told(&self.db))?;
        self.read(|conn| {
            let mut query = conn.prepare_cached("SELECT change_number FROM store")?;
            Ok(query.query_row([], |row| row.get(0))?)
        })
    }

    async fn data_keys(&self) -> Result<Vec<DataKeyRow>, StoreError> {
        self.read(clients::data_keys)
    }

    async fn add_data_key(&self, row: DataKeyRow) -> Result<bool, StoreError> {
        self.write(move |conn| clients::add_data_key(conn, &row)).await
    }

    async fn rewrap_data_keys(
        &self,
        rows: Vec<DataKeyRow>,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        self.write(move |conn| clients::rewrap_data_keys(conn, &rows, &events)).await
    }

    async fn remove_data_key(&self, id: KeyId, events: Vec<Event>) -> Result<bool, StoreError> {
        self.write(move |conn| clients::remove_data_key(conn, id, &events)).await
    }

    async fn sealed_before(
        &self,
        key: KeyId,
        after: Option<&GrantId>,
        limit: usize,
    ) -> Result<Vec<GrantRow>, StoreError> {
        self.read(|conn| grants::sealed_before(conn, key, after, limit))
    }

    async fn reseal(&self, sealed: Vec<(GrantId, u64, Sealed)>) -> Result<u64, StoreError> {
        self.write(move |conn| grants::reseal(conn, &sealed)).await
    }

    async fn add_client(&self, row: ClientRow, events: Vec<Event>) -> Result<bool, StoreError> {
        self.write(move |conn| clients::add_client(conn, &row, &events)).await
    }

    async fn client(&self, id: &ClientId) -> Result<Option<ClientRow>, StoreError> {
        self.read(|conn| self.clients.client(conn, id))
    }

    async fn clients(&self) -> Result<Vec<ClientRow>, StoreError> {
        self.read(clients::clients)
    }

    async fn update_client(&self, row: ClientRow, events: Vec<Event>) -> Result<bool, StoreError> {
        self.write(move |conn| clients::update_client(conn, &row, &events)).await
    }

    async fn remove_client(
        &self,
        id: &ClientId,
        events: Vec<Event>,
    ) -> Result<Option<u64>, StoreError> {
        let id = id.clone();
        self.write(move |conn| clients::remove_client(conn, &id, &events)).await
    }

    async fn add_flow(&self, row: FlowRow) -> Result<(), StoreError> {
        self.write(move |conn| flows::add_flow(conn, &row)).await
    }

    async fn take_flow(
        &self,
        state_hash: &str,
        journal: &JournalId,
        now: Timestamp,
    ) -> Result<TakenFlow, StoreError> {
        let (state_hash, journal) = (state_hash.to_owned(), journal.clone());
        self.write(move |conn| flows::take_flow(conn, &state_hash, &journal, now)).await
    }

    async fn flow(&self, state_hash: &str) -> Result<Option<FlowRow>, StoreError> {
        self.read(|conn| flows::flow(conn, state_hash))
    }

    async fn remove_flow(&self, state_hash: &str) -> Result<(), StoreError> {
        let state_hash = state_hash.to_owned();
        self.write(move |conn| flows::remove_flow(conn, &state_hash)).await
    }

    async fn purge_flows(
        &self,
        expired_before: Timestamp,
        taken_before: Timestamp,
    ) -> Result<u64, StoreError> {
        self.write(move |conn| flows::purge_flows(conn, expired_before, taken_before)).await
    }

    async fn stale_flows(
        &self,
        journal: &JournalId,
        expired: (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<Vec<(Timestamp, String)>, StoreError> {
        self.read(|conn| flows::stale_flows(conn, journal, expired, limit))
    }

    async fn connect(
        &self,
        connection: ConnectionRow,
        grant: GrantRow,
        flow: Option<&str>,
        events: Vec<Event>,
    ) -> Result<ConnectOutcome, StoreError> {
        let flow = flow.map(str::to_owned);
        self.write(move |conn| {
            connections::connect(conn, &connection, &grant, flow.as_deref(), &events)
        })
        .await
    }

    async fn join(
        &self,
        connection: ConnectionRow,
        flow: Option<&str>,
        events: Vec<Event>,
    ) -> Result<ConnectOutcome, StoreError> {
        let flow = flow.map(str::to_owned);
        self.write(move |conn| connections::join(conn, &connection, flow.as_deref(), &events)).await
    }

    async fn reconnect(
        &self,
        connection: ConnectionRow,
        grant: GrantRow,
        flow: Option<&str>,
        events: Vec<Event>,
    ) -> Result<ConnectOutcome, StoreError> {
        let flow = flow.map(str::to_owned);
        self.write(move |conn| {
            connections::reconnect(conn, &connection, &grant, flow.as_deref(), &events)
        })
        .await
    }

    async fn label(&self, connection: ConnectionRow) -> Result<bool, StoreError> {
        self.write(move |conn| connections::label(conn, &connection)).await
    }

    async fn connection(
        &self,
        id: &ConnectionId,
    ) -> Result<Option<(ConnectionRow, GrantRow)>, StoreError> {
        self.read(|conn| connections::connection(conn, id))
    }

    async fn connections(
        &self,
        filter: &ConnectionFilter,
        after: Option<&ConnectionId>,
        limit: usize,
    ) -> Result<Vec<(ConnectionRow, GrantRow)>, StoreError> {
        self.read(|conn| connections::connections(conn, filter, after, limit))
    }

    async fn forget(
        &self,
        id: &ConnectionId,
        grant: &GrantId,
        taken: TakenFlows,
        events: Vec<Event>,
    ) -> Result<ForgetOutcome, StoreError> {
        let (id, grant) = (id.clone(), grant.clone());
        self.write(move |conn| connections::forget(conn, &id, &grant, taken, &events)).await
    }

    async fn grant(&self, id: &GrantId) -> Result<Option<GrantRow>, StoreError> {
        self.read(|conn| Ok(grants::grant(conn, id)?.map(|held| held.row)))
    }

    async fn grant_of_account(
        &self,
        client: &ClientId,
        account_id: &str,
    ) -> Result<Option<GrantRow>, StoreError> {
        self.read(|conn| grants::grant_of_account(conn, client, account_id))
    }

    async fn grant_of_refresh_token(
        &self,
        client: &ClientId,
        refresh: &Fingerprint,
    ) -> Result<Option<GrantRow>, StoreError> {
        self.read(|conn| grants::grant_of_refresh_token(conn, client, refresh))
    }

    async fn has_had(
        &self,
        grant: &GrantId,
        fingerprint: &Fingerprint,
    ) -> Result<bool, StoreError> {
        self.read(|conn| grants::has_had(conn, grant, fingerprint))
    }

    async fn replaced_tokens(&self) -> Result<BTreeSet<[u8; REPLACED_BYTES]>, StoreError> {
        self.read(token_sets::replaced_tokens)
    }

    async fn grants_by_fingerprint(
        &self,
        fingerprint: &Fingerprint,
    ) -> Result<Vec<GrantRow>, StoreError> {
        self.read(|conn| grants::grants_by_fingerprint(conn, fingerprint))
    }

    async fn claim(&self, grant: &GrantId, lease: Duration) -> Result<ClaimOutcome, StoreError> {
        let (us, clock) = (Arc::clone(&self.holder), Arc::clone(&self.clock));
        let id = grant.clone();
        let claimed = self
            .write_lease(move |conn| leases::claim(conn, &id, lease, &us, clock.boot_millis()))
            .await?;
        match claimed {
            Claimed::Ours { lease_no, until_boot_ms } => Ok(match self.grant(grant).await? {
                Some(grant) => {
                    ClaimOutcome::Claimed(Box::new(ClaimedRow { grant, lease_no, until_boot_ms }))
                }
                None => ClaimOutcome::Missing,
            }),
            Claimed::Busy { until_boot_ms } => Ok(ClaimOutcome::Busy { until_boot_ms }),
            Claimed::Missing => Ok(ClaimOutcome::Missing),
        }
    }

    async fn renew(
        &self,
        grant: &GrantId,
        lease_no: u64,
        lease: Duration,
    ) -> Result<Option<u64>, StoreError> {
        let (grant, us, clock) = (grant.clone(), Arc::clone(&self.holder), Arc::clone(&self.clock));
        self.write_lease(move |conn| {
            leases::renew(conn, &grant, lease_no, lease, &us, clock.boot_millis())
        })
        .await
    }

    async fn begin(&self, grant: &GrantId, intent: Intent) -> Result<bool, StoreError> {
        let (grant, us, clock) = (grant.clone(), Arc::clone(&self.holder), Arc::clone(&self.clock));
        self.write(move |conn| leases::begin(conn, &grant, &intent, &us, clock.boot_millis())).await
    }

    async fn commit(
        &self,
        grant: &GrantId,
        from_version: u64,
        lease_no: Option<u64>,
        new: NewTokens,
        events: Vec<Event>,
    ) -> Result<CommitOutcome, StoreError> {
        let grant = grant.clone();
        self.write(move |conn| leases::commit(conn, &grant, from_version, lease_no, &new, &events))
            .await
    }

    async fn settle(
        &self,
        grant: &GrantId,
        lease_no: u64,
        version: u64,
        change: Settlement,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        let grant = grant.clone();
        self.write(move |conn| leases::settle(conn, &grant, lease_no, version, &change, &events))
            .await
    }

    async fn reject(
        &self,
        grant: &GrantId,
        version: u64,
        now: Timestamp,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        let grant = grant.clone();
        self.write(move |conn| leases::reject(conn, &grant, version, now, &events)).await
    }

    async fn release(&self, grant: &GrantId, lease_no: u64) -> Result<(), StoreError> {
        let grant = grant.clone();
        self.write_lease(move |conn| leases::release(conn, &grant, lease_no)).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<GrantId>, StoreError> {
        let now_ms = self.clock.boot_millis();
        self.read(|conn| leases::due(conn, now, limit, &self.holder, now_ms))
    }

    async fn open_intents(&self, limit: usize) -> Result<Vec<GrantId>, StoreError> {
        self.read(|conn| leases::open_intents(conn, limit))
    }

    async fn revoke(
        &self,
        grants: &[GrantId],
        state: GrantState,
        revocation: RevocationRow,
        events: Vec<Event>,
    ) -> Result<(), StoreError> {
        let grants = grants.to_vec();
        self.write(move |conn| revocations::revoke(conn, &grants, &state, &revocation, &events))
            .await
    }

    async fn revocation(&self, id: &str) -> Result<Option<RevocationRow>, StoreError> {
        self.read(|conn| revocations::revocation(conn, id))
    }

    async fn revoked_item(&self, grant: &GrantId) -> Result<Option<RevocationItem>, StoreError> {
        self.read(|conn| revocations::revoked_item(conn, grant))
    }

    async fn revocations_due(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<RevocationRow>, StoreError> {
        self.read(|conn| revocations::revocations_due(conn, now, limit))
    }

    async fn update_revocation(
        &self,
        row: RevocationRow,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        self.write(move |conn| revocations::update_revocation(conn, &row, &events)).await
    }

    async fn last_event(&self) -> Result<u64, StoreError> {
        self.read(events::last_event)
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<EventRow>, StoreError> {
        self.read(|conn| events::events(conn, after, limit))
    }
}
