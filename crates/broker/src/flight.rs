//! One flight for a grant in this process: whoever comes while it is in the air waits for its end.
//!
//! A flight is a task of its own, so that a caller who goes away doesn't take a spend with him.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use tokio::sync::{oneshot, watch};

use crate::Broker;
use crate::committed::Committed;
use crate::end::{Behind, End, Force};
use crate::error::Error;
use crate::model::GrantId;
use crate::refresh;

/// Not a `watch`: that one wakes its waiters in an order of chance, which no simulation could
/// repeat.
type Ending = Shared<BoxFuture<'static, End>>;

/// Flights in the air.
#[derive(Default)]
pub(crate) struct Flights {
    map: Mutex<BTreeMap<GrantId, Ending>>,
    open: watch::Sender<usize>,
    /// Token sets that the journal has and the store hasn't yet.
    behind: Mutex<BTreeMap<GrantId, Arc<Committed>>>,
}

impl Flights {
    /// Waits until none is in the air.
    pub(crate) async fn drain(&self) {
        let mut open = self.open.subscribe();
        // The sender lives as long as `self`, so this can't fail.
        let _ = open.wait_for(|n| *n == 0).await;
    }

    /// Counts a spend that is no flight (a code exchange) as open while the guard lives.
    pub(crate) fn count(&self) -> Open<'_> {
        self.open.send_modify(|n| *n += 1);
        Open(self)
    }

    /// Whether a refresh of this grant is in the air in this process.
    pub(crate) fn has(&self, grant: &GrantId) -> bool {
        self.lock().contains_key(grant)
    }

    /// What the journal has and the store hasn't yet, if it is newer than `version`.
    pub(crate) fn ahead_of(&self, grant: &GrantId, version: u64) -> Option<Arc<Committed>> {
        let behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        behind.get(grant).filter(|kept| kept.row().version > version).cloned()
    }

    /// Notes whether the store has what is served; true when it has caught up.
    fn note(&self, grant: &GrantId, end: &End) -> bool {
        let End::Committed(committed, behind) = end else { return false };
        let mut map = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        match behind {
            Behind::Yes => {
                map.insert(grant.clone(), Arc::clone(committed));
                false
            }
            Behind::No => map.remove(grant).is_some(),
        }
    }

    /// The store has caught up with a grant.
    pub(crate) fn caught_up(&self, grant: &GrantId) {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner).remove(grant);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<GrantId, Ending>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts as an open spend until dropped.
pub(crate) struct Open<'a>(&'a Flights);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.send_modify(|n| *n -= 1);
    }
}

impl Broker {
    /// Refreshes a grant, or joins who does. `seen`: the version that the caller found wanting; a
    /// newer one ends the flight at once.
    pub(crate) async fn fly(self: &Arc<Self>, grant: &GrantId, seen: u64, force: Force) -> End {
        self.join_or_start(grant, seen, force).await
    }

    /// Starts a flight, if none is in the air, and doesn't wait for it.
    pub(crate) fn nudge(self: &Arc<Self>, grant: &GrantId, seen: u64) {
        drop(self.join_or_start(grant, seen, Force::WhenDue));
    }

    fn join_or_start(self: &Arc<Self>, grant: &GrantId, seen: u64, force: Force) -> Ending {
        let mut map = self.flights.lock();
        // mark: one-flight
        if let Some(ending) = map.get(grant).filter(|_| self.guards().single_flight) {
            return ending.clone();
        }
        let (tell, told) = oneshot::channel();
        let ending = told.map(|end| end.unwrap_or_else(|_| stopped())).boxed().shared();
        map.insert(grant.clone(), ending.clone());
        drop(map);
        let broker = Arc::clone(self);
        let grant = grant.clone();
        self.ports.spawn.spawn(Box::pin(async move {
            let landed = Landed { flights: &broker.flights, grant: &grant };
            let open = broker.flights.count();
            let end = refresh::fly(&broker, &grant, seen, force).await;
            if broker.flights.note(&grant, &end) {
                broker.cache.touch(&grant);
            }
            if let End::Committed(committed, _) = &end {
                broker.cache.evict_older(&grant, committed.row().version);
            }
            drop(landed);
            drop(open);
            // Nobody may be waiting any more.
            let _ = tell.send(end);
        }));
        ending
    }
}

/// Takes the flight out of the map however it ends: one that panicked must not bar its grant.
struct Landed<'a> {
    flights: &'a Flights,
    grant: &'a GrantId,
}

impl Drop for Landed<'_> {
    fn drop(&mut self) {
        self.flights.lock().remove(self.grant);
    }
}

fn stopped() -> End {
    End::Failed(Error::Unavailable {
        code: "stopped",
        detail: "this process is stopping".into(),
        retry_after: None,
        hint: "try again".into(),
    })
}
