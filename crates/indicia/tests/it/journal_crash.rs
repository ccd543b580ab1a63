//! Killed, torn, flipped, full: what was acknowledged is found, and nothing else is.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use indicia_broker::ports::{Journal as _, JournalEntry};
use proptest::prelude::*;

use crate::journal_support::{child, entry, keep, open, task};

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn an_acknowledged_answer_survives_kill_9() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().display();
    let mut acknowledged = Vec::new();
    for round in 0..10_u64 {
        let mut child =
            child("journal_crash::child_keeps_until_killed", &format!("{path}|{round}"), None);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.by_ref().map(|line| line.unwrap()).find(|line| line.starts_with("kept"));
        std::thread::sleep(Duration::from_millis(3 + 17 * round % 50));
        child.kill().unwrap();
        child.wait().unwrap();
        // What stands in the pipe was acknowledged before the kill; a half line wasn't.
        let rest = lines.map_while(Result::ok).filter(|line| line.starts_with("kept"));
        let kept = first.into_iter().chain(rest);
        acknowledged.extend(kept.map(|line| line.split(' ').nth(1).unwrap().to_owned()));
    }
    assert!(acknowledged.len() > 10, "only {} were kept at all", acknowledged.len());
    let entries = open(home.path()).entries(None).await.unwrap();
    for of in &acknowledged {
        assert!(entries.contains(&entry(of, 1, 1500)), "{of} is lost");
    }
    // All that died left their segments to the next one.
    let segments = std::fs::read_dir(home.path().join("journal")).unwrap().count();
    assert!(segments <= 4, "{segments}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_keeps_until_killed() {
    let Some(task) = task() else { return };
    let (home, round) = task.split_once('|').unwrap();
    let journal = open(home.as_ref());
    let keepers = (0..4).map(|keeper| {
        let journal = &journal;
        async move {
            for n in 0..100_000 {
                let of = format!("g{round}-{keeper}-{n}");
                keep(journal, entry(&of, 1, 1500)).await;
                println!("kept {of} .");
            }
        }
    });
    futures_util::future::join_all(keepers).await;
}

#[test]
fn on_a_full_disk_no_slot_is_given_and_a_given_one_still_holds() {
    for (limit, expected) in [(0, "slots 0, kept 0"), (MIB, "slots 3, kept 3")] {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().display().to_string();
        let mut child = child("journal_crash::child_fills_the_disk", &path, Some(limit));
        let mut told = String::new();
        child.stdout.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(child.wait().unwrap().success() && told.contains(expected), "{limit}: {told}");
        let files = std::fs::read_dir(home.path().join("journal")).map_or(0, Iterator::count);
        assert!(files <= 2, "{files} files are left behind");
    }
}

#[tokio::test]
async fn child_fills_the_disk() {
    let Some(home) = task() else { return };
    let journal = open(home.as_ref());
    let mut slots = Vec::new();
    let refused = loop {
        match journal.reserve().await {
            Ok(slot) => slots.push(slot),
            Err(error) => break error,
        }
    };
    assert!(refused.0.starts_with("the journal can't be used: "), "{refused}");
    let taken = slots.len();
    for (n, slot) in slots.into_iter().enumerate() {
        journal.keep(slot, entry(&format!("g{n}"), 1, 290_000)).await.unwrap();
    }
    let kept = journal.entries(None).await.unwrap().len();
    println!("slots {taken}, kept {kept}");
}

/// The first bytes of a segment with three entries: what follows is zeros, which only cost time.
static THREE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let home = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let journal = open(home.path());
        for entry in three() {
            keep(&journal, entry).await;
        }
    });
    let files = std::fs::read_dir(home.path().join("journal")).unwrap();
    let mut paths = files.map(|file| file.unwrap().path());
    let segment = paths.find(|path| path.extension().is_some_and(|e| e == "segment"));
    let mut bytes = std::fs::read(segment.unwrap()).unwrap();
    bytes.truncate(16 * 1024);
    bytes
});

/// A home whose journal has these segments.
fn home_with(segments: &[&[u8]]) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("journal");
    std::fs::create_dir(&dir).unwrap();
    for (n, bytes) in segments.iter().enumerate() {
        std::fs::write(dir.join(format!("{n}.segment")), bytes).unwrap();
    }
    home
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn read(home: &Path) -> Vec<JournalEntry> {
    runtime().block_on(open(home).entries(None)).unwrap()
}

fn three() -> Vec<JournalEntry> {
    vec![entry("a", 1, 700), entry("b", 2, 1500), entry("c", 3, 20)]
}

/// Where three's records begin and end, in sectors of 512 bytes after the header.
const ENDS: [usize; 3] = [512 + 1024, 512 + 1024 + 2048, 512 + 1024 + 2048 + 512];

#[test]
fn torn_at_any_byte_all_before_is_found() {
    let expected = |cut: usize| {
        // A record is whole when its own bytes are, whatever is left of its last sector.
        let whole = |end: usize| THREE[cut.min(end)..end].iter().all(|byte| *byte == 0);
        ENDS.into_iter().filter(|end| whole(*end)).count()
    };
    for cut in (512..ENDS[2] + 600).step_by(13) {
        let mut torn = THREE.clone();
        torn[cut..].fill(0);
        let got = read(home_with(&[&torn]).path());
        assert_eq!(got, three()[..expected(cut)], "zeros from {cut} on");
        let got = read(home_with(&[&THREE[..cut]]).path());
        assert_eq!(got, three()[..expected(cut)], "cut at {cut}");
    }
}

#[test]
fn a_record_that_was_just_being_written_is_found_at_the_next_look() {
    let mut bytes = THREE.clone();
    bytes[ENDS[0] + 100..ENDS[1]].fill(0);
    let home = home_with(&[&bytes]);
    let reader = open(home.path());
    let look = || runtime().block_on(reader.entries(None)).unwrap();
    assert_eq!(look(), [entry("a", 1, 700), entry("c", 3, 20)]);
    let segment =
        std::fs::OpenOptions::new().write(true).open(home.path().join("journal/0.segment"));
    segment.unwrap().write_all_at(&THREE, 0).unwrap();
    assert_eq!(look(), three());
}

#[test]
fn after_a_torn_tail_the_next_process_goes_on() {
    let mut bytes = THREE.clone();
    bytes[ENDS[1] + 30..].fill(0);
    bytes[ENDS[2] + 700..ENDS[2] + 900].fill(0xaa);
    let home = home_with(&[&bytes]);
    runtime().block_on(keep(&open(home.path()), entry("d", 4, 4000)));
    let expected = [entry("a", 1, 700), entry("b", 2, 1500), entry("d", 4, 4000)];
    assert_eq!(read(home.path()), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn flipped_bytes_never_give_a_wrong_entry(
        flips in prop::collection::vec((0..6000_usize, 1..=255_u8), 1..40)
    ) {
        let mut bytes = THREE.clone();
        for (at, mask) in &flips {
            bytes[*at] ^= mask;
        }
        let got = read(home_with(&[&bytes]).path());
        prop_assert!(got.iter().all(|entry| three().contains(entry)), "{got:?}");
        let hit = |from: usize, to: usize| flips.iter().any(|(at, _)| (from..to).contains(at));
        let starts = [512, ENDS[0], ENDS[1]];
        for ((entry, start), end) in three().iter().zip(starts).zip(ENDS) {
            // What wasn't hit is there, if the header is.
            let found = hit(0, 512) || hit(start, end) || got.contains(entry);
            prop_assert!(found, "{} is lost", entry.of);
        }
    }

    #[test]
    fn random_bytes_behind_never_give_a_wrong_entry(
        at in 0..4096_usize, junk in prop::collection::vec(any::<u8>(), 0..4000)
    ) {
        let mut bytes = THREE.clone();
        let start = ENDS[2] + at;
        bytes[start..start + junk.len()].copy_from_slice(&junk);
        let home = home_with(&[&junk, &bytes, &THREE[..512]]);
        prop_assert_eq!(read(home.path()), three());
        runtime().block_on(keep(&open(home.path()), entry("d", 4, 100)));
        prop_assert_eq!(read(home.path()).len(), 4);
    }
}
