//! Records of a journal segment, as bytes.
//!
//! A record starts on a sector of its own, so that a torn write can't reach an earlier one. What
//! would surprise: its checksum covers the segment's epoch too. A segment is emptied by writing a
//! new epoch into its header, and whatever lies behind from before is then no record any more.

use aws_lc_rs::digest::{SHA256, digest};
use indicia_broker::ports::JournalEntry;
use indicia_broker::vault::{Fingerprint, KeyId, Sealed};
use indicia_oauth::Timestamp;

/// What a write can't tear within, in bytes: records start at its multiples.
pub(super) const SECTOR_BYTES: usize = 512;

/// One lap of a segment: random.
pub(super) type Epoch = [u8; 16];

/// A record, its texts and sealed bytes where they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// A kept answer.
    Entry(Entry<'a>),
    /// The entry of `of` at `version` is stored since `at`.
    Committed {
        /// Grant id, or the state hash of a flow.
        of: &'a str,
        /// Version that was spent from.
        version: u64,
        /// When that was noted.
        at: Timestamp,
    },
}

/// A kept answer: [`JournalEntry`], borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) of: &'a str,
    pub(super) version: u64,
    pub(super) fingerprint: Fingerprint,
    pub(super) sent_at: Timestamp,
    pub(super) key: KeyId,
    pub(super) sealed: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Borrows.
    pub(super) fn of(entry: &'a JournalEntry) -> Self {
        Self {
            of: &entry.of,
            version: entry.version,
            fingerprint: entry.fingerprint,
            sent_at: entry.sent_at,
            key: entry.answer.key,
            sealed: &entry.answer.bytes,
        }
    }

    /// Copies.
    pub(super) fn to_owned(self) -> JournalEntry {
        JournalEntry {
            of: self.of.to_owned(),
            version: self.version,
            fingerprint: self.fingerprint,
            sent_at: self.sent_at,
            answer: Sealed { key: self.key, bytes: self.sealed.to_vec() },
        }
    }
}

impl Record<'_> {
    /// Bytes of [`Self::to_bytes`].
    pub(super) fn len(self) -> usize {
        match self {
            Self::Entry(entry) => HEAD_BYTES + 57 + entry.of.len() + entry.sealed.len(),
            Self::Committed { of, .. } => HEAD_BYTES + 17 + of.len(),
        }
    }

    /// As written into a segment of this epoch.
    pub(super) fn to_bytes(self, epoch: &Epoch) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.len() - HEAD_BYTES);
        match self {
            Self::Entry(entry) => {
                payload.push(ENTRY);
                payload.extend(entry.version.to_be_bytes());
                payload.extend(entry.sent_at.as_millis().to_be_bytes());
                payload.extend(entry.fingerprint.as_bytes());
                payload.extend(entry.key.0.to_be_bytes());
                payload.extend(length(entry.of.len()));
                payload.extend(entry.of.as_bytes());
                payload.extend(entry.sealed);
            }
            Self::Committed { of, version, at } => {
                payload.push(COMMITTED);
                payload.extend(version.to_be_bytes());
                payload.extend(at.as_millis().to_be_bytes());
                payload.extend(of.as_bytes());
            }
        }
        framed(epoch, &payload)
    }
}

/// A payload behind its head.
pub(super) fn framed(epoch: &Epoch, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + payload.len());
    out.extend(MAGIC);
    out.extend(length(payload.len()));
    out.extend(checksum(epoch, payload));
    out.extend(payload);
    out
}

/// Reads all records of an epoch in `segment`, in order, tells where each lies and how much it
/// takes, and returns where the next one may be written: behind the last. What is torn, flipped or
/// of another epoch is passed over.
pub(super) fn scan<'a>(
    segment: &'a [u8],
    start: usize,
    epoch: &Epoch,
    mut found: impl FnMut(usize, usize, Record<'a>),
) -> usize {
    let (mut at, mut end) = (start, start);
    while at < segment.len() {
        match read(&segment[at..], epoch) {
            Some((record, bytes)) => {
                let taken = whole_sectors(bytes);
                found(at, taken, record);
                at += taken;
                end = at;
            }
            None => at += SECTOR_BYTES,
        }
    }
    end
}

/// How long the record that begins here says that it is, if one begins here.
pub(super) fn announced(bytes: &[u8]) -> Option<usize> {
    let (count, _) = bytes.strip_prefix(&MAGIC)?.split_first_chunk()?;
    Some(HEAD_BYTES + usize::try_from(u32::from_be_bytes(*count)).ok()?)
}

/// The record that begins here, and its length.
pub(super) fn read<'a>(bytes: &'a [u8], epoch: &Epoch) -> Option<(Record<'a>, usize)> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let (count, rest) = rest.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk::<CHECKSUM_BYTES>()?;
    let payload = rest.get(..usize::try_from(u32::from_be_bytes(*count)).ok()?)?;
    if checksum(epoch, payload) != *sum {
        return None;
    }
    Some((parse(payload)?, HEAD_BYTES + payload.len()))
}

/// Bytes rounded up to where the next record may start.
pub(super) const fn whole_sectors(bytes: usize) -> usize {
    bytes.next_multiple_of(SECTOR_BYTES)
}

/// First bytes of SHA-256 over epoch and text.
pub(super) fn checksum(epoch: &Epoch, text: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let whole = digest(&SHA256, &[epoch, text].concat());
    let mut out = [0; CHECKSUM_BYTES];
    out.copy_from_slice(&whole.as_ref()[..CHECKSUM_BYTES]);
    out
}

fn parse(payload: &[u8]) -> Option<Record<'_>> {
    let (kind, rest) = payload.split_first()?;
    let (version, rest) = rest.split_first_chunk()?;
    let (millis, rest) = rest.split_first_chunk()?;
    let version = u64::from_be_bytes(*version);
    let at = Timestamp::from_millis(i64::from_be_bytes(*millis));
    match *kind {
        COMMITTED => Some(Record::Committed { of: std::str::from_utf8(rest).ok()?, version, at }),
        ENTRY => {
            let (fingerprint, rest) = rest.split_first_chunk()?;
            let (key, rest) = rest.split_first_chunk()?;
            let (count, rest) = rest.split_first_chunk()?;
            let count = usize::try_from(u32::from_be_bytes(*count)).ok()?;
            let (of, sealed) = rest.split_at_checked(count)?;
            Some(Record::Entry(Entry {
                of: std::str::from_utf8(of).ok()?,
                version,
                fingerprint: Fingerprint::from_bytes(*fingerprint),
                sent_at: at,
                key: KeyId(u32::from_be_bytes(*key)),
                sealed,
            }))
        }
        _ => None,
    }
}

/// A length on disk. Nothing near 4 GiB fits a slot.
fn length(count: usize) -> [u8; 4] {
    u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes()
}

const MAGIC: [u8; 4] = *b"IJR1";
const CHECKSUM_BYTES: usize = 16;
pub(super) const HEAD_BYTES: usize = MAGIC.len() + 4 + CHECKSUM_BYTES;
const ENTRY: u8 = 1;
const COMMITTED: u8 = 2;
