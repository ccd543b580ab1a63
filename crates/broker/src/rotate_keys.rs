//! Another data key, another root key. What is there is sealed anew while everything goes on; a key
//! is destroyed only when nothing can need it any more.

use std::sync::Arc;
use std::time::Duration;

use crate::Broker;
use crate::committed::open_tokens;
use crate::error::Error;
use crate::model::{ClientRow, Event, EventKind, GrantRow};
use crate::ports::RootKey;
use crate::vault::{DataKeyRow, Field, KeyId, next_row, rewrapped};

/// Token sets that are sealed anew in one go.
const BATCH: usize = 256;

/// Others notice a new key within a second; until then they seal with the old one.
const NOTICED: Duration = Duration::from_secs(2);

/// Passes over the token sets: those that were refreshed meanwhile by who hadn't noticed.
const PASSES_MAX: u32 = 4;

/// A superseded key stays for so long: an answer may wait in a journal, a machine may sleep.
pub const SUPERSEDED_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a rotation of the data keys did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct KeysReport {
    /// Number of the data key that seals from now on.
    pub data_key: u32,
    /// Token sets and client secrets that were sealed anew.
    pub resealed: u64,
    /// Older data keys that were destroyed.
    pub destroyed: Vec<u32>,
    /// Older data keys that stay, and why.
    pub kept: Vec<(u32, String)>,
}

impl Broker {
    /// Makes a new data key, seals all token sets and client secrets with it, and destroys older
    /// keys that nothing needs any more. Tells `progress` how many are done. What others do
    /// meanwhile goes on; a run that was cut off is finished by the next.
    ///
    /// # Errors
    /// The store's, the root key's, the journal's.
    pub async fn rotate_data_keys(
        self: &Arc<Self>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<KeysReport, Error> {
        let store = &self.ports.store;
        let rows = store.data_keys().await?;
        let row = next_row(&rows, &*self.ports.root_key, &*self.ports.random, self.now()).await?;
        let mut report = KeysReport { data_key: row.id.0, ..KeysReport::default() };
        if !store.add_data_key(row).await? {
            return Err(Error::Conflict {
                code: "rotation_runs",
                detail: "another process is adding a data key just now".into(),
                hint: "wait for it; then try again".into(),
            });
        }
        self.vault.reload().await?;
        self.tell_of_keys(EventKind::DataKeyAdded).await?;
        tokio::time::sleep(NOTICED).await;
        for client in store.clients().await? {
            report.resealed += self.reseal_client(client).await?;
        }
        for _ in 0..PASSES_MAX {
            let done = self.reseal_tokens(report.resealed, progress).await?;
            report.resealed += done;
            if done == 0 {
                break;
            }
        }
        self.destroy_superseded(&mut report).await?;
        Ok(report)
    }

    fn now(&self) -> indicia_oauth::Timestamp {
        self.ports.clock.now()
    }

    /// An event that others notice; it changes no client.
    async fn tell_of_keys(&self, kind: EventKind) -> Result<(), Error> {
        let rows = self.ports.store.data_keys().await?;
        self.ports.store.rewrap_data_keys(rows, vec![self.keys_event(kind)]).await?;
        Ok(())
    }

    fn keys_event(&self, kind: EventKind) -> Event {
        let at = self.now();
        Event { kind, at, connection: None, client: None, grant: None, facts: Default::default() }
    }

    async fn reseal_client(&self, mut client: ClientRow) -> Result<u64, Error> {
        loop {
            let mut done = 0;
            for secret in &mut client.secrets {
                let Some(sealed) = secret.sealed.as_ref() else { continue };
                if sealed.key < self.vault.newest() {
                    let field = Field::ClientSecret { client: client.id.as_str(), n: secret.n };
                    let plain = self.vault.unseal(field, sealed)?;
                    secret.sealed = Some(self.vault.seal(field, &plain));
                    done += 1;
                }
            }
            if done == 0 {
                return Ok(0);
            }
            let id = client.id.clone();
            client.revision += 1;
            if self.ports.store.update_client(client, Vec::new()).await? {
                self.cache.client_changed();
                return Ok(done);
            }
            // It changed meanwhile.
            match self.ports.store.client(&id).await? {
                Some(row) => client = row,
                None => return Ok(0),
            }
        }
    }

    async fn reseal_tokens(
        &self,
        before: u64,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<u64, Error> {
        let (store, newest) = (&self.ports.store, self.vault.newest());
        let (mut after, mut done) = (None, 0);
        loop {
            let rows = store.sealed_before(newest, after.as_ref(), BATCH).await?;
            let Some(last) = rows.last() else { return Ok(done) };
            after = Some(last.id.clone());
            let mut sealed = Vec::with_capacity(rows.len());
            for row in &rows {
                match self.sealed_anew(row) {
                    Ok(anew) => sealed.push((row.id.clone(), row.version, anew)),
                    // It can't be served either; its key stays for who knows better.
                    Err(error) => tracing::warn!(grant = %row.id, %error, "not sealed anew"),
                }
            }
            done += store.reseal(sealed).await?;
            progress(before + done);
        }
    }

    fn sealed_anew(&self, row: &GrantRow) -> Result<crate::vault::Sealed, Error> {
        let tokens = open_tokens(&self.vault, row)?;
        let field = Field::Tokens { grant: row.id.as_str(), version: row.version };
        Ok(self.vault.seal(field, &tokens.to_bytes()))
    }

    /// Destroys the keys before the newest that were superseded long ago, and that neither store
    /// nor journal needs.
    async fn destroy_superseded(&self, report: &mut KeysReport) -> Result<(), Error> {
        let rows = self.ports.store.data_keys().await?;
        for pair in rows.windows(2) {
            let (old, next) = (&pair[0], &pair[1]);
            match self.needed(old.id, next).await? {
                Some(why) => report.kept.push((old.id.0, why)),
                None => report.destroyed.push(old.id.0),
            }
        }
        Ok(())
    }

    /// Why a superseded key has to stay; `None`: it is gone.
    async fn needed(&self, id: KeyId, next: &DataKeyRow) -> Result<Option<String>, Error> {
        if self.now().since(next.created_at) < SUPERSEDED_KEPT {
            let days = SUPERSEDED_KEPT.as_secs() / 86_400;
            return Ok(Some(format!("it was superseded less than {days} days ago")));
        }
        let entries = self.ports.journal.entries(None).await;
        let entries = entries.map_err(|error| Error::Store {
            code: "journal_unreadable",
            detail: format!("the journal can't be read: {error}"),
            hint: "`indicia doctor` looks closer".into(),
        })?;
        if entries.iter().any(|entry| entry.answer.key == id) {
            return Ok(Some("the journal has an answer that is sealed with it".into()));
        }
        let event = self.keys_event(EventKind::DataKeyRemoved);
        match self.ports.store.remove_data_key(id, vec![event]).await? {
            true => Ok(None),
            false => Ok(Some("something in the store is sealed with it".into())),
        }
    }

    /// Wraps the data keys by another root key: from then on the store opens with that one alone.
    /// How many.
    ///
    /// # Errors
    /// Either root key's; the store's. Nothing was changed then.
    pub async fn rotate_root_key(&self, new: &dyn RootKey) -> Result<usize, Error> {
        loop {
            let rows = self.ports.store.data_keys().await?;
            let changed = rewrapped(&rows, &*self.ports.root_key, new).await?;
            let event = self.keys_event(EventKind::RootKeyChanged);
            if self.ports.store.rewrap_data_keys(changed, vec![event]).await? {
                return Ok(rows.len());
            }
        }
    }
}
