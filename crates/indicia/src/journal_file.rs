//! The journal as files: `$HOME/journal/`, an id and a segment or two for each process.
//!
//! What it promises: an answer that [`Journal::keep`] took is found by whoever opens this home
//! next, whatever was killed, at whatever byte. What would surprise: many keepers share one sync.
//! Whoever comes first syncs for all who have appended; the others only wait for him.
//!
//! On file systems that copy on write (btrfs, zfs) a full disk may refuse even bytes that were
//! written ahead; everywhere else a slot is a promise of space.

#[doc(hidden)]
pub mod fuzzed;
mod live;
mod place;
mod reader;
mod record;
mod segment;
mod writer;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use indicia_broker::model::JournalId;
use indicia_broker::ports::{Clock, Journal, JournalEntry, JournalError, Random, SlotNo};
use indicia_oauth::Timestamp;

use place::Place;
use reader::Reader;
use record::{Entry, Record, whole_sectors};
use writer::{SLOT_BYTES, Standing, Ticket, Writer};

/// A home's journal, as one process writes it. Nothing is made on disk before the first
/// [`Journal::id`] or [`Journal::reserve`].
pub struct JournalFile {
    shared: Arc<Shared>,
    syncing: tokio::sync::Mutex<()>,
}

struct Shared {
    place: Place,
    clock: Arc<dyn Clock>,
    writer: Mutex<Writer>,
    reader: Mutex<Reader>,
}

impl JournalFile {
    /// The journal of the home in this directory.
    pub fn new(home: &Path, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        let mut id = [0; 16];
        random.fill(&mut id);
        let place = Place::new(home.join("journal"), id);
        let shared = Shared {
            place,
            clock,
            writer: Mutex::new(Writer::new(random)),
            reader: Mutex::default(),
        };
        Self { shared: Arc::new(shared), syncing: tokio::sync::Mutex::new(()) }
    }

    /// Appends a record, in a slot or beside all slots. Not yet durable.
    async fn append(&self, record: Record<'_>, slot: Option<u64>) -> Result<Ticket, JournalError> {
        for _ in 0..TRIES_MAX {
            if let Some(ticket) = self.shared.writer().try_append(record, slot) {
                return Ok(ticket);
            }
            self.make_room(whole_sectors(record.len())).await?;
        }
        Err(JournalError("the journal has no room for this answer".into()))
    }

    /// Returns when an append is on the disk; `false`: it never will be.
    async fn sync(&self, ticket: Ticket) -> Result<bool, JournalError> {
        let _first = self.syncing.lock().await;
        let (file, all) = match self.shared.writer().standing(ticket) {
            Standing::Synced => return Ok(true),
            Standing::Lost => return Ok(false),
            Standing::Pending(file, all) => (file, all),
        };
        let synced = blocking(move || Ok(file.sync_data())).await?;
        match synced {
            Ok(()) => self.shared.writer().synced(all),
            Err(_) => self.shared.writer().not_synced(all),
        }
        Ok(synced.is_ok())
    }

    async fn make_room(&self, bytes: usize) -> Result<(), JournalError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            shared.place.id()?;
            shared.writer().make_room(shared.place.dir(), bytes, shared.clock.now())
        })
        .await
    }
}

#[async_trait]
impl Journal for JournalFile {
    fn id(&self) -> JournalId {
        self.shared.place.id_or_candidate()
    }

    async fn reserve(&self) -> Result<SlotNo, JournalError> {
        for _ in 0..TRIES_MAX {
            if let Some(slot) = self.shared.writer().try_reserve() {
                return Ok(SlotNo(slot));
            }
            self.make_room(SLOT_BYTES).await?;
        }
        Err(JournalError("the journal's slots are taken faster than they can be made".into()))
    }

    async fn keep(&self, slot: SlotNo, entry: JournalEntry) -> Result<(), JournalError> {
        let record = Record::Entry(Entry::of(&entry));
        // Once more into a new segment, where the first one can't be synced.
        for _ in 0..2 {
            let ticket = self.append(record, Some(slot.0)).await?;
            if self.sync(ticket).await? {
                return Ok(());
            }
        }
        Err(JournalError("the journal can't be written durably: the disk reports errors".into()))
    }

    async fn give_back(&self, slot: SlotNo) {
        self.shared.writer().give_back(slot.0);
    }

    async fn entries(&self, of: Option<&str>) -> Result<Vec<JournalEntry>, JournalError> {
        let (shared, of) = (Arc::clone(&self.shared), of.map(str::to_owned));
        blocking(move || {
            let mut reader = shared.reader.lock().unwrap_or_else(PoisonError::into_inner);
            reader.entries(shared.place.dir(), of.as_deref(), shared.clock.now())
        })
        .await
    }

    async fn committed(&self, of: &str, version: u64, now: Timestamp) -> Result<(), JournalError> {
        // Not synced: a mark that is lost makes somebody look at the entry once more, no worse.
        self.append(Record::Committed { of, version, at: now }, None).await.map(drop)
    }
}

impl Shared {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs what waits for the disk beside the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, JournalError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|_| JournalError("the journal's work was interrupted".into()))?;
    done.map_err(|error| JournalError(format!("the journal can't be used: {error}")))
}

/// Between making room and taking it somebody else may be faster.
const TRIES_MAX: u32 = 100;
