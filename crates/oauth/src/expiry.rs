//! When a token ends: at a time, never, or unknown; and every spelling of it that services use.
//!
//! What would surprise: zero is no moment. A token that "ends in 0 seconds" is at several services
//! one that never ends, and read as a moment it would be refreshed in a loop.

use std::time::Duration;

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

/// The longest life that is believed.
pub const LIFE_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// What one spelling of "expires" says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The token ends then; at most [`LIFE_MAX`] after it was asked for.
    Until(Timestamp),
    /// As above, cut to [`LIFE_MAX`].
    Capped(Timestamp),
    /// Zero: what that means, the catalogue says (never, unknown, a default).
    Zero,
}

impl ExpiryKind {
    /// Reads one spelling, as text: digits with at most one fraction, or RFC 3339. `None` when it
    /// is negative or not of this kind, such as `3600abc`. `sent_at`: when the request was sent,
    /// from which a life counts (RFC 6749 §5.1).
    pub fn read(self, spelling: &str, sent_at: Timestamp) -> Option<Life> {
        let spelling = spelling.trim();
        let millis = match self {
            Self::Seconds | Self::UnixSeconds => decimal(spelling, 3)?,
            Self::Millis | Self::UnixMillis => decimal(spelling, 0)?,
            Self::Rfc3339 => spelling.parse::<jiff::Timestamp>().ok()?.as_millisecond(),
        };
        if millis == 0 {
            return Some(Life::Zero);
        }
        let last = sent_at.plus(LIFE_MAX);
        let end = match self {
            Self::Seconds | Self::Millis => sent_at.as_millis().saturating_add(millis),
            Self::UnixSeconds | Self::UnixMillis | Self::Rfc3339 => millis,
        };
        match Timestamp::from_millis(end) {
            end if end > last => Some(Life::Capped(last)),
            // A date that far back is a life under the wrong name, or a broken clock there.
            end if end < sent_at.minus(LIFE_MAX) => None,
            end => Some(Life::Until(end)),
        }
    }
}

/// Digits with at most one fraction, times ten to the power of `shift`; saturates.
fn decimal(text: &str, shift: usize) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let kept = fraction.bytes().chain(std::iter::repeat(b'0')).take(shift);
    Some(
        whole.bytes().chain(kept).fold(0_i64, |sum, digit| {
            sum.saturating_mul(10).saturating_add(i64::from(digit - b'0'))
        }),
    )
}
