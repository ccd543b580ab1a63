//! What of many records is still worth keeping: of each grant or flow the newest version, for a
//! week after it was noted as stored.
//!
//! What would surprise: the week alone bounds nothing, since an answer that was never noted as
//! stored stays for ever, as it must. What bounds a segment is that only the newest version of a
//! grant or flow lives, with at most [`SAME_VERSION_MAX`] answers, however often it is refreshed:
//! of the grants that this home has ever refreshed the newest, and of flows those of the last week
//! and those that a crash cut off between answer and note. The file is at most four times as large
//! as what lived in it at its fullest and the slots taken then, and a megabyte: it grows only while
//! what is dead in it is less than what lives, or leaves too little room for the slots. It is never
//! shortened; its room is used again.

use std::collections::BTreeMap;
use std::time::Duration;

use indicia_oauth::Timestamp;

use super::record::{Entry, Record};

/// How long an entry stays after it was stored: a store restored from a backup of that age is
/// repaired from it.
pub(super) const KEPT_AFTER_COMMIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Answers to the same spend that are kept, the latest: where it was sent again and again.
const SAME_VERSION_MAX: usize = 8;

/// The newest of each.
#[derive(Default)]
pub(super) struct Live<'a> {
    by_of: BTreeMap<&'a str, Newest<'a>>,
}

#[derive(Default)]
struct Newest<'a> {
    version: u64,
    entries: Vec<Entry<'a>>,
    committed: Option<Timestamp>,
}

impl<'a> Live<'a> {
    /// Takes a record in, in any order.
    pub(super) fn add(&mut self, record: Record<'a>) {
        match record {
            Record::Entry(entry) => {
                let newest = self.newest(entry.of, entry.version);
                // The same record may stand in two segments, while one is copied to the other.
                if entry.version == newest.version && !newest.entries.contains(&entry) {
                    newest.entries.push(entry);
                    newest.entries.sort_by_key(|entry| entry.sent_at);
                    let surplus = newest.entries.len().saturating_sub(SAME_VERSION_MAX);
                    newest.entries.drain(..surplus);
                }
            }
            Record::Committed { of, version, at } => {
                let newest = self.newest(of, version);
                if version == newest.version {
                    newest.committed = Some(newest.committed.map_or(at, |before| before.min(at)));
                }
            }
        }
    }

    /// What is kept at `now`, by grant or flow, the latest answer last. A mark stays with its
    /// entry, and also without it: the entry may be in another segment.
    pub(super) fn records(&self, now: Timestamp) -> impl Iterator<Item = Record<'a>> {
        self.by_of
            .iter()
            .filter(move |(_, newest)| !newest.is_over(now))
            .flat_map(|(of, newest)| newest.records(of))
    }

    fn newest(&mut self, of: &'a str, version: u64) -> &mut Newest<'a> {
        let newest = self.by_of.entry(of).or_default();
        if version > newest.version {
            *newest = Newest { version, ..Newest::default() };
        }
        newest
    }
}

impl<'a> Newest<'a> {
    fn is_over(&self, now: Timestamp) -> bool {
        self.committed.is_some_and(|at| at.plus(KEPT_AFTER_COMMIT) <= now)
    }

    fn records(&self, of: &'a str) -> impl Iterator<Item = Record<'a>> {
        let mark = self.committed.map(|at| Record::Committed { of, version: self.version, at });
        self.entries.iter().copied().map(Record::Entry).chain(mark)
    }
}
