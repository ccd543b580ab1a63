//! A store that finds itself copied or restored is held: it serves valid tokens and sends nothing,
//! since the original may refresh the same grants, and two who do that end them.
//!
//! What would surprise: the last guard is the transport itself. The verbs ask before, so that who
//! uses them is told why; what forgets to ask sends nothing all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;
use indicia_oauth::{Request, Timestamp};

use crate::Broker;
use crate::Guards;
use crate::error::Error;
use crate::model::{Event, EventKind, GrantRow};
use crate::ports::{Sent, Store, StoreError, Transport};

/// Whether the store is held; shared with [`HeldTransport`].
#[derive(Clone)]
pub(crate) struct Held {
    held: Arc<AtomicBool>,
    /// It was seen where it belongs: no need to look again.
    seen: Arc<AtomicBool>,
    /// When it was taken over as a copy, in Unix milliseconds; `i64::MIN`: never.
    taken_over: Arc<AtomicI64>,
    /// Off in the mutation proof alone.
    guards: Guards,
}

impl Held {
    /// Looks where the store lies. One that isn't there yet, or can't say, is asked again.
    pub(crate) async fn of(store: &dyn Store, guards: Guards) -> Self {
        let taken_over = Arc::new(AtomicI64::new(i64::MIN));
        let held = Self { held: Arc::default(), seen: Arc::default(), taken_over, guards };
        let _ = held.look(store).await;
        held
    }

    async fn look(&self, store: &dyn Store) -> Result<(), StoreError> {
        let identity = store.identity().await?;
        // mark: a-copy-is-held
        let held = self.guards.held && identity.place_then != identity.place_now;
        self.held.store(held, Ordering::SeqCst);
        self.seen.store(!held, Ordering::SeqCst);
        let taken_over = identity.taken_over_at.map_or(i64::MIN, Timestamp::as_millis);
        self.taken_over.store(taken_over, Ordering::SeqCst);
        Ok(())
    }

    fn is(&self) -> bool {
        self.held.load(Ordering::SeqCst)
    }

    /// A transport that hands nothing over while the store is held.
    pub(crate) fn guarding(&self, inner: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(HeldTransport { inner, held: self.clone() })
    }
}

struct HeldTransport {
    inner: Arc<dyn Transport>,
    held: Held,
}

#[async_trait]
impl Transport for HeldTransport {
    async fn send(&self, request: Request, may_write: &(dyn Fn() -> bool + Sync)) -> Sent {
        match self.held.is() {
            true => Sent::NotSent("this store is held".to_owned()),
            false => self.inner.send(request, may_write).await,
        }
    }
}

impl Broker {
    /// The store was exchanged under this process: looks again where it lies.
    pub(crate) async fn look_where_it_lies(&self) {
        let _ = self.held.look(self.ports.store.as_ref()).await;
    }

    /// When this store was taken over as a copy; what was obtained before may have been replaced at
    /// the original since.
    pub(crate) fn taken_over_at(&self) -> Option<Timestamp> {
        let millis = self.held.taken_over.load(Ordering::SeqCst);
        (millis != i64::MIN).then(|| Timestamp::from_millis(millis))
    }

    /// Whether a grant's token set comes from before this store was taken over as a copy.
    pub(crate) fn is_doubtful(&self, grant: &GrantRow) -> bool {
        self.taken_over_at().is_some_and(|at| grant.facts.obtained_at < at)
    }

    /// Whether this store was copied, restored or moved since it was made or taken over. Looks
    /// again until it is seen in its place: another process may make it or take it over.
    pub async fn is_held(&self) -> bool {
        if !self.held.seen.load(Ordering::SeqCst) {
            let _ = self.held.look(self.ports.store.as_ref()).await;
        }
        self.held.is()
    }

    /// For verbs that would send something.
    pub(crate) async fn may_send(&self) -> Result<(), Error> {
        match self.is_held().await {
            false => Ok(()),
            true => Err(held_error()),
        }
    }

    /// The last question before a spend, under the lease: whoever put a copy in this store's place
    /// a moment ago isn't noticed yet, and what the copy has may have been spent since. One that is
    /// put back after this has no such lease.
    pub(crate) async fn may_spend(&self) -> Result<(), Error> {
        // mark: looked-at-before-a-spend
        self.held.look(self.ports.store.as_ref()).await?;
        match self.held.is() {
            false => Ok(()),
            true => Err(held_error()),
        }
    }

    /// Makes this store the one that refreshes, from now on; false: it was already.
    ///
    /// # Errors
    /// The store's.
    pub async fn take_over(&self) -> Result<bool, Error> {
        if !self.is_held().await {
            return Ok(false);
        }
        let event = Event {
            kind: EventKind::TakenOver,
            at: self.ports.clock.now(),
            connection: None,
            client: None,
            grant: None,
            facts: std::collections::BTreeMap::new(),
        };
        self.ports.store.take_over(vec![event]).await?;
        let _ = self.held.look(self.ports.store.as_ref()).await;
        Ok(true)
    }
}

fn held_error() -> Error {
    Error::Unavailable {
        code: "store_held",
        detail:
            "this home was copied, restored or moved: it serves valid tokens and sends nothing, \
                 since the original may refresh the same grants"
                .into(),
        retry_after: None,
        hint: "once the original isn't used any more: `indicia takeover`".into(),
    }
}
