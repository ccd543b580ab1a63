//! Something that happened. The audit log is the chain of all events.

use std::collections::BTreeMap;

use indicia_oauth::Timestamp;
use serde::{Deserialize, Serialize};

use super::grant::GrantRow;
use super::id::{ClientId, ConnectionId, GrantId};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A client was added.
    ClientAdded,
    /// A client was removed.
    ClientRemoved,
    /// A secret was added, promoted, or found to work.
    ClientSecretChanged,
    /// A client's settings changed.
    ClientChanged,
    /// A service refused a client.
    ClientRefused,
    /// A service takes a client again.
    ClientAccepted,
    /// A connection was made.
    Connected,
    /// A connection was renewed in place.
    Reconnected,
    /// A token set was replaced.
    Refreshed,
    /// An answer was lost.
    AnswerLost,
    /// A kept answer was read again and stored.
    Recovered,
    /// A grant was found dead.
    GrantDied,
    /// A connection works, but something behind it fails.
    Attention,
    /// A connection was taken back.
    Revoked,
    /// The service answered a revocation.
    RevocationDone,
    /// A connection was removed.
    Forgotten,
    /// A data key was added: what is sealed from then on is sealed with it.
    DataKeyAdded,
    /// A data key that sealed nothing any more was destroyed.
    DataKeyRemoved,
    /// The data keys were wrapped by another root key.
    RootKeyChanged,
    /// A copied or restored store became the one that refreshes.
    TakenOver,
    /// A backup was put in the place of what was there.
    Restored,
}

/// An event to append. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// When.
    pub at: Timestamp,
    /// Which connection, if one.
    pub connection: Option<ConnectionId>,
    /// Which client, if one.
    pub client: Option<ClientId>,
    /// Which grant, if one.
    pub grant: Option<GrantId>,
    /// Short facts.
    pub facts: BTreeMap<String, String>,
}

/// An event as stored: a link of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// From 1, without gaps.
    pub seq: u64,
    /// SHA-256 over the hash before it and this event's canonical JSON, hex.
    pub hash: String,
    /// The event.
    pub event: Event,
}

/// An event about a grant.
pub(crate) fn grant_event(grant: &GrantRow, kind: EventKind, at: Timestamp) -> Event {
    Event {
        kind,
        at,
        connection: None,
        client: Some(grant.client.clone()),
        grant: Some(grant.id.clone()),
        facts: BTreeMap::from([("version".into(), grant.version.to_string())]),
    }
}
