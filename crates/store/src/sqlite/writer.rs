//! The one thread that writes, with group commit: what is waiting goes into one transaction, and is
//! answered after the commit.
//!
//! What would surprise: an operation may run more than once. When the transaction of a group is
//! lost (full disk, I/O error, an operation that fails halfway), each of its operations is tried
//! alone, so that one that can't be stored doesn't take the others with it. Operations are
//! therefore `Fn` and tell only by what they return.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicia_broker::ports::{StoreError, StoreErrorKind};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::checkpoint::Checkpointer;
use super::connection::to_write;
use super::failure::Failure;
use super::file::File;

/// Hands operations to the writing thread, which starts with the first.
pub(super) struct Writer {
    file: Arc<File>,
    busy_wait: Duration,
    running: Mutex<Option<Running>>,
}

struct Running {
    queue: Sender<Box<dyn Work>>,
    thread: JoinHandle<()>,
}

impl Writer {
    pub(super) fn new(file: Arc<File>, busy_wait: Duration) -> Self {
        Self { file, busy_wait, running: Mutex::default() }
    }

    /// Does `act` in a transaction, and returns what it returned once that is as durable as `flush`
    /// says.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        flush: Flush,
        act: impl Fn(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let db = self.file.path().to_owned();
        self.send(Box::new(Job { act, flush, db, outcome: None, answer }))?;
        // The thread ends in the middle of an operation only by a defect.
        let lost = StoreError { maybe_done: true, ..gone(self.file.path()) };
        answered.await.unwrap_or(Err(lost))
    }

    fn send(&self, work: Box<dyn Work>) -> Result<(), StoreError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = match running.as_ref() {
            Some(running) => &running.queue,
            None => &running.insert(self.start()?).queue,
        };
        let sent = queue.send(work).map_err(|_| gone(self.file.path()));
        if sent.is_err() {
            // The next operation gets a new thread.
            *running = None;
        }
        sent
    }

    fn start(&self) -> Result<Running, StoreError> {
        let (queue, waiting) = mpsc::channel();
        let (file, busy_wait) = (Arc::clone(&self.file), self.busy_wait);
        let thread = thread::Builder::new()
            .name("indicia-store".to_owned())
            .spawn(move || work_off(&file, busy_wait, &waiting))
            .map_err(|error| StoreError {
                kind: StoreErrorKind::Unavailable,
                detail: format!("the thread that writes can't be started: {error}"),
                maybe_done: false,
            })?;
        Ok(Running { queue, thread })
    }
}

impl Drop for Writer {
    /// What was sent is still done.
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { queue, thread }) = running {
            drop(queue);
            drop(thread.join());
        }
    }
}

fn gone(db: &Path) -> StoreError {
    StoreError {
        kind: StoreErrorKind::Unavailable,
        detail: format!("the thread that writes {} has ended", db.display()),
        maybe_done: false,
    }
}

/// How durable an operation is when it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    /// It outlives a loss of power.
    Full,
    /// It outlives this process; a loss of power only once something later was flushed. For leases,
    /// which end with the boot.
    WithTheNext,
}

/// An operation that waits for its turn.
trait Work: Send {
    /// How durable it has to be.
    fn flush(&self) -> Flush;
    /// Runs it, maybe again; false when it failed.
    fn run(&mut self, conn: &Connection) -> bool;
    /// Tells its caller, given how the transaction went.
    fn tell(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Job<T, F> {
    act: F,
    flush: Flush,
    db: PathBuf,
    outcome: Option<Result<T, Failure>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: Fn(&Connection) -> Result<T, Failure> + Send> Work for Job<T, F> {
    fn flush(&self) -> Flush {
        self.flush
    }

    fn run(&mut self, conn: &Connection) -> bool {
        self.outcome.insert((self.act)(conn)).is_ok()
    }

    fn tell(self: Box<Self>, committed: Result<(), StoreError>) {
        let told = match (committed, self.outcome) {
            (_, Some(Err(failure))) => Err(failure.told(&self.db)),
            (Err(error), _) => Err(error),
            (Ok(()), Some(Ok(value))) => Ok(value),
            (Ok(()), None) => Err(gone(&self.db)),
        };
        // A caller that has gone away doesn't want to know.
        drop(self.answer.send(told));
    }
}

fn work_off(file: &File, busy_wait: Duration, waiting: &Receiver<Box<dyn Work>>) {
    let db = file.path();
    let mut checkpointer = Checkpointer::new(db, busy_wait);
    let mut writing: Option<Connection> = None;
    let mut several_at_once = false;
    while let Ok(first) = waiting.recv() {
        if several_at_once {
            // Whoever was just answered is about to ask again: a moment now makes one commit of
            // many.
            thread::yield_now();
        }
        let mut group = vec![first];
        group.extend(waiting.try_iter().take(GROUP_OPERATIONS_MAX - 1));
        // Not made yet, or taken away: what is written to a file without a name is lost.
        let gone = match file.is_there() {
            Ok(true) => None,
            Ok(false) => Some(missing(db)),
            Err(failure) => Some(failure.told(db)),
        };
        if let Some(error) = gone {
            writing = None;
            tell_all(group, &Err(error));
            continue;
        }
        let conn = match writing.take() {
            Some(conn) => Ok(conn),
            // What was opened must be what was looked at.
            None => to_write(db, busy_wait).and_then(|conn| file.is_there().map(|_| conn)),
        };
        match conn {
            Ok(conn) => {
                let operations = group.len();
                several_at_once = operations > 1;
                commit(&conn, db, group);
                checkpointer.wrote(&conn, operations);
                writing = Some(conn);
            }
            Err(failure) => tell_all(group, &Err(failure.told(db))),
        }
    }
    checkpointer.end(writing.as_ref());
}

pub(super) fn missing(db: &Path) -> StoreError {
    StoreError {
        kind: StoreErrorKind::Unreadable,
        detail: format!("there is no store at {} yet", db.display()),
        maybe_done: false,
    }
}

fn tell_all(group: Vec<Box<dyn Work>>, committed: &Result<(), StoreError>) {
    for work in group {
        work.tell(committed.clone());
    }
}

/// How a transaction went.
enum Went {
    /// Durable.
    Committed,
    /// It can't be, and trying each alone would change nothing.
    Refused(StoreError),
    /// One of its operations took all with it.
    Lost(StoreError),
}

fn commit(conn: &Connection, db: &Path, mut group: Vec<Box<dyn Work>>) {
    match transact(conn, db, &mut group) {
        Went::Committed => tell_all(group, &Ok(())),
        Went::Lost(_) if group.len() > 1 => {
            for work in group {
                commit(conn, db, vec![work]);
            }
        }
        Went::Refused(error) | Went::Lost(error) => tell_all(group, &Err(error)),
    }
}

fn transact(conn: &Connection, db: &Path, group: &mut [Box<dyn Work>]) -> Went {
    let sync = match group.iter().any(|work| work.flush() == Flush::Full) {
        true => "PRAGMA synchronous = FULL",
        false => "PRAGMA synchronous = NORMAL",
    };
    if let Err(failure) = conn.execute_batch(sync) {
        return Went::Refused(Failure::from(failure).told(db));
    }
    if let Err(failure) = execute(conn, "BEGIN IMMEDIATE") {
        return Went::Refused(failure.told(db));
    }
    let before = conn.total_changes();
    let went = match run(conn, group) {
        Err(failure) => Went::Lost(failure.told(db)),
        Ok(()) => match count_change(conn, before).and_then(|()| execute(conn, "COMMIT")) {
            Ok(()) => Went::Committed,
            Err(failure) => match failure.told_of_commit(db) {
                error if error.maybe_done => Went::Refused(error),
                error => Went::Lost(error),
            },
        },
    };
    if !conn.is_autocommit() {
        // Of a transaction that failed nothing is left, whatever this says.
        drop(execute(conn, "ROLLBACK"));
    }
    went
}

/// Runs the operations. One that fails has mostly found a reason before it wrote; where it hasn't,
/// the transaction is lost, as it can't be undone alone. (A savepoint for each could, but costs
/// more than what it guards: a copy of every page.)
fn run(conn: &Connection, group: &mut [Box<dyn Work>]) -> Result<(), Failure> {
    for work in group {
        let before = conn.total_changes();
        let done = work.run(conn);
        if conn.is_autocommit() || (!done && conn.total_changes() != before) {
            // If this was the only one, its own failure is told.
            return Err(Failure::Conflict("the transaction was lost"));
        }
    }
    Ok(())
}

fn count_change(conn: &Connection, before: u64) -> Result<(), Failure> {
    if conn.total_changes() == before {
        return Ok(());
    }
    execute(conn, "UPDATE store SET change_number = change_number + 1")
}

fn execute(conn: &Connection, sql: &str) -> Result<(), Failure> {
    conn.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// A page that several operations change is written once: of a bulk import, whose entries fall all
/// over the indexes, twice as many in a group take a tenth less time. Its memory is what bounds it.
const GROUP_OPERATIONS_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::connection::to_create;

    /// What an operation of the tests does: inserts so many zero bytes, or fails after it did.
    fn insert(bytes: i64, fails: bool) -> impl Fn(&Connection) -> Result<i64, Failure> {
        move |conn| {
            conn.execute("INSERT INTO a VALUES (zeroblob(?))", [bytes])?;
            match fails {
                true => Err(Failure::Conflict("not this one")),
                false => Ok(bytes),
            }
        }
    }

    #[test]
    fn one_operation_of_a_group_takes_no_other_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let db = folder.path().join("x.db");
        to_create(&db)
            .unwrap()
            .execute_batch(
                "CREATE TABLE a (x BLOB);
                 CREATE TABLE store (change_number INTEGER); INSERT INTO store VALUES (0)",
            )
            .unwrap();
        let conn = to_write(&db, Duration::ZERO).unwrap();
        // As a disk that is full after 40 pages.
        conn.pragma_update_and_check(None, "max_page_count", 40, |_| Ok(())).unwrap();

        let check = |operations: &[(i64, bool)], expected: &[Option<StoreErrorKind>]| {
            let (group, answers): (Vec<_>, Vec<_>) = operations
                .iter()
                .map(|(bytes, fails)| {
                    let (answer, answered) = oneshot::channel();
                    let (act, db) = (insert(*bytes, *fails), db.clone());
                    let job = Job { act, flush: Flush::Full, db, outcome: None, answer };
                    (Box::new(job) as Box<dyn Work>, answered)
                })
                .unzip();
            commit(&conn, &db, group);
            let told = answers.into_iter().map(|mut answered| answered.try_recv().unwrap());
            let told: Vec<_> = told.map(|told| told.err().map(|error| error.kind)).collect();
            assert_eq!(told, expected);
            let sum = "SELECT coalesce(sum(length(x)), 0) FROM a";
            conn.query_row(sum, [], |row| row.get::<_, i64>(0)).unwrap()
        };
        let conflict = Some(StoreErrorKind::Unavailable);
        let full = Some(StoreErrorKind::Full);
        assert_eq!(check(&[(1, false), (2, true), (4, false)], &[None, conflict, None]), 5);
        assert_eq!(check(&[(8, true)], &[conflict]), 5);
        let large = 8192 * 60;
        let group = [(16, false), (large, false), (32, true), (64, false)];
        assert_eq!(check(&group, &[None, full, conflict, None]), 5 + 16 + 64);
        assert_eq!(check(&[(large, false)], &[full]), 85);
        assert_eq!(check(&[(128, false)], &[None]), 85 + 128);
    }
}
