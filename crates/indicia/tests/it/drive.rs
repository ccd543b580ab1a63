//! The loop that runs the duties.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indicia::drive::{LOOK_AT_LEAST_EVERY, LOOK_AT_MOST_EVERY, when_due};
use indicia_oauth::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::journal_support::HandClock;

/// Runs the loop for `time` and counts the looks; `next` is what each look says, in milliseconds
/// from now.
async fn looks(time: Duration, next: Option<i64>, nudge: &Notify) -> usize {
    let count = AtomicUsize::new(0);
    let clock = HandClock::at(5000);
    let run = when_due(&*clock, nudge, || async {
        count.fetch_add(1, Ordering::SeqCst);
        next.map(|millis| Timestamp::from_millis(5000 + millis))
    });
    let _ = tokio::time::timeout(time, run).await;
    count.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn it_looks_when_something_is_due_and_from_time_to_time() {
    let nudge = Notify::new();
    let seconds = Duration::from_secs;
    assert_eq!(looks(seconds(95), None, &nudge).await, 4);
    assert_eq!(looks(seconds(95), Some(3_600_000), &nudge).await, 4);
    assert_eq!(looks(seconds(95), Some(9_950), &nudge).await, 10);
    let busiest = seconds(95).as_millis() / LOOK_AT_MOST_EVERY.as_millis();
    for due in [0, -5000] {
        let count = looks(seconds(95), Some(due), &nudge).await as u128;
        assert!(count <= busiest + 1 && count > busiest / 2, "{count}");
    }
    assert_eq!(LOOK_AT_LEAST_EVERY, seconds(30));
}

#[tokio::test(start_paused = true)]
async fn a_nudge_ends_the_wait_and_is_not_lost_during_a_look() {
    let nudge = Notify::new();
    let started = Instant::now();
    let nudging = async {
        sleep(Duration::from_millis(500)).await;
        nudge.notify_one();
    };
    let (count, ()) = tokio::join!(looks(Duration::from_secs(1), None, &nudge), nudging);
    assert_eq!(count, 2);
    nudge.notify_one();
    assert_eq!(looks(Duration::from_secs(1), None, &nudge).await, 2);
    assert!(started.elapsed() < Duration::from_secs(3));
}
