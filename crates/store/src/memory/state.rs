//! What the memory store holds: clients, flows, connections, revocations, events. Grants and their
//! leases are in `grants.rs`.
//!
//! What would surprise: events are linked before anything else is changed, so that a failure there
//! leaves the state as it was.

use std::collections::{BTreeMap, BTreeSet};

use indicia_broker::model::{
    ClientId, ClientRow, ConnectionId, ConnectionRow, Event, EventRow, FlowRow, GrantId, GrantRow,
    HolderId, JournalId, RevocationRow, TakenFlow,
};
use indicia_broker::ports::{
    ConnectOutcome, ConnectionFilter, ForgetOutcome, StoreError, StoreErrorKind, TakenFlows,
};
use indicia_broker::vault::{DataKeyRow, Fingerprint, KeyId, Sealed};
use indicia_oauth::Timestamp;

use crate::chain;

/// One commit of a token set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRecord {
    /// Of which grant.
    pub grant: GrantId,
    /// The version that it started from.
    pub from_version: u64,
    /// The version that it made.
    pub to_version: u64,
    /// Through whose handle.
    pub holder: HolderId,
    /// When, in milliseconds of `Clock::boot_millis`.
    pub boot_ms: u64,
}

#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) change_number: u64,
    /// It was put back from a copy, and nobody took it over since.
    pub(super) put_back: bool,
    pub(super) taken_over_at: Option<Timestamp>,
    pub(super) clients: BTreeMap<ClientId, ClientRow>,
    pub(super) flows: BTreeMap<String, FlowRow>,
    pub(super) grants: BTreeMap<GrantId, Held>,
    pub(super) revocations: BTreeMap<String, RevocationRow>,
    pub(super) commits: Vec<CommitRecord>,
    pub(super) dead: BTreeSet<HolderId>,
    flows_taken: u64,
    pub(super) data_keys: BTreeMap<KeyId, DataKeyRow>,
    connections: BTreeMap<ConnectionId, ConnectionRow>,
    events: Vec<EventRow>,
    last_hash: [u8; 32],
}

/// A grant with what its row doesn't show.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) row: GrantRow,
    /// How often it was claimed: the number of the latest lease.
    pub(super) claims: u64,
    /// Fingerprints of its tokens, the newest last.
    pub(super) fingerprints: Vec<Fingerprint>,
    /// The number of its newest consent.
    pub(super) consent_no: u64,
}

impl State {
    /// Notes a change, with the events that tell it.
    pub(super) fn changed(&mut self, events: Vec<Event>) -> Result<(), StoreError> {
        let mut rows = Vec::with_capacity(events.len());
        let mut hash = self.last_hash;
        let first = self.events.len() as u64 + 1;
        for (seq, event) in (first..).zip(events) {
            let json = chain::canonical_json(&event).map_err(|error| failed(&error.to_string()))?;
            hash = chain::link(&hash, json.as_bytes());
            rows.push(EventRow { seq, hash: chain::to_hex(&hash), event });
        }
        self.events.append(&mut rows);
        self.last_hash = hash;
        self.change_number += 1;
        Ok(())
    }

    pub(super) fn data_keys(&self) -> Vec<DataKeyRow> {
        self.data_keys.values().cloned().collect()
    }

    pub(super) fn add_data_key(&mut self, row: DataKeyRow) -> bool {
        if self.data_keys.contains_key(&row.id) {
            return false;
        }
        self.data_keys.insert(row.id, row);
        self.change_number += 1;
        true
    }

    pub(super) fn rewrap_data_keys(
        &mut self,
        rows: Vec<DataKeyRow>,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        if !self.data_keys.keys().eq(rows.iter().map(|row| &row.id)) {
            return Ok(false);
        }
        self.changed(events)?;
        for row in rows {
            if let Some(kept) = self.data_keys.get_mut(&row.id) {
                kept.wrapped = row.wrapped;
            }
        }
        Ok(true)
    }

    pub(super) fn remove_data_key(
        &mut self,
        id: KeyId,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        if self.seals(id) || !self.data_keys.contains_key(&id) {
            return Ok(false);
        }
        self.changed(events)?;
        self.data_keys.remove(&id);
        Ok(true)
    }

    /// Whether anything is sealed with this data key.
    fn seals(&self, id: KeyId) -> bool {
        let secrets = self.clients.values().flat_map(|row| &row.secrets);
        let items = self.revocations.values().flat_map(|row| &row.items);
        let items = items.flat_map(|item| [item.sealed.as_ref(), item.probe.as_ref()]);
        let sealed = secrets.map(|secret| secret.sealed.as_ref()).chain(items).flatten();
        let sealed = sealed.chain(self.grants.values().map(|held| &held.row.tokens));
        let mut sealed = sealed.chain(self.flows.values().map(|flow| &flow.sealed));
        sealed.any(|sealed| sealed.key == id)
    }

    pub(super) fn sealed_before(
        &self,
        key: KeyId,
        after: Option<&GrantId>,
        limit: usize,
    ) -> Vec<GrantRow> {
        let rows = self.grants.values().map(|held| &held.row);
        let rows = rows.filter(|row| after.is_none_or(|after| row.id > *after));
        rows.filter(|row| row.tokens.key < key).take(limit).cloned().collect()
    }

    pub(super) fn reseal(&mut self, sealed: Vec<(GrantId, u64, Sealed)>) -> u64 {
        let mut done = 0;
        for (id, version, sealed) in sealed {
            let row = self.grants.get_mut(&id).map(|held| &mut held.row);
            let row = row.filter(|row| row.version == version && row.tokens.key < sealed.key);
            done += row.map(|row| row.tokens = sealed).map_or(0, |()| 1);
        }
        self.change_number += 1;
        done
    }

    pub(super) fn add_client(
        &mut self,
        row: ClientRow,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        if self.clients.contains_key(&row.id) {
            return Ok(false);
        }
        self.changed(events)?;
        self.clients.insert(row.id.clone(), row);
        Ok(true)
    }

    pub(super) fn update_client(
        &mut self,
        row: ClientRow,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        let stored = self.clients.get(&row.id).map(|client| client.revision + 1);
        if stored != Some(row.revision) {
            return Ok(false);
        }
        self.changed(events)?;
        self.clients.insert(row.id.clone(), row);
        Ok(true)
    }

    pub(super) fn remove_client(
        &mut self,
        id: &ClientId,
        events: Vec<Event>,
    ) -> Result<Option<u64>, StoreError> {
        let users = self.connections.values().filter(|row| row.client == *id).count() as u64;
        if users > 0 {
            return Ok(Some(users));
        }
        if self.clients.contains_key(id) {
            self.changed(events)?;
            self.clients.remove(id);
            self.flows.retain(|_, flow| flow.client != *id);
        }
        Ok(None)
    }

    pub(super) fn add_flow(&mut self, row: FlowRow) -> Result<(), StoreError> {
        self.needs_client(&row.client)?;
        if self.flows.contains_key(&row.state_hash) {
            return Err(failed("a flow of this state is there already"));
        }
        self.change_number += 1;
        self.flows.insert(row.state_hash.clone(), row);
        Ok(())
    }

    pub(super) fn take_flow(
        &mut self,
        state_hash: &str,
        journal: &JournalId,
        now: Timestamp,
    ) -> TakenFlow {
        let Some(flow) = self.flows.get(state_hash) else {
            return TakenFlow::Unknown;
        };
        if let Some(used_at) = flow.used_at {
            return TakenFlow::Used(used_at);
        }
        if flow.expires_at <= now {
            return TakenFlow::Expired(flow.expires_at);
        }
        self.flows_taken += 1;
        let taken = FlowRow {
            taken_no: self.flows_taken,
            used_at: Some(now),
            journal: Some(journal.clone()),
            ..flow.clone()
        };
        self.flows.insert(state_hash.to_owned(), taken.clone());
        self.change_number += 1;
        TakenFlow::Taken(Box::new(taken))
    }

    /// Whether what comes of this flow is taken back.
    pub(super) fn is_revoked(&self, flow: Option<&str>) -> bool {
        flow.and_then(|flow| self.flows.get(flow)).is_some_and(|flow| flow.revoked)
    }

    /// The number of a consent from this flow, where it may be stored over that of number `before`.
    /// What comes from no flow changes nothing about that.
    pub(super) fn consent_no(&self, flow: Option<&str>, before: u64) -> Option<u64> {
        let Some(flow) = flow else { return Some(before) };
        self.flows.get(flow).map(|flow| flow.taken_no).filter(|no| *no >= before)
    }

    /// Ends a taken flow, and those of its connection that were taken before.
    pub(super) fn end_flow(&mut self, flow: Option<&str>) {
        let Some(ended) = flow.and_then(|flow| self.flows.remove(flow)) else { return };
        self.flows.retain(|_, other| {
            other.connection != ended.connection
                || other.revoked
                || !(1..=ended.taken_no).contains(&other.taken_no)
        });
    }

    /// What was taken for a grant's connections until now is taken back with it.
    pub(super) fn revoke_taken(&mut self, grant: &GrantId) {
        for flow in self.flows.values_mut().filter(|flow| flow.taken_no > 0) {
            let connection = self.connections.get(&flow.connection);
            flow.revoked |= connection.is_some_and(|connection| connection.grant == *grant);
        }
    }

    pub(super) fn remove_flow(&mut self, state_hash: &str) {
        if self.flows.remove(state_hash).is_some() {
            self.change_number += 1;
        }
    }

    pub(super) fn connect(
        &mut self,
        connection: ConnectionRow,
        grant: GrantRow,
        flow: Option<&str>,
        events: Vec<Event>,
    ) -> Result<ConnectOutcome, StoreError> {
        if self.is_revoked(flow) {
            return Ok(ConnectOutcome::FlowRevoked);
        }
        if self.connections.contains_key(&connection.id) {
            return Ok(ConnectOutcome::IdTaken);
        }
        let Some(consent_no) = self.consent_no(flow, 0) else {
            return Ok(ConnectOutcome::FlowEnded);
        };
        self.needs_client(&connection.client)?;
        if self.grants.contains_key(&grant.id) {
            return Err(failed("a grant of this id is there already"));
        }
        self.changed(events)?;
        self.end_flow(flow);
        self.grants.insert(grant.id.clone(), Held::new(grant, consent_no));
        self.connections.insert(connection.id.clone(), connection);
        Ok(ConnectOutcome::Done)
    }

    pub(super) fn join(
        &mut self,
        connection: ConnectionRow,
        flow: Option<&str>,
        events: Vec<Event>,
    ) -> Result<ConnectOutcome, StoreError> {
        if self.is_revoked(flow) {
            return Ok(ConnectOutcome::FlowRevoked);
        }
        if self.connections.contains_key(&connection.id) {
            return Ok(ConnectOutcome::IdTaken);
        }
        if self.consent_no(flow, 0).is_none() {
            return Ok(ConnectOutcome::FlowEnded);
        }
        self.needs_client(&connection.client)?;
        self.needs_grant(&connection.grant)?;
        self.changed(events)?;
        self.connections.insert(connection.id.clone(), connection);
        Ok(ConnectOutcome::Done)
    }

    pub(super) fn reconnect(
        &mut self,
        new: ConnectionRow,
        grant: GrantRow,
        flow: Option<&str>,
        events: Vec<Event>,
    ) -> Result<ConnectOutcome, StoreError> {
        if self.is_revoked(flow) {
            return Ok(ConnectOutcome::FlowRevoked);
        }
        if !self.connections.contains_key(&new.id) {
            return Ok(ConnectOutcome::Missing);
        }
        // A grant of its own: what others gave the one before doesn't matter.
        let Some(consent_no) = self.consent_no(flow, 0) else {
            return Ok(ConnectOutcome::FlowEnded);
        };
        if self.grants.contains_key(&grant.id) {
            return Err(failed("a grant of this id is there already"));
        }
        self.changed(events)?;
        self.end_flow(flow);
        let new = ConnectionRow { grant: grant.id.clone(), ..new };
        self.grants.insert(grant.id.clone(), Held::new(grant, consent_no));
        self.replace(new);
        Ok(ConnectOutcome::Done)
    }

    pub(super) fn label(&mut self, new: ConnectionRow) -> bool {
        let Some(row) = self.connections.get_mut(&new.id) else { return false };
        (row.labels, row.updated_at) = (new.labels, new.updated_at);
        self.change_number += 1;
        true
    }

    /// Client and birth of a connection stay.
    fn replace(&mut self, new: ConnectionRow) {
        let Some(row) = self.connections.get_mut(&new.id) else {
            return;
        };
        let before = std::mem::replace(&mut row.grant, new.grant);
        row.labels = new.labels;
        row.updated_at = new.updated_at;
        self.drop_replaced(&before);
    }

    pub(super) fn connection(&self, id: &ConnectionId) -> Option<(ConnectionRow, GrantRow)> {
        self.connections.get(id).and_then(|connection| self.with_grant(connection))
    }

    pub(super) fn connections(
        &self,
        filter: &ConnectionFilter,
        after: Option<&ConnectionId>,
        limit: usize,
    ) -> Vec<(ConnectionRow, GrantRow)> {
        self.connections
            .values()
            .filter(|row| after.is_none_or(|after| row.id > *after))
            .filter(|row| passes(filter, row))
            .filter_map(|row| self.with_grant(row))
            .take(limit)
            .collect()
    }

    pub(super) fn purge_flows(
        &mut self,
        expired_before: Timestamp,
        taken_before: Timestamp,
    ) -> u64 {
        let before = self.flows.len();
        let limit = |flow: &FlowRow| match flow.taken_no {
            0 => expired_before,
            _ => taken_before.min(expired_before),
        };
        self.flows.retain(|_, flow| flow.expires_at >= limit(flow));
        self.change_number += 1;
        (before - self.flows.len()) as u64
    }

    pub(super) fn stale_flows(
        &self,
        journal: &JournalId,
        (after, before): (Timestamp, Timestamp),
        limit: usize,
    ) -> Vec<(Timestamp, String)> {
        let stale = |flow: &&FlowRow| {
            let ended = flow.expires_at > after && flow.expires_at < before;
            flow.journal.as_ref() == Some(journal) && ended
        };
        let mut found: Vec<_> = self.flows.values().filter(stale).collect();
        found.sort_by_key(|flow| flow.expires_at);
        let found = found.into_iter().take(limit);
        found.map(|flow| (flow.expires_at, flow.state_hash.clone())).collect()
    }

    pub(super) fn forget(
        &mut self,
        id: &ConnectionId,
        grant: &GrantId,
        taken: TakenFlows,
        events: Vec<Event>,
    ) -> Result<ForgetOutcome, StoreError> {
        match self.connections.get(id) {
            None => return Ok(ForgetOutcome::Missing),
            Some(row) if row.grant != *grant => return Ok(ForgetOutcome::Moved),
            Some(_) => {}
        }
        self.changed(events)?;
        self.connections.remove(id);
        let of_it = |flow: &FlowRow| flow.connection == *id && flow.taken_no > 0;
        match taken {
            TakenFlows::End => self.flows.retain(|_, flow| !of_it(flow) || flow.revoked),
            TakenFlows::Revoke => {
                let taken = self.flows.values_mut().filter(|flow| of_it(flow));
                taken.for_each(|flow| flow.revoked = true);
            }
        }
        self.drop_unused(grant);
        Ok(ForgetOutcome::Done)
    }

    pub(super) fn revocations_due(&self, now: Timestamp, limit: usize) -> Vec<RevocationRow> {
        let mut due: Vec<_> = self
            .revocations
            .values()
            .filter(|row| row.next_at.is_some_and(|at| at <= now))
            .cloned()
            .collect();
        due.sort_by(|a, b| (a.next_at, &a.id).cmp(&(b.next_at, &b.id)));
        due.truncate(limit);
        due
    }

    pub(super) fn update_revocation(
        &mut self,
        row: RevocationRow,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        let stored = self.revocations.get(&row.id).map(|stored| stored.revision + 1);
        if stored != Some(row.revision) {
            return Ok(false);
        }
        self.changed(events)?;
        let grants: Vec<GrantId> = row.items.iter().map(|item| item.grant.clone()).collect();
        self.revocations.insert(row.id.clone(), row);
        for grant in grants {
            self.drop_replaced(&grant);
        }
        Ok(true)
    }

    pub(super) fn last_event(&self) -> u64 {
        self.events.len() as u64
    }

    pub(super) fn events(&self, after: u64, limit: usize) -> Vec<EventRow> {
        self.events.iter().filter(|row| row.seq > after).take(limit).cloned().collect()
    }

    fn with_grant(&self, connection: &ConnectionRow) -> Option<(ConnectionRow, GrantRow)> {
        self.grants.get(&connection.grant).map(|held| (connection.clone(), held.row.clone()))
    }

    /// A grant that was replaced goes when no revocation waits for it.
    fn drop_replaced(&mut self, grant: &GrantId) {
        let waits = self
            .revocations
            .values()
            .any(|row| row.next_at.is_some() && row.items.iter().any(|item| item.grant == *grant));
        if !waits {
            self.drop_unused(grant);
        }
    }

    fn drop_unused(&mut self, grant: &GrantId) {
        if !self.connections.values().any(|row| row.grant == *grant) {
            self.grants.remove(grant);
        }
    }

    fn needs_client(&self, id: &ClientId) -> Result<(), StoreError> {
        match self.clients.contains_key(id) {
            true => Ok(()),
            false => Err(failed("the client is gone")),
        }
    }

    fn needs_grant(&self, id: &GrantId) -> Result<(), StoreError> {
        match self.grants.contains_key(id) {
            true => Ok(()),
            false => Err(failed("the grant is gone")),
        }
    }
}

fn passes(filter: &ConnectionFilter, row: &ConnectionRow) -> bool {
    filter.client.as_ref().is_none_or(|client| row.client == *client)
        && filter.clients.as_ref().is_none_or(|clients| clients.contains(&row.client))
        && filter.label.as_ref().is_none_or(|(key, value)| row.labels.get(key) == Some(value))
        && filter.grant.as_ref().is_none_or(|grant| row.grant == *grant)
}

pub(super) fn failed(detail: &str) -> StoreError {
    StoreError { kind: StoreErrorKind::Unavailable, detail: detail.to_owned(), maybe_done: false }
}
