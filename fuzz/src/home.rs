//! What a home holds, read back from a disk that may have changed it: the journal, the store's
//! rows, sealed texts.

use std::fs;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use indicia::journal_file::JournalFile;
use indicia::journal_file::fuzzed::{left_alone, payload, segment};
use indicia::root_key::BytesRootKey;
use indicia_broker::model::HolderId;
use indicia_broker::ports::{Clock, Journal as _, JournalEntry, Random, RootKey, StoreErrorKind};
use indicia_broker::vault::{Field, Fingerprint, KeyId, Sealed, Vault};
use indicia_oauth::Timestamp;
use indicia_store::Memory;
use indicia_store::fuzzed::Rows;

use crate::http::block_on;
use crate::sent_at;

/// A segment with entries of ours, then with what the input says. Its first byte: how many are
/// ours, up to seven. Then pieces: a letter, two bytes of length, and so many bytes. `r` is a
/// record with that payload, `d` damage to ours (where, in two bytes, and what stands there then);
/// any other piece stands in the file as it is.
pub fn journal(data: &[u8]) {
    let Some((count, mut rest)) = data.split_first() else { return };
    let ours: Vec<JournalEntry> = (0..count % 8).map(entry).collect();
    let mut bytes = segment([]);
    let mut places: Vec<Range<usize>> = Vec::new();
    for entry in &ours {
        let record = payload(entry);
        places.push(bytes.len()..bytes.len() + HEAD_BYTES + record.len());
        bytes.extend_from_slice(&segment([&record[..]])[SECTOR_BYTES..]);
    }
    let (whole, mut damaged, mut spoken_of) = (bytes.len(), Vec::new(), false);
    while let Some((kind, piece)) = next_piece(&mut rest) {
        spoken_of |= piece.windows(OURS.len()).any(|part| part == OURS.as_bytes());
        match kind {
            b'r' => bytes.extend_from_slice(&segment([piece])[SECTOR_BYTES..]),
            b'd' => damaged.extend(damage(&mut bytes[..whole], piece)),
            _ => bytes.extend_from_slice(piece),
        }
        bytes.resize(bytes.len().next_multiple_of(SECTOR_BYTES), 0);
    }
    let is_whole = |place: &Range<usize>| {
        !damaged.iter().any(|damage| damage.start < place.end && place.start < damage.end)
    };
    let header = is_whole(&(0..SEGMENT_HEAD_BYTES));
    let kept = places.iter().zip(&ours).filter(|(place, _)| header && is_whole(place));
    let kept: Vec<_> = kept.collect();
    let (found, left) = read_journal(&bytes);
    assert_eq!(left.is_some(), header, "a segment is taken over exactly if its head is whole");
    let end = kept.last().map_or(0, |(place, _)| place.end);
    assert!(left.is_none_or(|left| left >= end), "a writer would overwrite an entry");
    // What the input adds may say that ours are stored, or older than others.
    if !spoken_of {
        let all = kept.iter().all(|(_, entry)| found.contains(entry));
        assert!(all, "an entry that stands whole isn't found");
    }
}

/// The entries that are found, and what a writer leaves alone.
fn read_journal(segment: &[u8]) -> (Vec<JournalEntry>, Option<usize>) {
    let home = tempfile::tempdir().expect("a folder for temporary files");
    let path = home.path().join("journal/x.segment");
    let made = fs::create_dir(home.path().join("journal"));
    made.and_then(|()| fs::write(&path, segment)).expect("room for a segment");
    let journal = JournalFile::new(home.path(), Arc::new(Standing), Arc::new(Counting));
    let found = block_on(journal.entries(None)).expect("damage is passed over");
    for entry in &found {
        let of = block_on(journal.entries(Some(&entry.of))).expect("damage is passed over");
        assert!(of.contains(entry), "found among all, and not by its name");
    }
    (found, left_alone(&path).expect("nobody else holds it"))
}

/// Takes one from the rest.
fn next_piece<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&[kind, high, low], after) = rest.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes([high, low])).min(after.len());
    let (piece, after) = after.split_at(length);
    *rest = after;
    Some((kind, piece))
}

/// Writes over what is there; where, if that changed anything.
fn damage(bytes: &mut [u8], piece: &[u8]) -> Option<Range<usize>> {
    let (at, new) = piece.split_first_chunk()?;
    let at = usize::from(u16::from_be_bytes(*at));
    let new = &new[..new.len().min(bytes.len().saturating_sub(at))];
    let old = bytes.get_mut(at..at + new.len())?;
    if old == new {
        return None;
    }
    old.copy_from_slice(new);
    Some(at..at + new.len())
}

/// Of ours the one with this number: each in another length.
fn entry(n: u8) -> JournalEntry {
    let bytes = vec![n; usize::from(n) * 300];
    JournalEntry {
        of: format!("{OURS}{n}"),
        version: n.into(),
        fingerprint: Fingerprint::from_bytes([n; 32]),
        sent_at: sent_at(),
        answer: Sealed { key: KeyId::FIRST, bytes },
    }
}

const OURS: &str = "ours-";
/// Where the next record may begin, in a segment.
const SECTOR_BYTES: usize = 512;
/// Before a record's payload.
const HEAD_BYTES: usize = 24;
/// Before a segment's records: what is looked at of its first sector.
const SEGMENT_HEAD_BYTES: usize = 40;

/// Lines as [`Rows::read_with`] takes them.
pub fn stored_rows(data: &[u8]) {
    thread_local!(static ROWS: Rows = Rows::default());
    let Ok(changes) = std::str::from_utf8(data) else { return };
    for read in ROWS.with(|rows| rows.read_with(changes)) {
        match read.came {
            Ok(_) => {}
            Err(error) => {
                assert!(read.touched, "{} can't be read though nothing changed them", read.what);
                assert_eq!(error.kind, StoreErrorKind::Unreadable, "{}: {error}", read.what);
            }
        }
    }
}

/// Bytes to be mixed into sealed ones: only what is as it was sealed opens, and only in its place.
pub fn sealed(data: &[u8]) {
    static SAFE: OnceLock<Safe> = OnceLock::new();
    let safe = SAFE.get_or_init(Safe::new);
    let (true_bytes, wrapped) = (&safe.sealed.bytes, &safe.wrapped);
    let as_given = Sealed { key: KeyId::FIRST, bytes: data.to_vec() };
    let mixed = Sealed { key: KeyId::FIRST, bytes: mix(true_bytes, data) };
    for sealed in [as_given, mixed] {
        for (field, is_its) in [(Safe::FIELD, true), (Field::Flow { state_hash: "x" }, false)] {
            let opened = safe.vault.unseal(field, &sealed).is_ok();
            assert_eq!(opened, is_its && sealed.bytes == *true_bytes, "{field:?}");
        }
    }
    for bytes in [data.to_vec(), mix(wrapped, data)] {
        let opened = block_on(safe.root.unwrap(CONTEXT, &bytes)).is_ok();
        assert_eq!(opened, bytes == *wrapped, "a wrapped key");
    }
}

struct Safe {
    vault: Vault,
    root: Arc<BytesRootKey>,
    sealed: Sealed,
    wrapped: Vec<u8>,
}

impl Safe {
    const FIELD: Field<'static> = Field::Tokens { grant: "x", version: 1 };

    fn new() -> Self {
        let root = BytesRootKey::parse(&[7; 32], "the fuzzer").ok().map(Arc::new);
        let root = root.expect("32 bytes are a key");
        let holder = HolderId::new("fuzzer").expect("letters");
        let store = Memory::new(Arc::new(Standing)).handle(holder);
        let key: Arc<dyn RootKey> = Arc::<BytesRootKey>::clone(&root);
        let opened = Vault::open(store, key, Arc::new(Counting), sent_at());
        let vault = block_on(opened).expect("an empty store");
        let sealed = vault.seal(Self::FIELD, b"a token set");
        let wrapped = block_on(root.wrap(CONTEXT, &[9; 64])).expect("a key that wraps");
        Self { vault, root, sealed, wrapped }
    }
}

/// As long as the first; what the second has is mixed in, byte by byte.
fn mix(bytes: &[u8], with: &[u8]) -> Vec<u8> {
    let with = with.iter().copied().chain(std::iter::repeat(0));
    bytes.iter().zip(with).map(|(byte, with)| byte ^ with).collect()
}

const CONTEXT: &[u8] = b"context";

/// Two clocks that stand.
struct Standing;

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        sent_at()
    }

    fn boot_millis(&self) -> u64 {
        3_600_000
    }
}

/// Chance that is none.
struct Counting;

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for (byte, n) in bytes.iter_mut().zip((0..=u8::MAX).cycle()) {
            *byte = n;
        }
    }
}
