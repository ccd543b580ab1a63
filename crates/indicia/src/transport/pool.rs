//! Idle connections, kept for a moment.
//!
//! What would surprise: the moment is short. A server that closes an idle connection while a
//! request is on its way leaves us not knowing whether it was read, which for a spend costs far
//! more than another handshake.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::link::Link;
use super::target::Target;

/// Longest that a connection stays idle: below the shortest keep-alive in common use (5 s).
pub(super) const IDLE_AGE_MAX: Duration = Duration::from_secs(4);
/// Idle connections kept for one host and port, and altogether.
const IDLE_PER_TARGET_MAX: usize = 64;
const IDLE_MAX: usize = 256;

/// Idle connections, the youngest last.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    target: Target,
    until: Instant,
    link: Link,
}

impl Pool {
    /// The youngest that is not too old. The caller looks whether it is still open.
    pub(super) fn take(&self, target: &Target) -> Option<Link> {
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|kept| kept.until > now);
        let at = idle.iter().rposition(|kept| kept.target == *target)?;
        Some(idle.remove(at).link)
    }

    /// Keeps a connection for `keep_alive` at most.
    pub(super) fn put(&self, target: Target, link: Link, keep_alive: Duration) {
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|kept| kept.until > now);
        let same = idle.iter().filter(|kept| kept.target == target).count();
        if same < IDLE_PER_TARGET_MAX && idle.len() < IDLE_MAX {
            idle.push(Idle { target, until: now + keep_alive.min(IDLE_AGE_MAX), link });
        }
    }
}
