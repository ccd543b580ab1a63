//! A segment: a file of zeros, written from its start under an operating-system lock.
//!
//! What would surprise: it is never shortened and its blocks are written ahead of need, so that an
//! append changes no length and needs no space: a full disk can't lose an answer for which a slot
//! was taken, and a sync writes the record alone.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{Epoch, Record, SECTOR_BYTES, checksum, scan, whole_sectors};

/// What a segment is made with, and grows by multiples of.
pub(super) const SEGMENT_BYTES: usize = 1024 * 1024;

/// Ending of a segment's file name.
pub(super) const ENDING: &str = ".segment";

/// A segment that this process alone writes.
pub(super) struct Segment {
    file: Arc<File>,
    epoch: Epoch,
    capacity: usize,
    end: usize,
}

impl Segment {
    /// Makes one, its blocks really on the disk. Nothing is left behind on failure.
    pub(super) fn create(dir: &Path, epoch: Epoch, capacity: usize) -> io::Result<Self> {
        let path = dir.join(format!("{}{ENDING}", name(&epoch)));
        // Under another name until it is whole and ours: nobody takes it from under our hands.
        let draft = path.with_extension("draft");
        let mut new = OpenOptions::new();
        let file = new.read(true).write(true).create_new(true).mode(0o600).open(&draft)?;
        let made = Self::fill(file, epoch, capacity).and_then(|segment| {
            std::fs::rename(&draft, &path)?;
            File::open(dir)?.sync_all()?;
            Ok(segment)
        });
        if made.is_err() {
            // Best effort: a draft is harmless, the error is what must be told.
            let _ = std::fs::remove_file(&draft);
        }
        made
    }

    fn fill(file: File, epoch: Epoch, capacity: usize) -> io::Result<Self> {
        file.try_lock()?;
        let mut segment = Self { file: Arc::new(file), epoch, capacity: 0, end: SECTOR_BYTES };
        segment.grow(capacity)?;
        segment.write_header()?;
        segment.file.sync_all()?;
        Ok(segment)
    }

    /// Takes over one that nobody holds; `None`: somebody does, or it is gone.
    pub(super) fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => {}
        }
        let bytes = read_whole(&file)?;
        let Some(epoch) = epoch_of(&bytes) else {
            // Damaged: it is left as it is, for who can repair it.
            return Ok(None);
        };
        let end = scan(&bytes, SECTOR_BYTES, &epoch, |_, _, _| {});
        Ok(Some(Self { file: Arc::new(file), epoch, capacity: bytes.len(), end }))
    }

    /// Bytes that can still be appended.
    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.end)
    }

    /// Bytes that records take.
    pub(super) fn used(&self) -> usize {
        self.end - SECTOR_BYTES
    }

    /// Bytes of the file.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The file, to be synced beside appends.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// All of it, to be scanned from [`SECTOR_BYTES`] on with [`Self::epoch`].
    pub(super) fn bytes(&self) -> io::Result<Vec<u8>> {
        read_whole(&self.file)
    }

    /// The lap that it is in.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Writes a record behind the last one. Not durable before the file is synced.
    pub(super) fn append(&mut self, record: Record<'_>) -> io::Result<()> {
        let bytes = record.to_bytes(&self.epoch);
        self.file.write_all_at(&bytes, offset(self.end))?;
        self.end += whole_sectors(bytes.len());
        Ok(())
    }

    /// Makes it larger, durably; on failure it is as it was.
    pub(super) fn grow(&mut self, capacity: usize) -> io::Result<()> {
        let zeros = vec![0; ZEROS_BYTES];
        let mut at = self.capacity;
        let mut written = Ok(());
        while at < capacity && written.is_ok() {
            let count = ZEROS_BYTES.min(capacity - at);
            written = self.file.write_all_at(&zeros[..count], offset(at));
            at += count;
        }
        if let Err(error) = written.and_then(|()| self.file.sync_all()) {
            // Gives back what was half taken; if that fails too, it is only space.
            let _ = self.file.set_len(offset(self.capacity));
            return Err(error);
        }
        self.capacity = capacity.max(self.capacity);
        Ok(())
    }

    /// Empties it: all its records are void from now on (durably, once it is synced).
    pub(super) fn reset(&mut self, epoch: Epoch) -> io::Result<()> {
        self.epoch = epoch;
        self.end = SECTOR_BYTES;
        self.write_header()
    }

    fn write_header(&self) -> io::Result<()> {
        self.file.write_all_at(&header(&self.epoch), 0)
    }
}

/// What a segment of this lap begins with.
pub(super) fn header(epoch: &Epoch) -> Vec<u8> {
    [&MAGIC[..], epoch, &checksum(epoch, &MAGIC)].concat()
}

/// Paths of all segments in a journal's directory, sorted; none when there is no directory.
pub(super) fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.to_str().is_some_and(|path| path.ends_with(ENDING)) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The lap that a segment's first sector names; `None`: it names none.
pub(super) fn epoch_of(segment: &[u8]) -> Option<Epoch> {
    let (epoch, rest) = segment.strip_prefix(&MAGIC)?.split_first_chunk()?;
    rest.starts_with(&checksum(epoch, &MAGIC)).then_some(*epoch)
}

/// Hex of the first half: enough for a name.
fn name(epoch: &Epoch) -> String {
    epoch[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_whole(file: &File) -> io::Result<Vec<u8>> {
    let len = usize::try_from(file.metadata()?.size()).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// A place in a file. `usize` has at most 64 bits wherever this runs.
const fn offset(at: usize) -> u64 {
    at as u64
}

const MAGIC: [u8; 8] = *b"IJSEG-1\n";
const ZEROS_BYTES: usize = 256 * 1024;
