//! Who holds leases: one opened store, seen by an operating-system lock on a file of its own, which
//! falls with its process, however that ends.
//!
//! What would surprise: the file is made at the first claim, not when the store is opened, so that
//! a read writes nothing. A missing file means the same as an unlocked one: its holder is dead.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use indicia_broker::model::HolderId;
use indicia_broker::ports::StoreErrorKind;

use super::failure::Failure;
use super::home::{cannot, check_owner, make_one};
use crate::chain::to_hex;

pub(super) struct Holder {
    id: HolderId,
    run: PathBuf,
    held: Mutex<Option<File>>,
}

impl Holder {
    /// A new holder on the store in `home`: the name of this boot, and a random part.
    pub(super) fn new(home: &Path) -> Result<Self, Failure> {
        let name = format!("{}-{}", this_boot(), nonce()?);
        let id = HolderId::new(&name)
            .map_err(|error| Failure::Home(StoreErrorKind::Unavailable, error.to_string()))?;
        Ok(Self { id, run: home.join("run"), held: Mutex::default() })
    }

    pub(super) fn id(&self) -> &HolderId {
        &self.id
    }

    /// Takes the lock by which others see that this holder lives. The first time only, it also
    /// removes what dead holders left.
    pub(super) fn hold(&self) -> Result<(), Failure> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            make_one(&self.run)?;
            check_run(&self.run)?;
            sweep(&self.run);
            let path = self.run.join(self.id.as_str());
            *held = Some(locked(&path).map_err(|error| cannot("lock", &path, &error))?);
        }
        Ok(())
    }

    /// Whether `other` is surely dead: it is of an earlier boot, or nobody holds its lock.
    pub(super) fn is_dead(&self, other: &str) -> bool {
        if other == self.id.as_str() {
            return false;
        }
        if other.split_once('-').map(|(boot, _)| boot) != self.id.as_str().split('-').next() {
            return true;
        }
        match File::open(self.run.join(other)) {
            // Shared, so that two who look at once don't take each other for the holder.
            Ok(file) => file.try_lock_shared().is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            // Left behind, it is swept by the next holder.
            drop(fs::remove_file(self.run.join(self.id.as_str())));
        }
    }
}

/// Makes the file and locks it. Somebody who sweeps, or looks, at the moment between the two is why
/// it may take more than one try.
fn locked(path: &Path) -> io::Result<File> {
    for _ in 0..LOCK_TRIES_MAX {
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if file.try_lock().is_ok()
            && fs::metadata(path)
                .is_ok_and(|there| file.metadata().is_ok_and(|ours| same(&there, &ours)))
        {
            return Ok(file);
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

fn same(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Refused when it isn't a folder of our own in the home itself: what a link leads to is somebody
/// else's, and isn't ours to put locks into or to sweep.
fn check_run(run: &Path) -> Result<(), Failure> {
    let found = fs::symlink_metadata(run).map_err(|error| cannot("look at", run, &error))?;
    if !found.is_dir() {
        return Err(Failure::Home(
            StoreErrorKind::Unreadable,
            format!("{} is not a folder of its own, but a link: move it away", run.display()),
        ));
    }
    check_owner(run, &found)
}

/// Removes the files of dead holders, and nothing else: a file that is empty, as theirs are, and
/// has a holder's name. What can't be read or removed stays: it does no harm.
fn sweep(run: &Path) {
    let Ok(files) = fs::read_dir(run) else { return };
    for entry in files.flatten() {
        // Of the name itself, not of what a link leads to.
        let Ok(found) = entry.metadata() else { continue };
        let holders = entry.file_name().to_str().is_some_and(is_name);
        if holders
            && found.is_file()
            && found.len() == 0
            && let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            drop(fs::remove_file(entry.path()));
        }
    }
}

/// Whether this is what [`Holder::new`] calls its file: a boot, and a nonce.
fn is_name(name: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    name.split_once('-').is_some_and(|(boot, nonce)| {
        (1..=BOOT_LETTERS).contains(&boot.len())
            && nonce.len() == 2 * NONCE_BYTES
            && hex(boot)
            && hex(nonce)
    })
}

/// The running boot of this machine, short; leases of an earlier one have ended.
fn this_boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let short: String = id.chars().filter(char::is_ascii_hexdigit).take(BOOT_LETTERS).collect();
    match short.is_empty() {
        true => "0".to_owned(),
        false => short,
    }
}

/// 128 random bits, in hex.
pub(super) fn nonce() -> Result<String, Failure> {
    let mut bytes = [0; NONCE_BYTES];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(to_hex(&bytes)),
        Err(error) => Err(Failure::Home(
            StoreErrorKind::Unavailable,
            format!("the operating system gives no randomness: {error}"),
        )),
    }
}

const BOOT_LETTERS: usize = 16;
const NONCE_BYTES: usize = 16;
const LOCK_TRIES_MAX: u32 = 1000;
