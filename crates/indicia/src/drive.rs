//! Runs the engine's duties when they are due: a server and an embedder need the same loop.
//!
//! What would surprise: the wait is never longer than half a minute, whatever the engine says is next.
//! Another process may have made something due, and the wall clock may be set; a look costs little.

use std::sync::Arc;
use std::time::Duration;

use indicia_broker::ports::Clock;
use indicia_oauth::Timestamp;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Longest wait between two looks.
pub const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(30);

/// Shortest wait between two looks: what is due and can't be done yet must not be asked for without
/// pause.
pub const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(50);

/// Runs `duties`, waits until what they say is next, and again, for ever: who has enough drops the
/// future (between two runs or within one; what a duty has begun to spend is finished by its own
/// task). `nudge` ends a wait early.
pub async fn drive<F: Future<Output = Option<Timestamp>>>(
    clock: Arc<dyn Clock>,
    nudge: Arc<Notify>,
    mut duties: impl FnMut() -> F,
) {
    loop {
        let next = duties().await;
        tokio::time::sleep(LOOK_AT_MOST_EVERY).await;
        let wait = next.map_or(LOOK_AT_LEAST_EVERY, |next| next.since(clock.now()));
        // Nudged or waited out: either way it is time to look.
        let _ = timeout(wait.min(LOOK_AT_LEAST_EVERY), nudge.notified()).await;
    }
}
