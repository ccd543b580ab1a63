//! A pending flow: an authorization request that waits for its callback. Everything that decides
//! where a code may go is frozen here when the flow starts.

use std::collections::BTreeMap;

use indicia_oauth::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::{ClientId, ConnectionId, JournalId};
use crate::vault::Sealed;

/// A pending authorization request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRow {
    /// SHA-256 of the state, hex: the state itself is in `sealed`.
    pub state_hash: String,
    /// Whose client.
    pub client: ClientId,
    /// The connection to make or renew.
    pub connection: ConnectionId,
    /// The exact redirect URI sent.
    pub redirect_uri: String,
    /// Sealed JSON: state, verifier.
    pub sealed: Sealed,
    /// Token endpoint, issuer and the like, frozen (RFC 9700 §4.4.2). JSON.
    pub frozen: String,
    /// Scopes asked for.
    pub asked: Vec<String>,
    /// Inputs known so far.
    pub inputs: BTreeMap<String, String>,
    /// Labels for the connection.
    pub labels: BTreeMap<String, String>,
    /// When it began.
    pub created_at: Timestamp,
    /// It can't be finished after this.
    pub expires_at: Timestamp,
    /// When its callback came: the intent to spend the code.
    pub used_at: Option<Timestamp>,
    /// Whose journal would hold the answer.
    pub journal: Option<JournalId>,
    /// Its place in the order in which this store's flows were taken, from 1; 0 until then.
    #[serde(default)]
    pub taken_no: u64,
    /// Its connection was taken back after its callback came: so is what comes of it.
    #[serde(default)]
    pub revoked: bool,
}

/// What taking a flow gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakenFlow {
    /// It is yours, now marked used.
    Taken(Box<FlowRow>),
    /// Its callback came before, at this time.
    Used(Timestamp),
    /// It ended at this time.
    Expired(Timestamp),
    /// No such state.
    Unknown,
}
