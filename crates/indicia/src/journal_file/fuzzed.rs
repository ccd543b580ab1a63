//! Segments of any content, and what a writer leaves of one: for the fuzzer, and for nobody else.
//! It may change at any time.

use std::io;
use std::path::Path;

use indicia_broker::ports::JournalEntry;

use super::record::{Entry, HEAD_BYTES, Record, SECTOR_BYTES, framed, whole_sectors};
use super::segment::{Segment, header};

/// Which lap does not matter.
const EPOCH: [u8; 16] = *b"the fuzzer's lap";

/// A segment with these payloads, each behind a head that fits it, and each at the next sector.
pub fn segment<'a>(payloads: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = header(&EPOCH);
    bytes.resize(SECTOR_BYTES, 0);
    for payload in payloads {
        bytes.extend(framed(&EPOCH, payload));
        bytes.resize(whole_sectors(bytes.len()), 0);
    }
    bytes
}

/// The payload of an entry's record.
pub fn payload(entry: &JournalEntry) -> Vec<u8> {
    Record::Entry(Entry::of(entry)).to_bytes(&EPOCH).split_off(HEAD_BYTES)
}

/// How many bytes of a segment a writer that takes it over leaves as they are; `None`: it takes
/// none that can't be read.
///
/// # Errors
/// It can't be read or locked.
pub fn left_alone(segment: &Path) -> io::Result<Option<usize>> {
    Ok(Segment::take(segment)?.map(|segment| SECTOR_BYTES + segment.used()))
}
