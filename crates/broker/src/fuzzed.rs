//! Parsers of this crate that have no way of their own to the outside: for the fuzzer, and for
//! nobody else. They may change at any time.

use indicia_catalog::Service;
use indicia_oauth::{Timestamp, TokenSet};

use crate::commit_code::{FlowSecrets, read_entry};
use crate::error::Error;
use crate::import::{beside, read};

pub use crate::callback::Landed;

/// A token set as [`crate::Broker::import`] reads it, before it looks at anything else.
///
/// # Errors
/// As there.
pub fn import(service: &Service, token_set: &[u8], now: Timestamp) -> Result<TokenSet, Error> {
    read(service, &beside(token_set)?, token_set, now)
}

/// What a pending flow keeps sealed, written again; `None`: these bytes are nothing of the kind.
pub fn flow_secrets(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(FlowSecrets::from_bytes(bytes)?.to_bytes().to_vec())
}

/// Whether these bytes are inputs and answer of a flow, as the journal keeps them sealed.
pub fn is_kept_of_flow(bytes: &[u8]) -> bool {
    read_entry(bytes).is_some()
}
