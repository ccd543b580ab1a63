//! A revocation: the durable queue of calls to services, and the receipt that they fill.

use std::collections::BTreeMap;

use indicia_oauth::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::{ClientId, ConnectionId, GrantId};
use crate::vault::Sealed;

/// How far one call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RevocationItemState {
    /// The service took it back.
    Revoked,
    /// Not yet: tried again until it answers.
    Pending,
    /// The service can't; see the next step.
    Cannot,
}

/// One thing to take back at a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationItem {
    /// Whose grant.
    pub grant: GrantId,
    /// Which version of it: what was granted for an earlier one is older.
    #[serde(default)]
    pub version: u64,
    /// Whose client: the call is made in its name.
    pub client: ClientId,
    /// Whose account, where known: a service that ends all that an account gave must not be asked
    /// while a newer grant of it lives.
    #[serde(default)]
    pub account: Option<String>,
    /// The grant's inputs, since the grant may be forgotten before the service answers.
    pub inputs: BTreeMap<String, String>,
    /// What: `refresh_token`, `access_token`, or `grant` where there is no call.
    pub what: String,
    /// The call, as shown: method and address without query.
    pub call: Option<String>,
    /// The sealed token to send; `None` once done.
    pub sealed: Option<Sealed>,
    /// The sealed access token that a probe proves dead; `None`: no proof, or done.
    pub probe: Option<Sealed>,
    /// What the service answered, in safe words.
    pub answer: Option<String>,
    /// When it answered last.
    pub at: Option<Timestamp>,
    /// How far.
    pub state: RevocationItemState,
    /// What to do by hand, where something is.
    pub next_step: Option<String>,
    /// Tries so far.
    pub tries: u32,
}

impl RevocationItem {
    /// Orders the items of one grant: its newest version last, and of that what is pending.
    pub fn newest(&self) -> (u64, bool) {
        (self.version, self.state == RevocationItemState::Pending)
    }
}

/// A revocation with its calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationRow {
    /// Random, hex.
    pub id: String,
    /// Connections that end.
    pub connections: Vec<ConnectionId>,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// The calls.
    pub items: Vec<RevocationItem>,
    /// Proof that the token is dead: which probe, when.
    pub proof: Option<(String, Timestamp)>,
    /// When to look at it next; `None`: done.
    pub next_at: Option<Timestamp>,
    /// Counts changes, from 1.
    pub revision: u64,
}
