//! Keeping an answer, beside a bare append with fdatasync.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use indicia::clock::SystemClock;
use indicia::journal_file::JournalFile;
use indicia::random::SystemChance;
use indicia_broker::ports::{Journal, JournalEntry};
use indicia_broker::vault::{Fingerprint, KeyId, Sealed};
use indicia_oauth::Timestamp;

use crate::figure::{Figure, Goal, Subject, compare, median, percentile};
use crate::world::World;

const ANSWER_BYTES: usize = 1000;
const KEEPS: usize = 200;
const KEEPERS: usize = 64;

/// One keeper at a time, and 64 at once.
pub fn figures(world: &World, pairs: usize) -> Result<Vec<Figure>> {
    let home = world.folder().join("journal-home");
    std::fs::create_dir_all(&home)?;
    let journal = Arc::new(JournalFile::new(&home, Arc::new(SystemClock), Arc::new(SystemChance)));
    let mut bare_all = Vec::new();
    let mut kept_all = Vec::new();
    let subject = Subject {
        what: "keeping an answer in the journal, one at a time",
        baseline: "write of 1 KiB into a file of zeros, and fdatasync",
        unit: "µs",
        goal: Goal::None,
    };
    let bare = || {
        let micros = bare_writes(world.folder())?;
        bare_all.extend(&micros);
        Ok(median(&micros))
    };
    let kept = || {
        let micros = world.runtime.block_on(keeps(&journal, 0, KEEPS))?;
        kept_all.extend(&micros);
        Ok(median(&micros))
    };
    let mut figure = compare(subject, pairs, bare, kept)?;
    let crowd = world.runtime.block_on(async {
        let keepers = (1..=KEEPERS).map(|keeper| {
            let journal = Arc::clone(&journal);
            tokio::spawn(async move { keeps(&journal, keeper, 20).await })
        });
        let mut micros = Vec::new();
        for keeper in keepers.collect::<Vec<_>>() {
            micros.extend(keeper.await??);
        }
        anyhow::Ok(micros)
    })?;
    figure.notes.push(tails("a bare write with fdatasync", &bare_all));
    figure.notes.push(tails("one keeper", &kept_all));
    figure.notes.push(tails("64 keepers at once", &crowd));
    Ok(vec![figure])
}

/// The middle and the tail of a list of microseconds, in words.
pub fn tails(what: &str, micros: &[f64]) -> String {
    let (p50, p99) = (percentile(micros, 50), percentile(micros, 99));
    format!("{what}: p50 {p50:.0} µs, p99 {p99:.0} µs ({} of them)", micros.len())
}

async fn keeps(journal: &JournalFile, keeper: usize, count: usize) -> Result<Vec<f64>> {
    let mut micros = Vec::with_capacity(count);
    for version in 1..=count as u64 {
        let slot = journal.reserve().await?;
        let entry = JournalEntry {
            of: format!("{keeper:032x}"),
            version,
            fingerprint: Fingerprint::from_bytes([1; 32]),
            sent_at: Timestamp::from_millis(0),
            answer: Sealed { key: KeyId(1), bytes: vec![5; ANSWER_BYTES] },
        };
        let started = Instant::now();
        journal.keep(slot, entry).await?;
        micros.push(started.elapsed().as_secs_f64() * 1e6);
        journal.committed(&format!("{keeper:032x}"), version, Timestamp::from_millis(0)).await?;
    }
    Ok(micros)
}

fn bare_writes(folder: &Path) -> Result<Vec<f64>> {
    let path = folder.join("bare");
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
    file.write_all_at(&vec![0; 1024 * (KEEPS + 1)], 0)?;
    file.sync_all()?;
    let mut micros = Vec::with_capacity(KEEPS);
    for n in 0..KEEPS as u64 {
        let started = Instant::now();
        file.write_all_at(&[5; 1024], n * 1024)?;
        file.sync_data()?;
        micros.push(started.elapsed().as_secs_f64() * 1e6);
    }
    std::fs::remove_file(path)?;
    Ok(micros)
}
