//! Reads the entries of all processes of a home, running and dead.
//!
//! What would surprise: it takes no lock. A writer that tidies up copies entries to its other segment
//! and then empties the first; a reader could look into the one too early and into the other too
//! late. So the laps of all segments are noted before and looked at again after, and if one has
//! changed, all is read again.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use indicia_broker::ports::JournalEntry;
use indicia_oauth::Timestamp;

use super::live::Live;
use super::record::{Epoch, Record, SECTOR_BYTES, scan};
use super::segment::{epoch_of, list};

/// Entries that are kept at `now`: those of one grant or flow, or all.
pub(super) fn entries(
    dir: &Path,
    of: Option<&str>,
    now: Timestamp,
) -> io::Result<Vec<JournalEntry>> {
    for _ in 0..TRIES_MAX {
        let before = laps(dir)?;
        let mut segments = Vec::new();
        for (path, _) in &before {
            segments.extend(read(path)?);
        }
        if laps(dir)? == before {
            return Ok(living(&segments, of, now));
        }
    }
    Err(io::Error::other("the journal changes too fast to be read"))
}

fn living(segments: &[Vec<u8>], of: Option<&str>, now: Timestamp) -> Vec<JournalEntry> {
    let mut live = Live::default();
    for segment in segments {
        let Some(epoch) = epoch_of(segment) else {
            continue;
        };
        scan(segment, SECTOR_BYTES, &epoch, |record| {
            let (Record::Entry(super::record::Entry { of: its, .. })
            | Record::Committed { of: its, .. }) = record;
            if of.is_none_or(|of| of == its) {
                live.add(record);
            }
        });
    }
    let entries = live.records(now).filter_map(|record| match record {
        Record::Entry(entry) => Some(entry.to_owned()),
        Record::Committed { .. } => None,
    });
    entries.collect()
}

fn laps(dir: &Path) -> io::Result<Vec<(PathBuf, Option<Epoch>)>> {
    let mut laps = Vec::new();
    for path in list(dir)? {
        let mut header = [0; SECTOR_BYTES];
        let lap = match open(&path)? {
            Some(mut file) => file.read_exact(&mut header).ok().and_then(|()| epoch_of(&header)),
            None => None,
        };
        laps.push((path, lap));
    }
    Ok(laps)
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let Some(mut file) = open(path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// Tidying happens every few hundred entries: two in a row during one reading are already rare.
const TRIES_MAX: u32 = 50;
