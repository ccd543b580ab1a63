//! Opening what decides where secrets go, or is one: the root key, a user's service files.
//!
//! What would surprise: it must belong to the running user himself; the superuser's own files are
//! good for the superuser alone. And no name is believed: what was opened is looked at, so that
//! nobody swaps it in between, and a pipe is refused without waiting for somebody to write to it.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// What nobody else may do with a file.
#[derive(Clone, Copy)]
pub(crate) enum Only {
    /// Others may read it.
    WeWrite,
    /// Others may do nothing with it.
    WeUse,
}

/// Opens a regular file of our own to read it. Errors say what is wrong and what to type.
pub(crate) fn open(path: &Path, only: Only) -> io::Result<File> {
    // Non-blocking matters for pipes and terminals alone, which are refused below.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    check(path, &found, only)?;
    Ok(file)
}

/// Whether this is our own and others have no right too many.
pub(crate) fn check(path: &Path, found: &Metadata, only: Only) -> io::Result<()> {
    let (owner, us) = (found.uid(), rustix::process::geteuid().as_raw());
    let shown = path.display();
    if owner != us {
        let problem =
            format!("belongs to user {owner}, not to you ({us}); type: chown {us} {shown}");
        return Err(io::Error::other(problem));
    }
    let mode = found.mode() & 0o777;
    let problem = match only {
        Only::WeWrite if mode & 0o022 != 0 => {
            format!("can be written by others (mode {mode:04o}); type: chmod go-w {shown}")
        }
        Only::WeUse if mode & 0o077 != 0 => {
            format!("can be used by others (mode {mode:04o}); type: chmod 600 {shown}")
        }
        Only::WeWrite | Only::WeUse => return Ok(()),
    };
    Err(io::Error::other(problem))
}
