//! The chain of events: each link's hash covers the one before it, so that a change in the past
//! shows in every later hash.
//!
//! What would surprise: the JSON is canonical only because an event has fixed fields in a fixed
//! order, and sorted maps. A field added to [`Event`] must be left out of the JSON while it is
//! empty, or old chains no longer verify.

use indicia_broker::model::{Event, EventRow};
use sha2::{Digest, Sha256};

/// The hash before the first event.
pub const GENESIS: [u8; 32] = [0; 32];

/// The hash of an event's link: SHA-256 over the hash before it and the event's JSON.
pub fn link(before: &[u8; 32], json: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(before);
    hasher.update(json);
    hasher.finalize().into()
}

/// An event as it enters the chain.
pub fn canonical_json(event: &Event) -> Result<String, serde_json::Error> {
    serde_json::to_string(event)
}

/// Whether `rows` follow each other without a gap, from the hash before them; the first sequence
/// number that is wrong otherwise.
pub fn verify(before: [u8; 32], rows: &[EventRow]) -> Result<(), u64> {
    let mut hash = before;
    let first = rows.first().map_or(1, |row| row.seq);
    for (expected, row) in (first..).zip(rows) {
        let json = canonical_json(&row.event).map_err(|_| row.seq)?;
        hash = link(&hash, json.as_bytes());
        if row.seq != expected || row.hash != to_hex(&hash) {
            return Err(row.seq);
        }
    }
    Ok(())
}

/// Lower-case hex.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}
