//! Where a home's journal is, and its id: made when the first slot is wanted, not before.
//!
//! What would surprise: the id belongs to the home, not to a process, so that the entries of a
//! killed process are found by the next one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use indicia_broker::model::JournalId;

/// A journal's directory.
pub(super) struct Place {
    dir: PathBuf,
    candidate: JournalId,
    id: OnceLock<JournalId>,
    making: Mutex<()>,
}

impl Place {
    /// `candidate` becomes the id if there is none yet.
    pub(super) fn new(dir: PathBuf, candidate: [u8; 16]) -> Self {
        let hex: String = candidate.iter().map(|byte| format!("{byte:02x}")).collect();
        #[expect(clippy::expect_used, reason = "32 hex digits are a valid id")]
        let candidate = JournalId::new(&hex).expect("hex digits");
        Self { dir, candidate, id: OnceLock::new(), making: Mutex::new(()) }
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its id; directory and id are made if they aren't there.
    pub(super) fn id(&self) -> io::Result<JournalId> {
        if let Some(id) = self.id.get() {
            return Ok(id.clone());
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let id = match self.read()? {
            Some(id) => id,
            None => self.make()?,
        };
        Ok(self.id.get_or_init(|| id).clone())
    }

    /// What [`Self::id`] would be if it could be written: no slot is given while it can't.
    pub(super) fn id_or_candidate(&self) -> JournalId {
        self.id().unwrap_or_else(|_| self.candidate.clone())
    }

    fn path(&self) -> PathBuf {
        self.dir.join("id")
    }

    fn read(&self) -> io::Result<Option<JournalId>> {
        match std::fs::read_to_string(self.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(text) => JournalId::new(text.trim_end()).map(Some).map_err(io::Error::other),
        }
    }

    fn make(&self) -> io::Result<JournalId> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let draft = self.dir.join(format!("id.{}", self.candidate));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(format!("{}\n", self.candidate).as_bytes())?;
        file.sync_all()?;
        // A link, not a rename: it doesn't replace the id of a process that was faster.
        let linked = std::fs::hard_link(&draft, self.path());
        std::fs::remove_file(&draft)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => File::open(&self.dir)?.sync_all()?,
        }
        if let Some(home) = self.dir.parent() {
            File::open(home)?.sync_all()?;
        }
        self.read()?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
