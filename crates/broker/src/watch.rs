//! What other processes change is noticed by their events, and evicted from the cache here.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use crate::Broker;
use crate::error::Error;
use crate::model::{EventKind, EventRow};

/// Events read in one look; with more news than that, everything is looked up anew.
const EVENTS_MAX: usize = 1_000;

/// How far the changes were looked at.
#[derive(Default)]
pub(crate) struct Watch(Mutex<Option<Seen>>);

#[derive(Clone)]
struct Seen {
    change: u64,
    last: Last,
}

/// The last event that was looked at. Another one of its number: the store is another, such as one
/// that was restored.
#[derive(Clone, PartialEq, Eq)]
struct Last {
    seq: u64,
    hash: String,
}

impl Broker {
    /// Looks whether anybody changed the store, and evicts what changed. To be called every 250 ms
    /// by a process that lives on: so a change is seen within a second. Cheap when nothing changed.
    ///
    /// # Errors
    /// The store's.
    pub async fn notice_changes(&self) -> Result<(), Error> {
        let store = &self.ports.store;
        let change = store.change_number().await?;
        let seen = self.watch.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let last = match seen {
            Some(seen) if seen.change == change => return Ok(()),
            Some(seen) => self.evict_since(&seen.last).await?,
            None => self.begin_anew().await?,
        };
        *self.watch.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Seen { change, last });
        Ok(())
    }

    /// What is known of the store may be of another.
    async fn begin_anew(&self) -> Result<Last, Error> {
        self.cache.clear();
        self.look_where_it_lies().await;
        self.look_for_keys().await;
        let seq = self.ports.store.last_event().await?;
        let last = self.ports.store.events(seq.saturating_sub(1), 1).await?.pop();
        Ok(last.map_or_else(|| Last { seq, hash: String::new() }, Last::of))
    }

    /// A root key that was changed under this process gives it no new data key: what else changed
    /// is noticed all the same.
    async fn look_for_keys(&self) {
        if let Err(error) = self.vault.reload().await {
            tracing::warn!(%error, "another process added a data key, which can't be opened here");
        }
    }

    async fn evict_since(&self, seen: &Last) -> Result<Last, Error> {
        let mut events = self.ports.store.events(seen.seq.saturating_sub(1), EVENTS_MAX).await?;
        let is_the_same = match events.first() {
            Some(first) if seen.seq > 0 => first.hash == seen.hash && first.seq == seen.seq,
            _ => seen.seq == 0,
        };
        // A copy that lacks no event looks the same but for these.
        // mark: exchange-noticed
        let exchanged = |row: &EventRow| {
            row.seq > seen.seq
                && matches!(row.event.kind, EventKind::Restored | EventKind::TakenOver)
        };
        let is_another = !is_the_same || events.iter().any(exchanged);
        if is_another {
            // What the store forgot, the journal may know.
            self.journal_read.store(false, Ordering::Relaxed);
        }
        if events.len() == EVENTS_MAX || is_another {
            return self.begin_anew().await;
        }
        events.retain(|row| row.seq > seen.seq);
        for row in &events {
            let event = &row.event;
            if event.kind == EventKind::DataKeyAdded {
                self.look_for_keys().await;
            }
            if let Some(connection) = &event.connection {
                self.cache.evict(connection.as_str());
            }
            if let Some(grant) = &event.grant {
                let from = event.facts.get("version").and_then(|v| v.parse::<u64>().ok());
                match event.kind {
                    EventKind::Revoked | EventKind::Forgotten => self.cache.bar(grant),
                    // Told with the version that it moved on from.
                    EventKind::Refreshed | EventKind::Recovered | EventKind::Reconnected => {
                        self.cache.evict_older(grant, from.map_or(0, |v| v + 1));
                    }
                    _ => self.cache.touch(grant),
                }
            } else if event.client.is_some() {
                self.cache.clear();
            }
        }
        Ok(events.pop().map_or_else(|| seen.clone(), Last::of))
    }
}

impl Last {
    fn of(row: EventRow) -> Self {
        Self { seq: row.seq, hash: row.hash }
    }
}
