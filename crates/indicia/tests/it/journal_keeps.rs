//! What the journal keeps, for whom, and for how long.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use indicia::journal_file::JournalFile;
use indicia::random::SystemChance;
use indicia_broker::ports::{Journal as _, JournalEntry, SlotNo};
use indicia_oauth::Timestamp;

use crate::journal_support::{HandClock, entry, keep, open};

const DAY_MS: i64 = 24 * 3600 * 1000;

#[tokio::test]
async fn nothing_is_made_before_it_is_needed() {
    let home = tempfile::tempdir().unwrap();
    let journal = open(&home.path().join("home"));
    assert_eq!(journal.entries(None).await.unwrap(), []);
    assert_eq!(journal.entries(Some("a")).await.unwrap(), []);
    journal.give_back(SlotNo(1)).await;
    assert!(!home.path().join("home").exists());
}

#[tokio::test]
async fn directory_and_files_are_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = tempfile::tempdir().unwrap();
    keep(&open(home.path()), entry("a", 1, 9)).await;
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let dir = home.path().join("journal");
    assert_eq!(mode(&dir), 0o700);
    let files: Vec<_> =
        std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "an id and a segment: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{file:?}");
    }
}

#[tokio::test]
async fn the_id_belongs_to_the_home() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = open(home.path());
    let id = first.id();
    assert_eq!((first.id(), open(home.path()).id()), (id.clone(), id.clone()));
    assert_ne!(open(other.path()).id(), id);
    // Many at once agree as well.
    let home = tempfile::tempdir().unwrap();
    let path = home.path().to_owned();
    let threads = (0..8).map(|_| {
        let path = path.clone();
        std::thread::spawn(move || open(&path).id())
    });
    let ids: Vec<_> = threads.collect::<Vec<_>>().into_iter().map(|t| t.join().unwrap()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn what_is_kept_is_found_by_the_next_process_as_it_was() {
    let home = tempfile::tempdir().unwrap();
    let kept = [entry("a", 1, 0), entry("b", 7, 1500), entry("c", 0, 300 * 1024)];
    {
        let journal = open(home.path());
        for entry in &kept {
            keep(&journal, entry.clone()).await;
        }
        assert_eq!(journal.entries(None).await.unwrap(), kept);
    }
    let next = open(home.path());
    assert_eq!(next.entries(None).await.unwrap(), kept);
    assert_eq!(next.entries(Some("b")).await.unwrap(), kept[1..2]);
    assert_eq!(next.entries(Some("d")).await.unwrap(), []);
    // And goes on in the same segment.
    keep(&next, entry("d", 1, 9)).await;
    assert_eq!(next.entries(None).await.unwrap().len(), 4);
    assert_eq!(segments(home.path()).len(), 1);
}

#[tokio::test]
async fn an_older_entry_is_superseded_and_one_of_the_same_version_stays() {
    let home = tempfile::tempdir().unwrap();
    let journal = open(home.path());
    let late = JournalEntry { sent_at: Timestamp::from_millis(500), ..entry("a", 2, 40) };
    for kept in [entry("a", 1, 9), entry("a", 2, 9), late.clone(), entry("a", 1, 50)] {
        keep(&journal, kept).await;
    }
    // The one sent last comes last.
    assert_eq!(journal.entries(Some("a")).await.unwrap(), [late, entry("a", 2, 9)]);
}

#[tokio::test]
async fn a_committed_entry_stays_for_seven_days() {
    let home = tempfile::tempdir().unwrap();
    let clock = HandClock::at(0);
    let journal = JournalFile::new(home.path(), clock.clone(), Arc::new(SystemChance));
    for of in ["a", "b", "c"] {
        keep(&journal, entry(of, 2, 9)).await;
    }
    journal.committed("a", 2, Timestamp::from_millis(1000)).await.unwrap();
    journal.committed("b", 1, Timestamp::from_millis(1000)).await.unwrap();
    let kept = async || {
        let entries = journal.entries(None).await.unwrap();
        entries.into_iter().map(|entry| entry.of).collect::<String>()
    };
    assert_eq!(kept().await, "abc");
    clock.0.store(7 * DAY_MS + 999, Ordering::SeqCst);
    assert_eq!(kept().await, "abc");
    clock.0.store(7 * DAY_MS + 1000, Ordering::SeqCst);
    // Another version's mark is none; an uncommitted one stays.
    assert_eq!(kept().await, "bc");
    assert_eq!(open(home.path()).entries(Some("b")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_slot_is_room_for_the_largest_answer() {
    let home = tempfile::tempdir().unwrap();
    let journal = open(home.path());
    let mut slots = Vec::new();
    for _ in 0..10 {
        slots.push(journal.reserve().await.unwrap());
    }
    let size = segments(home.path())[0];
    for (n, slot) in slots.into_iter().enumerate() {
        journal.keep(slot, entry(&format!("g{n}"), 1, 288 * 1024)).await.unwrap();
    }
    assert_eq!(journal.entries(None).await.unwrap().len(), 10);
    assert_eq!(segments(home.path()), [size], "the room was there beforehand");
}

#[tokio::test]
async fn slots_given_back_and_kept_are_free_again() {
    let home = tempfile::tempdir().unwrap();
    let journal = open(home.path());
    for n in 0..40 {
        let slot = journal.reserve().await.unwrap();
        match n % 2 {
            0 => journal.give_back(slot).await,
            _ => journal.keep(slot, entry("a", n, 900)).await.unwrap(),
        }
    }
    assert_eq!(segments(home.path()), [1024 * 1024]);
}

#[tokio::test]
async fn superseded_entries_make_room_and_the_files_stay_small() {
    let home = tempfile::tempdir().unwrap();
    let journal = open(home.path());
    for version in 1..=600 {
        let of = format!("g{}", version % 7);
        keep(&journal, entry(&of, version, 8000)).await;
        if version % 50 == 0 {
            journal.committed(&of, version, Timestamp::from_millis(0)).await.unwrap();
        }
    }
    assert_eq!(segments(home.path()), [1024 * 1024; 2]);
    let entries = open(home.path()).entries(None).await.unwrap();
    let mut versions: Vec<u64> = entries.iter().map(|entry| entry.version).collect();
    versions.sort_unstable();
    assert_eq!(versions, (594..=600).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_lives_makes_the_journal_grow_and_expires_from_it() {
    let home = tempfile::tempdir().unwrap();
    let clock = HandClock::at(0);
    let journal = JournalFile::new(home.path(), clock.clone(), Arc::new(SystemChance));
    for n in 0..300 {
        let of = format!("g{n}");
        keep(&journal, entry(&of, 1, 8000)).await;
        journal.committed(&of, 1, Timestamp::from_millis(0)).await.unwrap();
    }
    assert_eq!(journal.entries(None).await.unwrap().len(), 300);
    let grown: u64 = segments(home.path()).iter().sum();
    clock.0.store(8 * DAY_MS, Ordering::SeqCst);
    for n in 0..300 {
        keep(&journal, entry("late", n, 8000)).await;
    }
    assert_eq!(journal.entries(None).await.unwrap().len(), 1);
    let after: u64 = segments(home.path()).iter().sum();
    assert!(after <= 2 * grown, "{after} after {grown}");
}

/// Sizes of all segments, sorted.
fn segments(home: &std::path::Path) -> Vec<u64> {
    let files = std::fs::read_dir(home.join("journal")).unwrap().map(|file| file.unwrap());
    let segments = files.filter(|file| file.file_name().to_string_lossy().ends_with(".segment"));
    let mut sizes: Vec<u64> = segments.map(|file| file.metadata().unwrap().len()).collect();
    sizes.sort_unstable();
    sizes
}
