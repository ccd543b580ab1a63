//! Copying the write-ahead log back into the database, beside the commits and not inside them: an
//! automatic checkpoint would make one commit in a thousand pages wait for it.
//!
//! What would surprise: passive checkpoints alone never end a log that is always written to. Once
//! it is large, the writer copies the last bit itself, and the log starts anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;

use super::connection::to_write;
use super::failure::Failure;

/// Belongs to the writing thread; has a thread of its own once there is enough to copy.
pub(super) struct Checkpointer {
    db: PathBuf,
    log: PathBuf,
    busy_wait: Duration,
    /// Operations since the last wish.
    operations: usize,
    wish: Arc<Wish>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Wish {
    state: Mutex<WishState>,
    changed: Condvar,
}

#[derive(Default)]
struct WishState {
    wanted: bool,
    end: bool,
}

impl Checkpointer {
    pub(super) fn new(db: &Path, busy_wait: Duration) -> Self {
        Self {
            db: db.to_owned(),
            log: db.with_extension("db-wal"),
            busy_wait,
            operations: 0,
            wish: Arc::default(),
            thread: None,
        }
    }

    /// Notes what was written.
    pub(super) fn wrote(&mut self, conn: &Connection, operations: usize) {
        self.operations += operations;
        if self.operations < OPERATIONS_BETWEEN {
            return;
        }
        self.operations = 0;
        if self.log_bytes() > WAL_BYTES_MAX {
            checkpoint(conn, "PASSIVE");
        }
        if self.thread.is_none() {
            let (db, busy_wait, wish) = (self.db.clone(), self.busy_wait, Arc::clone(&self.wish));
            let named = thread::Builder::new().name("indicia-checkpoint".to_owned());
            // Without it the log grows until the writer steps in.
            self.thread = named.spawn(move || serve(&db, busy_wait, &wish)).ok();
        }
        self.wish.change(|state| state.wanted = true);
    }

    /// Ends the thread; empties a log that has grown: the next process, alone, reads it all before
    /// it reads anything else.
    pub(super) fn end(self, conn: Option<&Connection>) {
        self.wish.change(|state| state.end = true);
        let too_long = self.log_bytes() > WAL_BYTES_LEFT_MAX;
        if let Some(thread) = self.thread {
            drop(thread.join());
        }
        if let Some(conn) = conn
            && too_long
            && conn.busy_timeout(Duration::ZERO).is_ok()
        {
            // Where somebody else is there, it isn't emptied, and needn't be.
            checkpoint(conn, "TRUNCATE");
        }
    }

    fn log_bytes(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |log| log.len())
    }
}

impl Wish {
    fn change(&self, change: impl FnOnce(&mut WishState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Waits for a wish, and then a little for more of them; false at the end.
    fn wait(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wished = self.changed.wait_while(state, |state| !state.wanted && !state.end);
        let state = wished.unwrap_or_else(PoisonError::into_inner);
        let gathered = self.changed.wait_timeout_while(state, INTERVAL, |state| !state.end);
        let (mut state, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        state.wanted = false;
        !state.end
    }
}

fn serve(db: &Path, busy_wait: Duration, wish: &Wish) {
    let Ok(conn) = to_write(db, busy_wait) else {
        return;
    };
    while wish.wait() {
        checkpoint(&conn, "PASSIVE");
    }
}

/// What fails stays in the log, and is tried again with the next wish.
fn checkpoint(conn: &Connection, how: &str) {
    let done: Result<(), Failure> = conn
        .query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(()))
        .map_err(Failure::from);
    if let Err(failure) = done {
        tracing::warn!(?failure, "the write-ahead log could not be copied back");
    }
}

const INTERVAL: Duration = Duration::from_millis(200);
const OPERATIONS_BETWEEN: usize = 64;
/// A longer log isn't left behind.
const WAL_BYTES_LEFT_MAX: u64 = 1024 * 1024;
/// A log that has grown beyond this is ended by the writer. The file keeps so much while it is
/// written to: to cut it and let it grow again costs twice what writing over it does.
pub(super) const WAL_BYTES_MAX: u64 = 128 * 1024 * 1024;
