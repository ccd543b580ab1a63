//! Kept answers whose commit never came: read again, by the dialect as it is now, and stored.

use std::sync::Arc;

use crate::Broker;
use crate::commit_code::CodeKept;
use crate::error::Error;
use crate::model::{GrantId, Life};
use crate::outcome::Outcome;
use crate::ports::{ConnectionFilter, JournalEntry};
use crate::prepare;

/// Pauses between tries to store what is only in the journal yet.
const LATER: [std::time::Duration; 6] = [
    std::time::Duration::from_millis(250),
    std::time::Duration::from_secs(1),
    std::time::Duration::from_secs(5),
    std::time::Duration::from_secs(15),
    std::time::Duration::from_secs(60),
    std::time::Duration::from_secs(300),
];

/// What `recover` did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RecoverReport {
    /// Connections whose kept answer was stored.
    pub recovered: Vec<String>,
    /// Connections (or attempts) whose kept answer can't be read, and why.
    pub unreadable: Vec<(String, String)>,
    /// Connections with an open spend and no kept answer.
    pub open: Vec<String>,
}

impl Broker {
    /// Reads all kept answers again, and stores those that are better than what is stored.
    ///
    /// # Errors
    /// The store's and the journal's.
    pub async fn recover(self: &Arc<Self>) -> Result<RecoverReport, Error> {
        let entries = self.ports.journal.entries(None).await.map_err(|e| Error::Store {
            code: "journal_unreadable",
            detail: format!("the journal can't be read: {e}"),
            hint: "`indicia doctor` looks closer".into(),
        })?;
        let mut report = RecoverReport::default();
        for entry in entries {
            let grant = match GrantId::new(&entry.of) {
                Ok(id) => self.ports.store.grant(&id).await?,
                Err(_) => None,
            };
            match grant {
                Some(grant) => {
                    let waits = entry.version >= grant.version && grant.state.life != Life::Revoked;
                    if waits {
                        self.recover_grant(&grant.id, &mut report).await?;
                    }
                }
                None => self.recover_flow(&entry, &mut report).await?,
            }
        }
        for id in self.ports.store.open_intents(1_000).await? {
            report.open.extend(self.names(&id).await?);
        }
        Ok(report)
    }

    async fn names(&self, grant: &GrantId) -> Result<Vec<String>, Error> {
        let filter = ConnectionFilter { grant: Some(grant.clone()), ..ConnectionFilter::default() };
        let rows = self.all_connections(&filter).await?;
        Ok(rows.into_iter().map(|(c, _)| c.id.to_string()).collect())
    }

    async fn recover_grant(
        self: &Arc<Self>,
        grant: &GrantId,
        report: &mut RecoverReport,
    ) -> Result<(), Error> {
        let names = self.names(grant).await?;
        match prepare::recover_kept(self, grant).await? {
            prepare::Kept::Stored => {
                for name in &names {
                    self.cache.evict(name);
                }
                report.recovered.extend(names);
            }
            prepare::Kept::Nothing => {}
            prepare::Kept::Unreadable(why) => {
                report.unreadable.extend(names.into_iter().map(|name| (name, why.clone())));
            }
        }
        Ok(())
    }

    /// An exchange whose answer was kept, and whose connection was never made.
    async fn recover_flow(
        self: &Arc<Self>,
        entry: &JournalEntry,
        report: &mut RecoverReport,
    ) -> Result<(), Error> {
        let Some(flow) = self.ports.store.flow(&entry.of).await? else {
            return Ok(());
        };
        let name = flow.connection.to_string();
        let kept = match CodeKept::from_journal(self, flow, entry) {
            Ok(kept) => kept,
            Err(error) => {
                report.unreadable.push((name, error.to_string()));
                return Ok(());
            }
        };
        let client = self.client_row(&kept.flow().client).await?;
        let bound = self.bind(client, &kept.flow().inputs)?;
        match kept.outcome(&bound.service.dialect) {
            Outcome::Granted(tokens) => {
                let n = bound
                    .client
                    .secrets
                    .iter()
                    .find(|s| s.state == crate::model::SecretState::Current);
                let n = n.map_or(0, |s| s.n);
                let view = self.adopt_code(kept, bound, *tokens, n).await?;
                report.recovered.push(view.id);
            }
            other => report.unreadable.push((name, other.name().to_owned())),
        }
        Ok(())
    }

    /// The store is behind: goes on trying until it has the answer, or this process ends (the next
    /// one finds the open intent, and the answer in the journal).
    pub(crate) fn store_later(self: &Arc<Self>, grant: &GrantId) {
        let broker = Arc::clone(self);
        let grant = grant.clone();
        self.ports.spawn.spawn(Box::pin(async move {
            for pause in LATER {
                tokio::time::sleep(pause).await;
                if matches!(prepare::recover_kept(&broker, &grant).await, Ok(prepare::Kept::Stored))
                {
                    return;
                }
            }
        }));
    }
}
