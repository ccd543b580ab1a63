//! A root key in a file of its owner's alone: by default `root.key` in the home.
//!
//! What would surprise: the file is read, and where that is allowed made, when a data key is first
//! wrapped or unwrapped; looking at an empty home makes nothing. And it is never made for a store
//! that isn't empty: a new key would not open it, and would only hide that the old one is missing.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use indicia_broker::ports::{Random, RootKey, RootKeyError};
use zeroize::Zeroizing;

use super::wrap::{KEY_BYTES, Key};
use crate::own_file::{self, Only};

/// What to do when there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The store is empty: make one, for the first data key.
    Make,
    /// The store was sealed with one: say that it is missing.
    Refuse,
}

/// A root key in a file. Does not print.
pub struct FileRootKey {
    path: PathBuf,
    missing: Missing,
    random: Arc<dyn Random>,
    key: OnceLock<Key>,
}

impl FileRootKey {
    /// Reads and makes nothing yet. `missing`: the caller knows whether the store is empty.
    pub fn new(path: PathBuf, missing: Missing, random: Arc<dyn Random>) -> Self {
        Self { path, missing, random, key: OnceLock::new() }
    }

    /// In hex, as the file has it.
    ///
    /// # Errors
    /// A file that is missing or can't be used.
    pub fn to_hex(&self) -> Result<Zeroizing<String>, RootKeyError> {
        Ok(self.key(Missing::Refuse)?.to_hex())
    }

    fn key(&self, missing: Missing) -> Result<&Key, RootKeyError> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let key = match (read(&self.path)?, missing) {
            (Some(key), _) => key,
            (None, Missing::Make) => self.make()?,
            (None, Missing::Refuse) => return Err(unavailable(&self.path, MISSING)),
        };
        Ok(self.key.get_or_init(|| key))
    }

    /// Draws a key and writes it; the key of who was faster counts.
    fn make(&self) -> Result<Key, RootKeyError> {
        let failed = |error: io::Error| unavailable(&self.path, &format!("can't be made: {error}"));
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        self.random.fill(&mut *bytes);
        let mut draft = [0; 8];
        self.random.fill(&mut draft);
        let draft = self.path.with_extension(format!("draft-{:016x}", u64::from_be_bytes(draft)));
        write_new(&self.path, &draft, &Key::new(bytes)).map_err(failed)?;
        read(&self.path)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
    }
}

#[async_trait]
impl RootKey for FileRootKey {
    async fn wrap(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, RootKeyError> {
        self.key(self.missing)?.wrap(context, plain)
    }

    async fn unwrap(
        &self,
        context: &[u8],
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RootKeyError> {
        // Something was wrapped already: whatever the caller thought, this store isn't empty.
        self.key(Missing::Refuse)?.unwrap(context, wrapped)
    }
}

fn read(path: &Path) -> Result<Option<Key>, RootKeyError> {
    let file = match own_file::open(path, Only::WeUse) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::Other => {
            return Err(unavailable(path, &error.to_string()));
        }
        Err(error) => return Err(unavailable(path, &format!("can't be read: {error}"))),
        Ok(file) => file,
    };
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX + 1));
    let limit = FILE_BYTES_MAX as u64 + 1;
    file.take(limit)
        .read_to_end(&mut text)
        .map_err(|error| unavailable(path, &format!("can't be read: {error}")))?;
    match Key::parse(&text) {
        Some(key) => Ok(Some(key)),
        None => Err(unavailable(path, "holds no root key (64 hex digits); restore it from a copy")),
    }
}

/// Writes the file whole or not at all; leaves one that is there alone.
fn write_new(path: &Path, draft: &Path, key: &Key) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    let mut text = key.to_hex();
    text.push('\n');
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    // A link, not a rename: it doesn't replace the key of a process that was faster.
    let linked = written.and_then(|()| std::fs::hard_link(draft, path));
    std::fs::remove_file(draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => File::open(dir)?.sync_all(),
    }
}

fn unavailable(path: &Path, why: &str) -> RootKeyError {
    RootKeyError::Unavailable(format!("the root key {} {why}", path.display()))
}

const MISSING: &str = "is missing, and the store was sealed with it: bring it back from a copy, or \
                       name where it is (--root-key)";

/// A root key in any spelling, and a line's end.
const FILE_BYTES_MAX: usize = 80;
