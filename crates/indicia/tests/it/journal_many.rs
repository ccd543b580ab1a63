//! Many keepers and readers: tasks, journals of one home, processes.

use std::io::Read as _;
use std::sync::Arc;

use indicia_broker::ports::Journal as _;

use crate::journal_support::{child, entry, keep, open, task};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keepers_at_once_all_are_found() {
    let home = tempfile::tempdir().unwrap();
    let journal = Arc::new(open(home.path()));
    let keepers = (0..64).map(|n| {
        let journal = Arc::clone(&journal);
        async move {
            for version in 1..=5 {
                keep(&journal, entry(&format!("g{n}"), version, 1500)).await;
            }
        }
    });
    futures_util::future::join_all(keepers).await;
    let entries = open(home.path()).entries(None).await.unwrap();
    assert_eq!(entries.len(), 64);
    assert!(entries.iter().all(|entry| entry.version == 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_misses_an_entry_while_it_is_tidied_away() {
    let home = tempfile::tempdir().unwrap();
    let journal = Arc::new(open(home.path()));
    keep(&journal, entry("still", 1, 3000)).await;
    let writing = async {
        for version in 1..=800 {
            keep(&journal, entry("busy", version, 12_000)).await;
        }
    };
    let path = home.path().to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (reader, mut reads) = (open(&path), 0);
        loop {
            let entries = runtime.block_on(reader.entries(None)).unwrap();
            assert!(entries.contains(&entry("still", 1, 3000)), "missed in read {reads}");
            reads += 1;
            assert!(reads < 100_000, "the last entry never came");
            if entries.iter().any(|entry| entry.version == 800) {
                return reads;
            }
        }
    });
    let (reads, ()) = tokio::join!(reading, writing);
    assert!(reads.unwrap() > 10);
}

#[tokio::test]
async fn processes_of_one_home_write_beside_each_other() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().display();
    let spawn = |n| child("journal_many::child_keeps_fifty", &format!("{path}|{n}"), None);
    let children: Vec<_> = (0..4).map(spawn).collect();
    for mut child in children {
        let mut told = String::new();
        child.stdout.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(child.wait().unwrap().success(), "{told}");
    }
    assert_eq!(open(home.path()).entries(None).await.unwrap().len(), 200);
}

#[tokio::test]
async fn child_keeps_fifty() {
    let Some(task) = task() else { return };
    let (home, n) = task.split_once('|').unwrap();
    let journal = open(home.as_ref());
    for i in 0..50 {
        keep(&journal, entry(&format!("g{n}-{i}"), 1, 1500)).await;
    }
}

#[tokio::test]
async fn a_reader_that_lives_on_finds_what_others_append() {
    let home = tempfile::tempdir().unwrap();
    let (reader, mut kept) = (open(home.path()), Vec::new());
    let (one, other) = (open(home.path()), open(home.path()));
    for (n, bytes) in [10, 300 * 1024, 17 * 1024, 900, 16 * 1024, 40].into_iter().enumerate() {
        let entry = entry(&format!("g{n}"), 1, bytes);
        keep(if n % 2 == 0 { &one } else { &other }, entry.clone()).await;
        kept.push(entry);
        assert_eq!(reader.entries(None).await.unwrap(), kept);
        assert_eq!(reader.entries(Some(&format!("g{n}"))).await.unwrap(), kept[n..]);
    }
    one.committed("g1", 1, indicia_oauth::Timestamp::from_millis(i64::MIN)).await.unwrap();
    kept.remove(1);
    assert_eq!(reader.entries(None).await.unwrap(), kept);
}
