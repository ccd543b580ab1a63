//! Runs the engine's duties when they are due, and looks for what other processes changed: a server
//! and an embedder need the same loops.
//!
//! What would surprise: the wait is never longer than half a minute, whatever the engine says is
//! next. Another process may have made something due, and the wall clock may be set; a look costs
//! little.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use indicia_broker::Broker;
use indicia_broker::ports::Clock;
use indicia_oauth::Timestamp;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// Longest wait between two looks at what is due.
pub const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(30);

/// Shortest wait between two looks: what is due and can't be done yet must not be asked for without
/// pause.
pub const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(50);

/// How often changes by other processes are looked for: well within the second that is promised.
pub const NOTICE_EVERY: Duration = Duration::from_millis(250);

/// Keeps an engine going, for ever: who has enough drops the future. What a duty has begun to spend
/// is finished by its own task ([`Broker::drain`] waits for it). `nudge` ends a wait early.
pub async fn drive(broker: &Arc<Broker>, clock: &dyn Clock, nudge: &Notify) {
    let round = || async {
        match broker.run_due().await {
            Ok(report) => report.next_at,
            Err(error) => {
                tracing::warn!(%error, "duties");
                None
            }
        }
    };
    let mut duties = pin!(when_due(clock, nudge, round));
    let mut changes = pin!(async {
        loop {
            sleep(NOTICE_EVERY).await;
            if let Err(error) = broker.notice_changes().await {
                tracing::warn!(%error, "changes by others");
            }
        }
    });
    std::future::poll_fn(|context| {
        let never: Poll<()> = duties.as_mut().poll(context);
        let nor_this: Poll<()> = changes.as_mut().poll(context);
        if never.is_ready() { never } else { nor_this }
    })
    .await;
}

/// Runs `duties`, waits until what they say is next, and again, for ever.
pub async fn when_due<F: Future<Output = Option<Timestamp>>>(
    clock: &dyn Clock,
    nudge: &Notify,
    mut duties: impl FnMut() -> F,
) {
    loop {
        let next = duties().await;
        sleep(LOOK_AT_MOST_EVERY).await;
        let wait = next.map_or(LOOK_AT_LEAST_EVERY, |next| next.since(clock.now()));
        // Nudged or waited out: either way it is time to look.
        let _ = timeout(wait.min(LOOK_AT_LEAST_EVERY), nudge.notified()).await;
    }
}
