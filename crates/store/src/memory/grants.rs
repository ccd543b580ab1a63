//! Grants in memory: leases, intents, fenced commits.
//!
//! What would surprise: an ended lease stays in its row until somebody claims, settles, commits or
//! releases it; whether it counts is decided when it is looked at, by the clock and by who is dead.

use std::collections::BTreeSet;
use std::time::Duration;

use indicia_broker::model::{
    ClientId, Event, GrantId, GrantRow, GrantState, HolderId, Intent, Lease, Life, RevocationRow,
};
use indicia_broker::ports::{
    ClaimOutcome, ClaimedRow, CommitOutcome, NewTokens, REPLACED_BYTES, Settlement, StoreError,
};
use indicia_broker::vault::Fingerprint;
use indicia_oauth::Timestamp;

use crate::FINGERPRINT_VERSIONS_MAX;

use super::state::{CommitRecord, Held, State, failed};

impl State {
    pub(super) fn kill(&mut self, holder: &HolderId) {
        self.dead.insert(holder.clone());
    }

    pub(super) fn grant_rows(&self) -> Vec<GrantRow> {
        self.grants.values().map(|held| held.row.clone()).collect()
    }

    pub(super) fn grant(&self, id: &GrantId) -> Option<GrantRow> {
        self.grants.get(id).map(|held| held.row.clone())
    }

    pub(super) fn grant_of_account(&self, client: &ClientId, account_id: &str) -> Option<GrantRow> {
        self.grants
            .values()
            .map(|held| &held.row)
            .filter(|row| row.client == *client && row.state.life == Life::Alive)
            .find(|row| row.account.as_ref().is_some_and(|account| account.id == account_id))
            .cloned()
    }

    pub(super) fn grant_of_refresh_token(
        &self,
        client: &ClientId,
        refresh: &Fingerprint,
    ) -> Option<GrantRow> {
        let holds = |row: &&GrantRow| {
            row.client == *client
                && row.state.life != Life::Revoked
                && row.facts.refresh == Some(*refresh)
                && !row.facts.rotated
        };
        self.grants.values().map(|held| &held.row).find(holds).cloned()
    }

    pub(super) fn has_had(&self, id: &GrantId, fingerprint: &Fingerprint) -> bool {
        self.grants.get(id).is_some_and(|held| held.fingerprints.contains(fingerprint))
    }

    pub(super) fn replaced_tokens(&self) -> BTreeSet<[u8; REPLACED_BYTES]> {
        let replaced = self.grants.values().flat_map(|held| {
            let facts = &held.row.facts;
            let current = [Some(facts.access), facts.refresh];
            held.fingerprints.iter().filter(move |f| !current.contains(&Some(**f)))
        });
        replaced.filter_map(|f| f.as_bytes().first_chunk().copied()).collect()
    }

    pub(super) fn grants_by_fingerprint(&self, fingerprint: &Fingerprint) -> Vec<GrantRow> {
        self.grants
            .values()
            .filter(|held| held.fingerprints.contains(fingerprint))
            .map(|held| held.row.clone())
            .collect()
    }

    pub(super) fn claim(
        &mut self,
        grant: &GrantId,
        holder: &HolderId,
        lease: Duration,
        now_ms: u64,
    ) -> ClaimOutcome {
        let Some(held) = self.grants.get_mut(grant) else {
            return ClaimOutcome::Missing;
        };
        if let Some(lease) = &held.row.lease
            && lease.until_boot_ms > now_ms
            && !self.dead.contains(&lease.holder)
        {
            return ClaimOutcome::Busy { until_boot_ms: lease.until_boot_ms };
        }
        held.claims += 1;
        let until_boot_ms = end_of(lease, now_ms);
        held.row.lease = Some(Lease { holder: holder.clone(), no: held.claims, until_boot_ms });
        self.change_number += 1;
        ClaimOutcome::Claimed(Box::new(ClaimedRow {
            grant: held.row.clone(),
            lease_no: held.claims,
            until_boot_ms,
        }))
    }

    pub(super) fn renew(
        &mut self,
        grant: &GrantId,
        lease_no: u64,
        lease: Duration,
        now_ms: u64,
    ) -> Option<u64> {
        let held = self.grants.get_mut(grant)?;
        let current = held.row.lease.as_mut()?;
        if current.no != lease_no
            || current.until_boot_ms <= now_ms
            || self.dead.contains(&current.holder)
        {
            return None;
        }
        current.until_boot_ms = end_of(lease, now_ms);
        self.change_number += 1;
        Some(current.until_boot_ms)
    }

    pub(super) fn begin(&mut self, grant: &GrantId, intent: Intent, now_ms: u64) -> bool {
        let Some(held) = self.grants.get_mut(grant) else {
            return false;
        };
        let in_force = held.row.lease.as_ref().is_some_and(|lease| {
            lease.no == intent.lease_no
                && lease.until_boot_ms > now_ms
                && !self.dead.contains(&lease.holder)
        });
        let current = held.row.version == intent.version && held.row.state.life != Life::Revoked;
        if !in_force || !current {
            return false;
        }
        held.row.intent = Some(intent);
        self.change_number += 1;
        true
    }

    pub(super) fn commit(
        &mut self,
        record: CommitRecord,
        lease_no: Option<u64>,
        new: NewTokens,
        events: Vec<Event>,
    ) -> Result<CommitOutcome, StoreError> {
        if self.is_revoked(new.flow.as_deref()) {
            return Ok(CommitOutcome::FlowRevoked);
        }
        let Some(held) = self.grants.get(&record.grant) else {
            return Ok(CommitOutcome::Missing);
        };
        if held.row.state.life == Life::Revoked {
            return Ok(CommitOutcome::Revoked);
        }
        if held.row.version != record.from_version {
            return Ok(CommitOutcome::Superseded(Box::new(held.row.clone())));
        }
        let flow = new.flow.as_deref();
        let Some(consent_no) = self.consent_no(flow, held.consent_no) else {
            return Ok(CommitOutcome::FlowEnded);
        };
        self.changed(events)?;
        self.end_flow(new.flow.as_deref());
        let Some(held) = self.grants.get_mut(&record.grant) else {
            return Ok(CommitOutcome::Missing);
        };
        held.consent_no = consent_no;
        held.take_tokens(record.to_version, new);
        held.end_lease(lease_no);
        self.commits.push(record);
        Ok(CommitOutcome::Done)
    }

    pub(super) fn settle(
        &mut self,
        grant: &GrantId,
        lease_no: u64,
        version: u64,
        change: Settlement,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        let Some(held) = self.grants.get_mut(grant) else {
            return Ok(false);
        };
        let ours = held.row.lease.as_ref().is_some_and(|lease| lease.no == lease_no);
        if !ours || held.row.version != version {
            return Ok(false);
        }
        let revoked = held.row.state.life == Life::Revoked;
        if !revoked {
            self.changed(events)?;
        }
        let Some(held) = self.grants.get_mut(grant) else {
            return Ok(false);
        };
        if change.clear_intent {
            held.row.intent = None;
        }
        held.end_lease(Some(lease_no));
        if revoked {
            // The verdict was found before the revocation: it must not bring the grant back.
            self.change_number += 1;
            return Ok(false);
        }
        held.row.state = change.state;
        held.row.next_at = change.next_at;
        if change.clear_rejected {
            held.row.facts.rejected = false;
        }
        Ok(true)
    }

    pub(super) fn reject(
        &mut self,
        grant: &GrantId,
        version: u64,
        now: Timestamp,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        if self.grants.get(grant).is_none_or(|held| held.row.version != version) {
            return Ok(false);
        }
        self.changed(events)?;
        if let Some(held) = self.grants.get_mut(grant) {
            held.row.facts.rejected = true;
            if held.row.state.ambiguity.is_some() {
                held.row.state.retry_at = None;
                held.row.next_at = Some(now);
            }
        }
        Ok(true)
    }

    pub(super) fn release(&mut self, grant: &GrantId, lease_no: u64) {
        if let Some(held) = self.grants.get_mut(grant) {
            held.end_lease(Some(lease_no));
        }
        self.change_number += 1;
    }

    pub(super) fn due(&self, now: Timestamp, now_ms: u64, limit: usize) -> Vec<GrantId> {
        let mut due: Vec<_> = self
            .grants
            .values()
            .map(|held| &held.row)
            .filter(|row| row.next_at.is_some_and(|at| at <= now))
            .filter(|row| {
                row.lease.as_ref().is_none_or(|lease| {
                    lease.until_boot_ms <= now_ms || self.dead.contains(&lease.holder)
                })
            })
            .map(|row| (row.next_at, row.id.clone()))
            .collect();
        due.sort();
        due.into_iter().take(limit).map(|(_, id)| id).collect()
    }

    pub(super) fn open_intents(&self, limit: usize) -> Vec<GrantId> {
        self.grants
            .values()
            .filter(|held| held.row.intent.is_some() && held.row.state.life != Life::Revoked)
            .map(|held| held.row.id.clone())
            .take(limit)
            .collect()
    }

    pub(super) fn revoke(
        &mut self,
        grants: &[GrantId],
        state: &GrantState,
        revocation: RevocationRow,
        events: Vec<Event>,
    ) -> Result<(), StoreError> {
        if self.revocations.contains_key(&revocation.id) {
            return Err(failed("a revocation of this id is there already"));
        }
        self.changed(events)?;
        for id in grants {
            self.revoke_taken(id);
            if let Some(held) = self.grants.get_mut(id) {
                held.row.state.life = state.life;
                held.row.state.reason = state.reason.clone();
                held.row.next_at = None;
            }
        }
        self.revocations.insert(revocation.id.clone(), revocation);
        Ok(())
    }
}

impl Held {
    pub(super) fn new(row: GrantRow, consent_no: u64) -> Self {
        let claims = row.lease.as_ref().map_or(0, |lease| lease.no);
        let mut held = Self { row, claims, fingerprints: Vec::new(), consent_no };
        held.remember_fingerprints();
        held
    }

    fn take_tokens(&mut self, version: u64, new: NewTokens) {
        let row = &mut self.row;
        row.version = version;
        row.tokens = new.tokens;
        row.facts = new.facts;
        row.state = new.state;
        row.next_at = new.next_at;
        row.inputs = new.inputs;
        row.account = new.account;
        row.asked = new.asked.unwrap_or_else(|| std::mem::take(&mut row.asked));
        row.intent = None;
        self.remember_fingerprints();
    }

    fn end_lease(&mut self, lease_no: Option<u64>) {
        if self.row.lease.as_ref().map(|lease| lease.no) == lease_no {
            self.row.lease = None;
        }
    }

    fn remember_fingerprints(&mut self) {
        let facts = &self.row.facts;
        for fingerprint in [Some(facts.access), facts.refresh].into_iter().flatten() {
            self.fingerprints.retain(|known| *known != fingerprint);
            self.fingerprints.push(fingerprint);
        }
        let surplus = self.fingerprints.len().saturating_sub(2 * FINGERPRINT_VERSIONS_MAX);
        self.fingerprints.drain(..surplus);
    }
}

fn end_of(lease: Duration, now_ms: u64) -> u64 {
    now_ms.saturating_add(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX))
}
