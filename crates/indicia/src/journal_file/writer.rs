//! What one process writes: an active segment, slots taken in it, and a spare one to tidy into.
//!
//! What would surprise: a slot is a number, not a place. It says that header and largest body fit
//! behind what is written, whatever the order in which answers come; records themselves are as long
//! as they are.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use indicia_broker::ports::Random;
use indicia_oauth::Timestamp;

use super::live::Live;
use super::record::{Epoch, Record, SECTOR_BYTES, scan, whole_sectors};
use super::segment::{SEGMENT_BYTES, Segment, list};
use crate::transport::{BODY_BYTES_MAX, HEAD_BYTES_MAX};

/// Room that one slot keeps free: the largest answer that the transport lets in, sealed, with what
/// stands around it (lengths of up to 100 headers, ids, nonce, tag).
pub(super) const SLOT_BYTES: usize = whole_sectors(BODY_BYTES_MAX + HEAD_BYTES_MAX + 4 * 1024);

/// One process's side of the journal.
pub(super) struct Writer {
    random: Arc<dyn Random>,
    active: Option<Segment>,
    spare: Option<Segment>,
    slots: BTreeSet<u64>,
    next_slot: u64,
    /// Records appended so far, and how many of them are surely on the disk.
    appended: u64,
    synced: u64,
    /// Rises when a segment is given up: what was not yet synced in it must be written again.
    generation: u64,
}

/// Which append must be on the disk.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    generation: u64,
    no: u64,
}

/// How a ticket stands.
pub(super) enum Standing {
    /// On the disk.
    Synced,
    /// In this file, and so are all up to the number; not yet surely on the disk.
    Pending(Arc<File>, Ticket),
    /// In a segment that was given up.
    Lost,
}

impl Writer {
    /// Writes nothing yet.
    pub(super) fn new(random: Arc<dyn Random>) -> Self {
        Self {
            random,
            active: None,
            spare: None,
            slots: BTreeSet::new(),
            next_slot: 0,
            appended: 0,
            synced: 0,
            generation: 0,
        }
    }

    /// Takes a slot, if it surely fits.
    pub(super) fn try_reserve(&mut self) -> Option<u64> {
        self.fits(SLOT_BYTES).then(|| {
            self.next_slot += 1;
            self.slots.insert(self.next_slot);
            self.next_slot
        })
    }

    /// Gives a slot back.
    pub(super) fn give_back(&mut self, slot: u64) {
        self.slots.remove(&slot);
    }

    /// Appends, if it fits beside the slots that are taken; `slot` becomes free by it.
    pub(super) fn try_append(&mut self, record: Record<'_>, slot: Option<u64>) -> Option<Ticket> {
        let slot = slot.filter(|slot| self.slots.remove(slot));
        let fits = self.fits(whole_sectors(record.len()));
        let appended = match &mut self.active {
            Some(active) if fits => active.append(record),
            _ => {
                self.slots.extend(slot);
                return None;
            }
        };
        if appended.is_err() {
            self.slots.extend(slot);
            self.give_up();
            return None;
        }
        self.appended += 1;
        Some(Ticket { generation: self.generation, no: self.appended })
    }

    /// How an append stands.
    pub(super) fn standing(&self, ticket: Ticket) -> Standing {
        match &self.active {
            _ if ticket.generation == self.generation && ticket.no <= self.synced => {
                Standing::Synced
            }
            Some(active) if ticket.generation == self.generation => {
                let all = Ticket { generation: self.generation, no: self.appended };
                Standing::Pending(active.file(), all)
            }
            _ => Standing::Lost,
        }
    }

    /// Notes that a file with all up to this ticket was synced.
    pub(super) fn synced(&mut self, ticket: Ticket) {
        if ticket.generation == self.generation {
            self.synced = self.synced.max(ticket.no);
        }
    }

    /// Notes that it could not be synced. After a failed sync nobody knows what is on the disk, and
    /// a second one would claim success: the segment isn't written any more.
    pub(super) fn not_synced(&mut self, ticket: Ticket) {
        if ticket.generation == self.generation {
            self.give_up();
        }
    }

    /// Makes room for so many bytes beside the slots that are taken. Blocks.
    pub(super) fn make_room(&mut self, dir: &Path, bytes: usize, now: Timestamp) -> io::Result<()> {
        let need = bytes + self.slots.len() * SLOT_BYTES;
        let mut active = match self.active.take() {
            Some(active) => active,
            None => self.start(dir, need)?,
        };
        if active.room() < need {
            match self.more_room(&mut active, dir, need, now) {
                Ok(None) => {}
                Ok(Some(tidied)) => {
                    // All that was appended and lives is in the other segment, synced. This one is
                    // emptied only now.
                    self.synced = self.appended;
                    let emptied = active.reset(self.draw());
                    self.spare = emptied.is_ok().then_some(std::mem::replace(&mut active, tidied));
                }
                Err(error) => {
                    self.active = Some(active);
                    return Err(error);
                }
            }
        }
        self.active = Some(active);
        Ok(())
    }

    /// Makes the segment larger, or copies what lives in it to another one, which is given back.
    fn more_room(
        &mut self,
        active: &mut Segment,
        dir: &Path,
        need: usize,
        now: Timestamp,
    ) -> io::Result<Option<Segment>> {
        let bytes = active.bytes()?;
        let mut live = Live::default();
        scan(&bytes, SECTOR_BYTES, &active.epoch(), |_, _, record| live.add(record));
        let living: usize = live.records(now).map(|record| whole_sectors(record.len())).sum();
        let freed = active.used() - living;
        // Copying is worth it when it frees more than it copies, and a good part of the whole.
        if freed <= living || freed < active.capacity() / 4 {
            let least = segments(active.capacity() - active.room() + need);
            let grown = active.grow(least.max(active.capacity() * 2));
            return grown.or_else(|_| active.grow(least)).map(|()| None);
        }
        let mut tidied = self.spare(dir, SECTOR_BYTES + living + need)?;
        for record in live.records(now) {
            tidied.append(record)?;
        }
        tidied.file().sync_data()?;
        Ok(Some(tidied))
    }

    /// An empty segment of at least this capacity.
    fn spare(&mut self, dir: &Path, capacity: usize) -> io::Result<Segment> {
        let Some(mut spare) = self.spare.take() else {
            return Segment::create(dir, self.draw(), segments(capacity));
        };
        spare.grow(segments(capacity))?;
        spare.reset(self.draw())?;
        Ok(spare)
    }

    /// The first segment that nobody holds, or a new one. After one was given up always a new one.
    fn start(&self, dir: &Path, need: usize) -> io::Result<Segment> {
        if self.generation == 0 {
            for path in list(dir)? {
                if let Some(taken) = Segment::take(&path)? {
                    return Ok(taken);
                }
            }
        }
        Segment::create(dir, self.draw(), segments(SECTOR_BYTES + need))
    }

    fn fits(&self, bytes: usize) -> bool {
        let need = bytes + self.slots.len() * SLOT_BYTES;
        self.active.as_ref().is_some_and(|active| active.room() >= need)
    }

    fn give_up(&mut self) {
        self.active = None;
        self.generation += 1;
    }

    fn draw(&self) -> Epoch {
        let mut epoch = Epoch::default();
        self.random.fill(&mut epoch);
        epoch
    }
}

/// Bytes rounded up to whole multiples of what a segment is made with.
fn segments(bytes: usize) -> usize {
    bytes.next_multiple_of(SEGMENT_BYTES)
}
