//! What the journal's tests share.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use indicia::journal_file::JournalFile;
use indicia::random::SystemChance;
use indicia_broker::ports::{Clock, Journal as _, JournalEntry};
use indicia_broker::vault::{Fingerprint, KeyId, Sealed};
use indicia_oauth::Timestamp;

/// A wall clock that is set by hand.
pub struct HandClock(pub AtomicI64);

impl HandClock {
    pub fn at(millis: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(millis)))
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn boot_millis(&self) -> u64 {
        0
    }
}

/// This home's journal as one more process would open it.
pub fn open(home: &Path) -> JournalFile {
    JournalFile::new(home, HandClock::at(0), Arc::new(SystemChance))
}

/// An entry whose answer has so many bytes and tells whose it is.
pub fn entry(of: &str, version: u64, bytes: usize) -> JournalEntry {
    let mut sealed = format!("{of}/{version}/").into_bytes();
    sealed.resize(sealed.len().max(bytes), b'.');
    JournalEntry {
        of: of.to_owned(),
        version,
        fingerprint: Fingerprint::from_bytes([7; 32]),
        sent_at: Timestamp::from_millis(1_000),
        answer: Sealed { key: KeyId(3), bytes: sealed },
    }
}

/// Reserves and keeps.
pub async fn keep(journal: &JournalFile, entry: JournalEntry) {
    let slot = journal.reserve().await.unwrap();
    journal.keep(slot, entry).await.unwrap();
}

/// Runs a test of this binary as a process of its own, told by `INDICIA_TEST_CHILD` what to do.
/// `limit`: bytes that a file may have at most; writing more fails, as on a full disk.
pub fn child(test: &str, task: &str, limit: Option<usize>) -> Child {
    let this = std::env::current_exe().unwrap();
    let limit = limit.map_or(String::new(), |bytes| {
        // The signal is ignored, so that the write fails instead.
        format!("trap '' XFSZ; ulimit -f {};", bytes / 512)
    });
    Command::new("sh")
        .arg("-c")
        .arg(format!("{limit} exec \"$0\" --exact {test} --nocapture"))
        .arg(this)
        .env("INDICIA_TEST_CHILD", task)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What [`child`] was told, in that process.
#[expect(clippy::disallowed_methods, reason = "how a test tells its child what to do")]
pub fn task() -> Option<String> {
    std::env::var("INDICIA_TEST_CHILD").ok()
}
