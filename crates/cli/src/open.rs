//! How the home folder becomes a broker: the one file that knows the library's options.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use indicia::root_key::BytesRootKey;
use indicia::{Broker, Catalogue, Indicia, Settings};
use indicia_broker::model::JournalId;
use indicia_broker::ports::{Journal, JournalEntry, JournalError, SlotNo};
use indicia_oauth::Timestamp;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::logged::Logged;
use crate::options::{Options, RootKeySource};

/// Opens it. With `pause`, the broker stops for good once it has kept an answer in the journal.
/// `has_sent` is set when something is sent.
pub async fn broker(
    options: &Options,
    pause: Option<&PathBuf>,
    has_sent: Arc<AtomicBool>,
) -> Result<Arc<Broker>, Failure> {
    let catalogue = Arc::new(catalogue(options)?);
    let settings = Settings {
        // A command ends with its answer: nothing can be done behind it.
        refresh_ahead: false,
        callback_port: options.callback_port,
        ..Settings::default()
    };
    let mut ports = Indicia::ports(library_options(options, settings.clone())?)?;
    ports.transport = Arc::new(Logged { transport: ports.transport, has_sent });
    if let Some(file) = pause {
        let journal = PausesAfterKeep { journal: ports.journal, file: file.clone() };
        ports.journal = Arc::new(journal);
    }
    Ok(Broker::open(ports, catalogue, settings).await?)
}

/// The shipped services and those of the home, which override them.
pub fn catalogue(options: &Options) -> Result<Catalogue, Failure> {
    Ok(indicia::catalogue(&options.home)?)
}

fn library_options(options: &Options, settings: Settings) -> Result<indicia::Options, Failure> {
    let root_key = match &options.root_key {
        RootKeySource::File(path) => indicia::RootKeySource::File(path.clone()),
        RootKeySource::Variable(name) => {
            let key = BytesRootKey::parse(&from_variable(name)?, &format!("the variable {name}"));
            let key = key.map_err(|error| {
                let hint = "give the key with --root-key env:NAME or file:PATH";
                Failure::home("root_key_unavailable", error.to_string(), hint)
            })?;
            indicia::RootKeySource::Given(Arc::new(key))
        }
    };
    Ok(indicia::Options { root_key, settings, ..indicia::Options::new(options.home.clone()) })
}

fn from_variable(name: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    use std::os::unix::ffi::OsStringExt as _;
    match std::env::var_os(name) {
        Some(value) => Ok(Zeroizing::new(value.into_vec())),
        None => Err(Failure::home(
            "root_key_unavailable",
            format!("the root key should be in the variable {name}, which isn't set"),
            format!("set {name}, or give another source with --root-key"),
        )),
    }
}

/// A journal that keeps one answer, tells so by making a file, and never returns: the moment at
/// which `indicia demo` kills its process.
struct PausesAfterKeep {
    journal: Arc<dyn Journal>,
    file: PathBuf,
}

#[async_trait]
impl Journal for PausesAfterKeep {
    fn id(&self) -> JournalId {
        self.journal.id()
    }

    async fn reserve(&self) -> Result<SlotNo, JournalError> {
        self.journal.reserve().await
    }

    async fn keep(&self, slot: SlotNo, entry: JournalEntry) -> Result<(), JournalError> {
        self.journal.keep(slot, entry).await?;
        tell(&self.file)?;
        std::future::pending().await
    }

    async fn give_back(&self, slot: SlotNo) {
        self.journal.give_back(slot).await;
    }

    async fn entries(&self, of: Option<&str>) -> Result<Vec<JournalEntry>, JournalError> {
        self.journal.entries(of).await
    }

    async fn committed(&self, of: &str, version: u64, now: Timestamp) -> Result<(), JournalError> {
        self.journal.committed(of, version, now).await
    }
}

fn tell(file: &Path) -> Result<(), JournalError> {
    std::fs::write(file, "kept\n").map_err(|error| JournalError(error.to_string()))
}
