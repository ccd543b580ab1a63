//! The journal's disk: one for the home, shared by all of its processes, and it survives them. As
//! in the real one, each process has slots of its own; the newest version of a grant is kept, with
//! the last answers to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use indicia_broker::model::JournalId;
use indicia_broker::ports::{Journal, JournalEntry, JournalError, SlotNo};
use indicia_oauth::Timestamp;

use super::host::{Host, Step};

const SLOTS_MAX: usize = 32;
const SAME_VERSION_MAX: usize = 8;

#[derive(Default)]
pub struct Disk {
    entries: BTreeMap<String, Vec<JournalEntry>>,
    /// Slot → the life of the host that took it.
    slots: BTreeMap<u64, (usize, u32)>,
    taken: u64,
    pub full: bool,
    /// Nothing can be read from it.
    pub unreadable: bool,
}

impl Disk {
    fn keep(&mut self, entry: JournalEntry) {
        let of = self.entries.entry(entry.of.clone()).or_default();
        let newest = of.first().map_or(0, |e| e.version);
        if entry.version > newest {
            of.clear();
        }
        if entry.version >= newest {
            of.push(entry);
            let surplus = of.len().saturating_sub(SAME_VERSION_MAX);
            of.drain(..surplus);
        }
    }

    /// All that is kept.
    pub fn all(&self) -> Vec<JournalEntry> {
        self.entries.values().flatten().cloned().collect()
    }

    /// All that was kept is gone.
    pub fn lose(&mut self) {
        self.entries.clear();
    }

    /// A life ended: its slots are free again.
    pub fn ended(&mut self, host: usize, life: u32) {
        self.slots.retain(|_, owner| *owner != (host, life));
    }
}

/// The journal as one life of one host sees it.
pub struct SimJournal(pub Arc<Host>);

#[async_trait]
impl Journal for SimJournal {
    fn id(&self) -> JournalId {
        JournalId::new("home").unwrap()
    }

    async fn reserve(&self) -> Result<SlotNo, JournalError> {
        self.0.pass("reserve", Step::Spend).await;
        let owner = (self.0.n, self.0.life);
        let mut disk = self.0.world.disk.lock().unwrap();
        if disk.full || disk.slots.len() >= SLOTS_MAX {
            return Err(JournalError("no space left".to_owned()));
        }
        disk.taken += 1;
        let n = disk.taken;
        disk.slots.insert(n, owner);
        Ok(SlotNo(n))
    }

    async fn keep(&self, slot: SlotNo, entry: JournalEntry) -> Result<(), JournalError> {
        let world = &self.0.world;
        let access = world.books().keep_began(&entry);
        // A crash in here is a torn write: the tail of the file, which nobody takes for an entry.
        self.0.pass("keep", Step::Spend).await;
        let fails = world.stormy_chance(world.plan.faults.keep_fails);
        let taken = world.disk.lock().unwrap().slots.remove(&slot.0);
        assert!(taken.is_some(), "kept in a slot that wasn't taken");
        if fails {
            world.tell(&format!("{} journal: the write failed", self.0.name()));
            return Err(JournalError("input/output error".to_owned()));
        }
        world.disk.lock().unwrap().keep(entry);
        world.books().kept(access);
        self.0.pass("kept", Step::Spend).await;
        Ok(())
    }

    async fn give_back(&self, slot: SlotNo) {
        self.0.world.disk.lock().unwrap().slots.remove(&slot.0);
    }

    async fn entries(&self, of: Option<&str>) -> Result<Vec<JournalEntry>, JournalError> {
        self.0.pass("entries", Step::Other).await;
        let world = &self.0.world;
        let away = world.disk.lock().unwrap().unreadable;
        if away || world.stormy_chance(world.plan.faults.journal_unreadable) {
            world.tell(&format!("{} journal: can't be read", self.0.name()));
            return Err(JournalError("input/output error".to_owned()));
        }
        let disk = world.disk.lock().unwrap();
        let all = disk.entries.iter().filter(|(its, _)| of.is_none_or(|of| of == *its));
        Ok(all.flat_map(|(_, entries)| entries.clone()).collect())
    }

    async fn committed(&self, _: &str, _: u64, _: Timestamp) -> Result<(), JournalError> {
        self.0.pass("committed", Step::Other).await;
        Ok(())
    }
}
