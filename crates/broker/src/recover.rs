//! Kept answers whose commit never came: read again, by the dialect as it is now, and stored.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use indicia_oauth::Answer;

use crate::Broker;
use crate::commit_code::CodeKept;
use crate::error::Error;
use crate::model::{FlowRow, GrantId, GrantRow, Life};
use crate::outcome::{self, Outcome};
use crate::ports::{ConnectionFilter, JournalEntry};
use crate::prepare;
use crate::revoke::Whose;
use crate::spoken::Spoken;
use crate::vault::{Field, VaultError};

/// Pauses between tries to store what is only in the journal yet.
const LATER: [Duration; 6] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(60),
    Duration::from_secs(300),
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
    /// The journal's; the store's where nothing can be looked at. What is wrong with one entry is
    /// in the report.
    pub async fn recover(self: &Arc<Self>) -> Result<RecoverReport, Error> {
        self.recover_older_than(Duration::ZERO).await
    }

    /// As [`Self::recover`], but leaves alone exchanges that began less than `age` ago: whoever
    /// began them may still be at work.
    pub(crate) async fn recover_older_than(
        self: &Arc<Self>,
        age: Duration,
    ) -> Result<RecoverReport, Error> {
        let entries = self.ports.journal.entries(None).await.map_err(|e| Error::Store {
            code: "journal_unreadable",
            detail: format!("the journal can't be read: {e}"),
            hint: "`indicia doctor` looks closer".into(),
        })?;
        let mut report = RecoverReport::default();
        let mut seen = BTreeSet::new();
        for entry in entries.iter().rev() {
            let what = entry.of.clone();
            let done = match GrantId::new(&entry.of) {
                Ok(id) => match self.ports.store.grant(&id).await? {
                    Some(grant) if !seen.insert(grant.id.clone()) => Ok(()),
                    Some(grant) => self.recover_grant(&grant, entry, &mut report).await,
                    None => match self.ports.store.revoked_item(&id).await? {
                        // What was granted for an earlier version was stored, and taken back.
                        Some(item) if entry.version < item.version => Ok(()),
                        Some(item) => self.revoke_kept(Whose::of_item(item), entry).await,
                        None => self.recover_flow(entry, age, &entries, &mut report).await,
                    },
                },
                Err(_) => Ok(()),
            };
            if let Err(error) = done {
                report.unreadable.push((what, error.to_string()));
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

    /// `entry` is the newest of its grant.
    async fn recover_grant(
        self: &Arc<Self>,
        grant: &GrantRow,
        entry: &JournalEntry,
        report: &mut RecoverReport,
    ) -> Result<(), Error> {
        if entry.version < grant.version {
            return Ok(());
        }
        if grant.state.life == Life::Revoked {
            return self.revoke_kept(Whose::of(grant), entry).await;
        }
        let names = self.names(&grant.id).await?;
        match prepare::recover_kept(self, &grant.id).await? {
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

    /// An answer that was kept for a grant that was revoked meanwhile: its tokens are taken back
    /// too.
    async fn revoke_kept(&self, whose: Whose, entry: &JournalEntry) -> Result<(), Error> {
        let field = Field::Answer { of: &entry.of, version: entry.version };
        let bytes = self.vault.unseal(field, &entry.answer)?;
        let answer = Answer::from_bytes(&bytes).ok_or(VaultError::Damaged)?;
        let now = self.ports.clock.now();
        let Some(client) = self.ports.store.client(&whose.client).await? else {
            // Nobody is left in whose name the call could be made.
            let _ = self.ports.journal.committed(&entry.of, entry.version, now).await;
            return Ok(());
        };
        let bound = self.bind(client, &whose.inputs)?;
        let whose = Whose { version: entry.version + 1, ..whose };
        if let Outcome::Granted(tokens) = outcome::classify(
            &answer,
            &bound.service.dialect,
            entry.sent_at,
            &Spoken::from_texts([]),
        ) {
            self.revoke_late(&whose, &bound, *tokens, now).await?;
        }
        let _ = self.ports.journal.committed(&entry.of, entry.version, now).await;
        Ok(())
    }

    /// An exchange whose answer was kept, and whose connection was never made.
    async fn recover_flow(
        self: &Arc<Self>,
        entry: &JournalEntry,
        age: Duration,
        entries: &[JournalEntry],
        report: &mut RecoverReport,
    ) -> Result<(), Error> {
        let now = self.ports.clock.now();
        // Without one its consent was stored, or a newer one was; or this store was restored, and
        // another may know it.
        let Some(flow) = self.ports.store.flow(&entry.of).await? else { return Ok(()) };
        if now < entry.sent_at.plus(age) {
            return Ok(());
        }
        if self.is_overtaken(&flow, entry, entries).await? {
            self.flow_is_done(&flow, now).await;
            return Ok(());
        }
        let name = flow.connection.to_string();
        let kept = CodeKept::from_journal(self, flow, entry)?;
        let client = self.client_row(&kept.flow().client).await?;
        let bound = self.bind(client, &kept.flow().inputs)?;
        match kept.outcome(&bound.service.dialect) {
            Outcome::Granted(tokens) => {
                let view = self.adopt_code(kept, bound, *tokens, None).await?;
                report.recovered.push(view.id);
            }
            other => report.unreadable.push((name, other.name().to_owned())),
        }
        Ok(())
    }

    /// Whether this store is a copy that was made while the consent was being stored, and something
    /// later of its connection is known: at the original the consent was stored and its refresh
    /// token may be spent, so that what came later is the better one.
    async fn is_overtaken(
        &self,
        flow: &FlowRow,
        entry: &JournalEntry,
        entries: &[JournalEntry],
    ) -> Result<bool, Error> {
        let taken_over = self.taken_over_at().is_some_and(|at| entry.sent_at < at);
        // mark: overtaken-consent-left
        if !taken_over {
            // Held, or not to be read just now: it is looked at again, and nothing is dropped.
            self.may_spend().await?;
            return Ok(false);
        }
        let there = self.ports.store.connection(&flow.connection).await?;
        Ok(there.is_some_and(|(_, grant)| {
            let later = |e: &JournalEntry| e.of == grant.id.as_str() && e.sent_at > entry.sent_at;
            grant.facts.obtained_at > entry.sent_at || entries.iter().any(later)
        }))
    }

    /// The store is behind: goes on trying until it has the answer, or this process ends (the next
    /// one finds the open intent, and the answer in the journal).
    pub(crate) fn store_later(self: &Arc<Self>, grant: &GrantId) {
        let broker = Arc::clone(self);
        let grant = grant.clone();
        self.ports.spawn.spawn(Box::pin(async move {
            for pause in LATER {
                tokio::time::sleep(pause).await;
                let kept = prepare::recover_kept(&broker, &grant).await;
                if matches!(kept, Ok(prepare::Kept::Stored)) {
                    broker.flights.caught_up(&grant);
                    broker.cache.touch(&grant);
                    return;
                }
            }
        }));
    }
}
