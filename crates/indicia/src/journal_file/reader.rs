//! Reads the entries of all processes of a home, running and dead.
//!
//! What would surprise: it takes no lock. A writer that tidies up copies entries to its other
//! segment and then empties the first; a reader could look into the one too early and into the
//! other too late. So the laps of all segments are noted before and looked at again after, and if
//! one has changed, all is read again. Where records lie is remembered, so that a look for one
//! grant costs what was written since the last look, not what was ever written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use indicia_broker::ports::JournalEntry;
use indicia_oauth::Timestamp;

use super::live::Live;
use super::record::{Entry, Epoch, Record, SECTOR_BYTES, announced, read, scan};
use super::segment::{epoch_of, list};

/// What is known of a home's segments.
#[derive(Default)]
pub(super) struct Reader {
    segments: BTreeMap<PathBuf, Segment>,
}

/// Records of one lap of one segment: by grant or flow, then by where they lie.
struct Segment {
    file: File,
    epoch: Epoch,
    /// Up to here every record was read.
    end: usize,
    records: BTreeMap<String, BTreeMap<usize, Located>>,
}

#[derive(Clone, Copy)]
struct Located {
    version: u64,
    bytes: usize,
    /// For a mark: what it says.
    committed: Option<Timestamp>,
}

impl Reader {
    /// Entries that are kept at `now`: those of one grant or flow, or all.
    pub(super) fn entries(
        &mut self,
        dir: &Path,
        of: Option<&str>,
        now: Timestamp,
    ) -> io::Result<Vec<JournalEntry>> {
        for _ in 0..TRIES_MAX {
            let before = laps(dir)?;
            self.look(&before)?;
            let entries = self.newest(of, now)?;
            if laps(dir)? == before {
                return Ok(entries);
            }
        }
        Err(io::Error::other("the journal changes too fast to be read"))
    }

    /// Brings what is known up to date.
    fn look(&mut self, laps: &BTreeMap<PathBuf, Epoch>) -> io::Result<()> {
        self.segments.retain(|path, segment| laps.get(path) == Some(&segment.epoch));
        for (path, epoch) in laps {
            if !self.segments.contains_key(path) {
                let Some(file) = open(path)? else { continue };
                let segment = Segment::new(file, *epoch)?;
                self.segments.insert(path.clone(), segment);
            } else if let Some(segment) = self.segments.get_mut(path) {
                segment.look_behind()?;
            }
        }
        Ok(())
    }

    fn newest(&self, of: Option<&str>, now: Timestamp) -> io::Result<Vec<JournalEntry>> {
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        for (its, located) in self.located(of) {
            let version = newest.entry(its).or_default();
            *version = located.2.version.max(*version);
        }
        let (mut entries, mut marks) = (Vec::new(), Vec::new());
        for (its, (segment, at, located)) in self.located(of) {
            if newest.get(its) != Some(&located.version) {
                continue;
            }
            match located.committed {
                Some(at) => marks.push(Record::Committed { of: its, version: located.version, at }),
                None => entries.extend(segment.entry(at, located.bytes)?),
            }
        }
        let mut live = Live::default();
        let kept = entries.iter().map(|entry| Record::Entry(Entry::of(entry)));
        kept.chain(marks).for_each(|record| live.add(record));
        let entry = |record| match record {
            Record::Entry(entry) => Some(Entry::to_owned(entry)),
            Record::Committed { .. } => None,
        };
        Ok(live.records(now).filter_map(entry).collect())
    }

    fn located<'a>(
        &'a self,
        of: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a str, (&'a Segment, usize, Located))> {
        self.segments.values().flat_map(move |segment| {
            let one = of.and_then(|of| segment.records.get_key_value(of));
            let all = of.is_none().then(|| segment.records.iter());
            one.into_iter().chain(all.into_iter().flatten()).flat_map(move |(its, located)| {
                let each = located.iter();
                each.map(move |(at, located)| (its.as_str(), (segment, *at, *located)))
            })
        })
    }
}

impl Segment {
    fn new(mut file: File, epoch: Epoch) -> io::Result<Self> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut segment = Self { file, epoch, end: SECTOR_BYTES, records: BTreeMap::new() };
        segment.note(&bytes, 0, SECTOR_BYTES);
        Ok(segment)
    }

    /// Reads what was appended since.
    fn look_behind(&mut self) -> io::Result<()> {
        let mut window = WINDOW_BYTES;
        loop {
            let mut bytes = vec![0; window];
            let count = read_up_to(&self.file, &mut bytes, self.end)?;
            bytes.truncate(count);
            let before = self.end;
            self.note(&bytes, before, 0);
            match announced(&bytes).filter(|bytes| *bytes > window && *bytes <= RECORD_BYTES_MAX) {
                _ if self.end > before => window = WINDOW_BYTES,
                Some(longer) if count == window => window = longer,
                _ => return Ok(()),
            }
        }
    }

    /// Notes the records in `bytes`, which lie at `offset`, from `start` on.
    fn note(&mut self, bytes: &[u8], offset: usize, start: usize) {
        let epoch = self.epoch;
        scan(bytes, start, &epoch, |at, taken, record| {
            let (of, version, committed) = match record {
                Record::Entry(entry) => (entry.of, entry.version, None),
                Record::Committed { of, version, at } => (of, version, Some(at)),
            };
            let located = Located { version, bytes: record.len(), committed };
            self.records.entry(of.to_owned()).or_default().insert(offset + at, located);
            // Behind a gap nothing counts as read: what lies in it may just be being written.
            if offset + at == self.end {
                self.end += taken;
            }
        });
    }

    /// The entry that was found there; `None` when it isn't there any more.
    fn entry(&self, at: usize, bytes: usize) -> io::Result<Option<JournalEntry>> {
        let mut buffer = vec![0; bytes];
        let count = read_up_to(&self.file, &mut buffer, at)?;
        Ok(match read(&buffer[..count], &self.epoch) {
            Some((Record::Entry(entry), _)) => Some(entry.to_owned()),
            _ => None,
        })
    }
}

/// The lap of each segment; one that names none holds nothing that can be read.
fn laps(dir: &Path) -> io::Result<BTreeMap<PathBuf, Epoch>> {
    let mut laps = BTreeMap::new();
    for path in list(dir)? {
        let Some(file) = open(&path)? else { continue };
        let mut header = [0; SECTOR_BYTES];
        let count = read_up_to(&file, &mut header, 0)?;
        laps.extend(epoch_of(&header[..count]).map(|epoch| (path, epoch)));
    }
    Ok(laps)
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// As many bytes as there are.
fn read_up_to(file: &File, buffer: &mut [u8], at: usize) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read_at(&mut buffer[count..], (at + count) as u64)? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}

/// Tidying happens every few hundred entries: two in a row during one reading are already rare.
const TRIES_MAX: u32 = 50;

/// What is read at once behind the last known record: most records fit.
const WINDOW_BYTES: usize = 16 * 1024;

/// What a record claims to be longer than isn't one: more than the largest slot.
const RECORD_BYTES_MAX: usize = 1024 * 1024;
