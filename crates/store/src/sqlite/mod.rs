//! The store of one machine: SQLite in the home folder.
//!
//! Reads run on the calling thread, inside the `async fn` and without waiting: a point read takes
//! microseconds, less than handing it over would. Writes go to one thread with group commit
//! ([`writer`]), and are answered when they are durable.
//!
//! What would surprise: a home that isn't there reads as empty, and only who asks for it
//! ([`Options::create`]) makes it; until then writes are refused.

pub mod backup;
mod checkpoint;
mod clients;
mod connection;
mod connections;
mod events;
mod failure;
mod file;
mod flows;
pub mod fuzzed;
mod grants;
mod holder;
mod home;
mod leases;
#[cfg(test)]
mod plans;
mod port;
mod revocations;
mod schema;
mod token_sets;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indicia_broker::ports::{Clock, StoreError};
use rusqlite::Connection;

use clients::Parsed;
use connection::Readers;
use failure::Failure;
use file::File;
use holder::Holder;
use writer::{Flush, Writer};

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Make the home and the store when they aren't there. Without it a missing store reads as
    /// empty, and nothing is made.
    pub create: bool,
    /// How long to wait for another program that is writing, before `Locked` is told.
    pub busy_wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { create: false, busy_wait: Duration::from_secs(5) }
    }
}

/// The store in a home folder, opened. Each opened one is a holder of leases of its own.
pub struct Sqlite {
    db: PathBuf,
    clock: Arc<dyn Clock>,
    holder: Arc<Holder>,
    readers: Readers,
    clients: Parsed,
    file: Arc<File>,
    writer: Writer,
}

impl Sqlite {
    /// Opens the store in `home`; an older one is brought up to date.
    ///
    /// Reading never makes a thread, a checkpoint or a file of its own. Errors: `Unreadable` when
    /// the home can be looked into by others, or the file is damaged or no store;
    /// `NetworkFileSystem`;
    /// `Newer`, and then nothing was touched; `ReadOnly` when it has to be written and can't be.
    pub fn open(
        home: &Path,
        clock: Arc<dyn Clock>,
        options: &Options,
    ) -> Result<Arc<Self>, StoreError> {
        let db = home.join(FILE);
        Self::try_open(home, &db, clock, options).map(Arc::new).map_err(|failure| failure.told(&db))
    }

    fn try_open(
        home: &Path,
        db: &Path,
        clock: Arc<dyn Clock>,
        options: &Options,
    ) -> Result<Self, Failure> {
        let mut home_is_there = home::check(home)?;
        if !home_is_there && options.create {
            home::make(home)?;
            home_is_there = home::check(home)?;
        }
        if home_is_there && options.create && !db.exists() {
            schema::create(home, db, clock.now())?;
        }
        let file = Arc::new(File::new(db));
        let readers = Readers::new(Arc::clone(&file), options.busy_wait);
        if readers.read(|conn| schema::is_current(conn, db))? == Some(false) {
            let mut conn = connection::to_write(db, options.busy_wait)?;
            schema::bring_up_to_date(&mut conn, clock.now())?;
        }
        Ok(Self {
            db: db.to_owned(),
            clock,
            holder: Arc::new(Holder::new(home)?),
            readers,
            clients: Parsed::default(),
            writer: Writer::new(Arc::clone(&file), options.busy_wait),
            file,
        })
    }

    /// Whether there is a store; without one, all reads as empty.
    pub fn is_there(&self) -> bool {
        self.db.exists()
    }

    /// Reads; where there is no store, what a missing row would give.
    fn read<T: Default>(
        &self,
        act: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        match self.readers.read(act) {
            Ok(found) => Ok(found.unwrap_or_default()),
            Err(failure) => Err(failure.told(&self.db)),
        }
    }

    async fn write<T: Send + 'static>(
        &self,
        act: impl Fn(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.write(Flush::Full, act).await
    }

    /// The same for what only a lease says: it ends with the machine's boot, so no flush waits for
    /// it.
    async fn write_lease<T: Send + 'static>(
        &self,
        act: impl Fn(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.write(Flush::WithTheNext, act).await
    }
}

/// The store's file in the home.
const FILE: &str = "indicia.db";
