//! The two real clocks.

use indicia_broker::ports::Clock;
use indicia_oauth::Timestamp;

/// The operating system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one real wall clock")]
    fn now(&self) -> Timestamp {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // A machine whose clock stands before 1970 is at zero: every expiry then looks far away,
        // and the service's refusals correct that.
        let millis = since_1970.unwrap_or_default().as_millis();
        Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
    }

    #[expect(clippy::disallowed_methods, reason = "the one real boot-time clock")]
    fn boot_millis(&self) -> u64 {
        let time = rustix::time::clock_gettime(SINCE_BOOT);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let millis = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or(0);
        seconds.saturating_mul(1000).saturating_add(millis)
    }
}

/// Counts while the machine sleeps, so that a lease ends during a sleep too.
#[cfg(any(target_os = "linux", target_os = "android"))]
const SINCE_BOOT: rustix::time::ClockId = rustix::time::ClockId::Boottime;
/// Elsewhere the monotonic clock is the nearest thing.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const SINCE_BOOT: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
