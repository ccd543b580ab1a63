//! The database file by its name, and whether it is still the one that this process opened. One
//! that was put in its place is another store, maybe an older one: what this process knows and
//! writes must not be mixed with it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use indicia_broker::ports::StoreErrorKind;

use super::failure::Failure;
use super::home::cannot;

pub(super) struct File {
    db: PathBuf,
    /// Device and inode of what was there first.
    first: Mutex<Option<(u64, u64)>>,
    replaced: AtomicBool,
}

impl File {
    pub(super) fn new(db: &Path) -> Self {
        Self { db: db.to_owned(), first: Mutex::default(), replaced: AtomicBool::new(false) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.db
    }

    /// Whether it is there. An error, from then on for ever, when another took its place.
    pub(super) fn is_there(&self) -> Result<bool, Failure> {
        let found = match fs::metadata(&self.db) {
            Ok(found) => (found.dev(), found.ino()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(cannot("look at", &self.db, &error)),
        };
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if *first.get_or_insert(found) != found {
            self.replaced.store(true, Ordering::Relaxed);
        }
        drop(first);
        self.check().map(|()| true)
    }

    /// As the last look found it.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if !self.replaced.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(Failure::Home(
            StoreErrorKind::Unreadable,
            format!(
                "another file was put in the place of {} while this process used it; nothing of \
                 this process was written to it: end this process, then look with `indicia doctor`",
                self.db.display()
            ),
        ))
    }
}
