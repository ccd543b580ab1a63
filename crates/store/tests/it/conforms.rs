//! Every store keeps every promise of the port.

use std::sync::Arc;

use indicia_broker::model::HolderId;
use indicia_broker::ports::Store;
use indicia_store::conformance::{ManualClock, Subject, cases};
use indicia_store::{Memory, Options, Sqlite};
use tempfile::TempDir;

struct MemorySubject {
    memory: Memory,
    clock: Arc<ManualClock>,
    holders: std::sync::atomic::AtomicU32,
}

impl MemorySubject {
    fn subject() -> Arc<dyn Subject> {
        let clock = ManualClock::new();
        let memory = Memory::new(Arc::clone(&clock) as _);
        Arc::new(Self { memory, clock, holders: 0.into() })
    }
}

impl Subject for MemorySubject {
    fn handle(&self) -> Arc<dyn Store> {
        let n = self.holders.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.memory.handle(HolderId::new(&format!("host-{n}")).unwrap())
    }

    fn kill(&self, holder: Arc<dyn Store>) {
        self.memory.kill(&holder.holder());
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }
}

/// A store in a home of its own; each handle is opened anew, as another process would.
struct SqliteSubject {
    folder: TempDir,
    clock: Arc<ManualClock>,
}

impl SqliteSubject {
    fn subject() -> Arc<dyn Subject> {
        Arc::new(Self { folder: tempfile::tempdir().unwrap(), clock: ManualClock::new() })
    }
}

impl Subject for SqliteSubject {
    fn handle(&self) -> Arc<dyn Store> {
        let home = self.folder.path().join("home");
        let options = Options { create: true, ..Options::default() };
        Sqlite::open(&home, Arc::clone(&self.clock) as _, &options).unwrap()
    }

    fn kill(&self, holder: Arc<dyn Store>) {
        // Its locks fall as they do with a process.
        assert_eq!(Arc::strong_count(&holder), 1);
        drop(holder);
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }
}

/// Runs every case on a new subject.
fn conforms(make: impl Fn() -> Arc<dyn Subject>) {
    for case in cases() {
        println!("{}", case.name);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
        runtime.unwrap().block_on((case.run)(make()));
    }
}

#[test]
fn memory_conforms() {
    conforms(MemorySubject::subject);
}

#[test]
fn sqlite_conforms() {
    conforms(SqliteSubject::subject);
}
