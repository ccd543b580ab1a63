//! Clocks, chance, tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indicia::clock::SystemClock;
use indicia::random::SystemChance;
use indicia::spawn::TokioSpawn;
use indicia_broker::ports::{Clock as _, Random as _, Spawn as _};

#[test]
fn the_wall_clock_is_past_2026_and_the_other_counts_from_boot() {
    assert!(SystemClock.now().as_millis() > 1_767_225_600_000);
    let before = SystemClock.boot_millis();
    std::thread::sleep(Duration::from_millis(20));
    let passed = SystemClock.boot_millis() - before;
    assert!((15..5_000).contains(&passed), "{passed}");
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    let told = before as f64 / 1000.0;
    assert!((told - seconds).abs() < 5.0, "{told} {seconds}");
}

#[test]
fn random_bytes_differ() {
    let mut drawn = [[0_u8; 32]; 3];
    for bytes in &mut drawn {
        SystemChance.fill(bytes);
    }
    assert!(drawn[0] != drawn[1] && drawn[1] != drawn[2] && drawn[0] != [0; 32]);
}

#[tokio::test]
async fn drain_waits_for_tasks_and_for_those_that_they_start() {
    let spawn = TokioSpawn::new(tokio::runtime::Handle::current());
    spawn.drain().await;
    let done = Arc::new(AtomicUsize::new(0));
    let (inner, inner_done) = (spawn.clone(), Arc::clone(&done));
    spawn.spawn(Box::pin(async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let innermost = Arc::clone(&inner_done);
        inner.spawn(Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            innermost.fetch_add(1, Ordering::SeqCst);
        }));
        inner_done.fetch_add(1, Ordering::SeqCst);
    }));
    assert_eq!(spawn.open(), 1);
    spawn.drain().await;
    assert_eq!((done.load(Ordering::SeqCst), spawn.open()), (2, 0));
}

#[tokio::test]
async fn a_task_that_panics_counts_as_over() {
    let spawn = TokioSpawn::new(tokio::runtime::Handle::current());
    spawn.spawn(Box::pin(async { panic!("as wanted by the test") }));
    tokio::time::timeout(Duration::from_secs(5), spawn.drain()).await.unwrap();
}
