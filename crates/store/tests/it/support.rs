//! What the tests of SQLite share.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indicia_broker::ports::{StoreError, StoreErrorKind};
use indicia_store::chain;
use indicia_store::conformance::ManualClock;
use indicia_store::{Options, Sqlite};
use tempfile::TempDir;

/// A place for a home, which isn't made yet.
pub fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    (folder, home)
}

/// Opens the store there, making it if needed; impatient.
pub fn open(home: &Path) -> Arc<Sqlite> {
    try_open(home, true).unwrap()
}

pub fn try_open(home: &Path, create: bool) -> Result<Arc<Sqlite>, StoreError> {
    open_at(home, create, ManualClock::new())
}

pub fn open_at(
    home: &Path,
    create: bool,
    clock: Arc<ManualClock>,
) -> Result<Arc<Sqlite>, StoreError> {
    Sqlite::open(home, clock, &Options { create, busy_wait: Duration::from_millis(200) })
}

/// Runs a future to its end, with tasks.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    runtime.unwrap().block_on(future)
}

/// Fails unless `result` is an error of this kind, whose words hold all of `words`.
#[track_caller]
pub fn assert_fails<T>(result: Result<T, StoreError>, kind: StoreErrorKind, words: &[&str]) {
    let Err(error) = result else { panic!("it went well") };
    assert_eq!(error.kind, kind, "{error}");
    for word in words {
        assert!(error.detail.contains(word), "{word:?} is not in {:?}", error.detail);
    }
}

/// All files below a folder, with the hash of what is in them; without empty ones (a log that a
/// reader found missing) and without SQLite's shared memory, in which readers leave marks.
pub fn snapshot(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(snapshot(&path));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        if !bytes.is_empty() && !path.to_string_lossy().ends_with("-shm") {
            found.insert(path, chain::to_hex(&chain::link(&chain::GENESIS, &bytes)));
        }
    }
    found
}

/// SQLite itself on the store, for doing what the store wouldn't.
pub fn raw(home: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(home.join("indicia.db")).unwrap()
}
