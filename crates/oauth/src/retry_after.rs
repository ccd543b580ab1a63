//! `Retry-After`, in seconds or as a date, made sane (RFC 9110 §10.2.3).
//!
//! What would surprise: a date is measured against the answer's own `Date`, so that the service's
//! clock is compared with itself; no clock is asked here.

use std::time::{Duration, SystemTime};

use crate::answer::Answer;
use crate::time::Timestamp;

/// The shortest wait that is believed.
pub const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

/// The longest wait that is believed.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

impl Answer {
    /// How long the answer asks to wait, from [`RETRY_AFTER_MIN`] to [`RETRY_AFTER_MAX`]; `None`
    /// when it doesn't say, or nothing that can be read. `sent_at` stands in for a missing `Date`.
    pub fn retry_after(&self, sent_at: Option<Timestamp>) -> Option<Duration> {
        let value = self.header("retry-after")?.trim();
        seconds(value).or_else(|| self.until(value, sent_at)).map(clamp)
    }

    fn until(&self, date: &str, sent_at: Option<Timestamp>) -> Option<Duration> {
        let then = http_date(date)?;
        Some(then.since(self.date().or(sent_at)?))
    }

    /// The answer's own `Date`, from which a skew between the two clocks can be learnt
    /// (RFC 9110 §6.6.1).
    pub fn date(&self) -> Option<Timestamp> {
        self.header("date").and_then(http_date)
    }
}

/// The nearest wait that is believed.
pub(crate) fn clamp(wait: Duration) -> Duration {
    wait.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX)
}

/// Seconds, a fraction dropped; a negative number is none at all.
fn seconds(text: &str) -> Option<Duration> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (0, rest));
    let whole = match digits.split_once('.') {
        Some((whole, part)) if part.bytes().all(|b| b.is_ascii_digit()) => whole,
        Some(_) => return None,
        None => digits,
    };
    if whole.is_empty() || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds = whole.parse::<u64>().unwrap_or(u64::MAX);
    Some(Duration::from_secs(seconds * sign))
}

fn http_date(text: &str) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    let millis = date.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis();
    Some(Timestamp::from_millis(i64::try_from(millis).ok()?))
}
