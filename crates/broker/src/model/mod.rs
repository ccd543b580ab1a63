//! The nouns, as plain data: what the store keeps and the verbs speak of.

mod client;
mod connection;
mod event;
mod flow;
mod grant;
mod id;
mod revocation;

pub use client::{
    ClientRefused, ClientRow, Environment, GrantsHeld, GrantsRefused, SecretRow, SecretState,
};
pub use connection::ConnectionRow;
pub(crate) use event::grant_event;
pub use event::{Event, EventKind, EventRow};
pub use flow::{FlowRow, TakenFlow};
pub use grant::{
    Account, Ambiguity, Cause, GrantRow, GrantState, Intent, Lease, Life, REFUSALS_MAX, Reason,
    ReasonCode, RefusedSpend, RotationOwner, TokenFacts,
};
pub use id::{ClientId, ConnectionId, GrantId, HolderId, IdError, JournalId};
pub use revocation::{RevocationItem, RevocationItemState, RevocationRow};
