//! The meaning of [`Store`], executable: each case is one promise of the port, and every store
//! passes all of them.
//!
//! What would surprise: this stands in `src`, as it belongs to the port and not to one store. A new
//! store implements [`Subject`] in its tests and runs [`cases`].
#![expect(clippy::unwrap_used, reason = "a suite of tests: a broken promise is a panic")]

mod clients;
mod commits;
mod connections;
mod events;
mod flows;
mod leases;
mod revocations;
pub mod rows;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use indicia_broker::ports::{Clock, Store, Task};
use indicia_oauth::Timestamp;

/// One empty store under test.
pub trait Subject: Send + Sync {
    /// The store through one more holder.
    fn handle(&self) -> Arc<dyn Store>;
    /// The process of this holder dies.
    fn kill(&self, holder: Arc<dyn Store>);
    /// The clock that the store was given.
    fn clock(&self) -> &ManualClock;
}

/// One promise.
pub struct Case {
    /// In words.
    pub name: &'static str,
    /// Panics where the promise is broken. Needs a runtime with tasks; the store must be empty.
    pub run: fn(Arc<dyn Subject>) -> Task,
}

macro_rules! cases {
    ($($file:ident: $($name:ident),+;)+) => {
        vec![$($(Case { name: stringify!($name), run: |subject| Box::pin($file::$name(subject)) }),+),+]
    };
}

/// All promises.
pub fn cases() -> Vec<Case> {
    cases![
        clients:
            data_keys_come_back_oldest_first,
            a_data_key_number_is_given_once,
            data_keys_are_wrapped_anew_all_or_none,
            a_data_key_goes_when_nothing_is_sealed_with_it,
            a_client_comes_back_as_it_was_added,
            a_client_id_is_taken_once,
            a_client_changes_only_from_its_last_revision,
            a_client_with_connections_stays;
        flows:
            a_flow_comes_back_as_it_was_added,
            a_flow_is_taken_by_exactly_one,
            a_flow_cannot_be_taken_after_its_end,
            a_removed_flow_is_unknown,
            a_consent_is_stored_once_and_never_over_a_newer_one,
            the_order_of_consents_is_not_the_clocks,
            what_was_taken_before_a_revocation_is_taken_back,
            what_was_forgotten_with_a_revocation_is_known,
            taken_flows_stay_for_their_journal_to_end_them,
            a_forgotten_connection_takes_its_taken_flows_along;
        connections:
            a_connection_comes_back_with_its_grant,
            a_connection_id_is_taken_once,
            a_connection_joins_a_grant_that_is_there,
            a_connection_is_relabelled,
            a_connection_is_reconnected_to_a_new_grant,
            a_replaced_grant_stays_while_its_revocation_waits,
            connections_are_filtered,
            connections_are_paged,
            forget_takes_the_grant_with_the_last_connection,
            the_living_grant_of_an_account_is_found,
            earlier_tokens_are_found_by_fingerprint,
            a_refresh_token_that_stays_finds_its_grant;
        leases:
            a_lease_has_one_holder,
            the_same_holder_cannot_claim_twice,
            of_many_claims_one_wins,
            a_lease_ends_by_time,
            a_killed_holders_lease_ends_at_once,
            a_lease_is_prolonged_only_while_it_lasts,
            lease_numbers_never_fall,
            release_frees_only_its_own_lease,
            begin_needs_lease_and_version,
            settle_needs_lease_and_version,
            settle_keeps_or_clears_the_intent,
            due_is_ordered_and_leaves_out_what_is_leased,
            open_intents_are_found;
        commits:
            a_commit_moves_the_version_and_clears_the_intent,
            two_commits_from_one_version_give_one_winner,
            a_commit_from_an_old_version_is_superseded,
            a_commit_needs_no_lease,
            a_commit_keeps_what_it_does_not_name,
            a_rejected_token_is_marked_at_its_version_only,
            a_rejected_token_makes_an_open_ambiguity_due,
            a_commit_may_leave_versions_out;
        revocations:
            revoke_marks_and_queues_and_keeps_the_version,
            nothing_brings_a_revoked_grant_back,
            revocations_fall_due_in_order,
            a_revocation_changes_only_from_its_last_revision;
        events:
            events_make_a_chain_without_gaps,
            what_is_refused_leaves_no_event,
            every_change_moves_the_change_number;
    ]
}

/// Two clocks that stand until they are moved.
#[derive(Debug)]
pub struct ManualClock {
    now_ms: AtomicI64,
    boot_ms: AtomicU64,
}

impl ManualClock {
    /// A clock at [`rows::NOW`], an hour after boot.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            now_ms: AtomicI64::new(rows::NOW.as_millis()),
            boot_ms: AtomicU64::new(3_600_000),
        })
    }

    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap();
        self.now_ms.fetch_add(i64::try_from(millis).unwrap(), Ordering::SeqCst);
        self.boot_ms.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_ms.load(Ordering::SeqCst))
    }

    fn boot_millis(&self) -> u64 {
        self.boot_ms.load(Ordering::SeqCst)
    }
}
