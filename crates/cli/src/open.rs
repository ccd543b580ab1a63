//! How the home folder becomes a broker: the one file that knows the library's options.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use indicia::root_key::Missing;
use indicia::{Broker, Catalogue, Indicia, Settings};
use indicia_broker::Error;
use indicia_broker::model::JournalId;
use indicia_broker::ports::{Journal, JournalEntry, JournalError, SlotNo};
use indicia_oauth::Timestamp;

use crate::commands::rotate::next_to;
use crate::failure::Failure;
use crate::logged::Logged;
use crate::options::Options;
use crate::root_key::RootKeySource;

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
    match Broker::open(ports, catalogue, settings).await {
        Err(error) if error.code() == "wrong_root_key" => Err(cut_off(options, error)),
        opened => Ok(opened?),
    }
}

/// Opens a store that lies in another folder than the home, with the home's root key.
pub async fn broker_elsewhere(options: &Options, folder: &Path) -> Result<Arc<Broker>, Failure> {
    let elsewhere = library_options(options, Settings::default())?;
    let elsewhere = indicia::Options { home: folder.to_owned(), ..elsewhere };
    Ok(Indicia::open(elsewhere).await?)
}

/// A change of the root key may have ended between the store and the file.
fn cut_off(options: &Options, error: Error) -> Failure {
    let RootKeySource::File(path) = &options.root_key else { return error.into() };
    let next = next_to(path);
    if !next.exists() {
        return error.into();
    }
    let detail = format!("{error}; a change of it was cut off, and {} waits", next.display());
    let hint = format!("type `mv {} {}`", next.display(), path.display());
    Failure::home("wrong_root_key", detail, hint)
}

/// The shipped services and those of the home, which override them.
pub fn catalogue(options: &Options) -> Result<Catalogue, Failure> {
    Ok(indicia::catalogue(&options.home)?)
}

fn library_options(options: &Options, settings: Settings) -> Result<indicia::Options, Failure> {
    let root_key = match &options.root_key {
        RootKeySource::File(path) => indicia::RootKeySource::File(path.clone()),
        other => indicia::RootKeySource::Given(other.key(Missing::Refuse)?),
    };
    Ok(indicia::Options { root_key, settings, ..indicia::Options::new(options.home.clone()) })
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
