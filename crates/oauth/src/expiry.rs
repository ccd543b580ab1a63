//! When a token ends: at a time, never, or unknown.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// When a token ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expiry {
    /// At this moment, counted from when the request was sent.
    At(Timestamp),
    /// Never: only where the catalogue says so.
    Never,
    /// Not told: used until it is refused.
    Unknown,
}

/// How an "expires" member is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiryKind {
    /// Seconds of life (RFC 6749 §5.1).
    Seconds,
    /// Milliseconds of life.
    Millis,
    /// Unix time in seconds, fraction allowed.
    UnixSeconds,
    /// Unix time in milliseconds.
    UnixMillis,
    /// RFC 3339 text.
    Rfc3339,
}
