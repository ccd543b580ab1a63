//! Committed tokens, ready to hand out: a sharded map. Looked up, never iterated on the way to a
//! token; no lock is held longer than copying an `Arc`.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasherDefault, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use indicia_oauth::Timestamp;

use crate::model::{ClientId, ClientRow, GrantId, TokenFacts};
use crate::view::TokenView;

const SHARDS: usize = 64;

/// Clients held in memory at most.
const CLIENTS_MAX: usize = 10_000;

/// A token ready to hand out, with what decides for how long.
pub(crate) struct Ready {
    pub(crate) view: Arc<TokenView>,
    pub(crate) grant: GrantId,
    pub(crate) facts: TokenFacts,
    pub(crate) next_at: Option<Timestamp>,
    /// A refresh ahead was started from here: once is enough, duties go on from there.
    pub(crate) nudged: AtomicBool,
    /// [`Cache::now`] before it was read.
    pub(crate) read_at: u64,
}

#[expect(clippy::disallowed_types, reason = "looked up, never iterated")]
type Shard =
    RwLock<std::collections::HashMap<String, Arc<Ready>, BuildHasherDefault<DefaultHasher>>>;

/// The cache. Holds at most `entries_max` tokens; a full shard starts anew.
pub(crate) struct Cache {
    shards: Vec<Shard>,
    per_shard_max: usize,
    /// Of grants that changed: what is older isn't served, nor put back.
    known: RwLock<BTreeMap<GrantId, Known>>,
    tick: AtomicU64,
    clients: RwLock<BTreeMap<ClientId, Arc<ClientRow>>>,
}

impl Cache {
    pub(crate) fn new(entries_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            per_shard_max: (entries_max / SHARDS).max(1),
            known: RwLock::default(),
            tick: AtomicU64::new(0),
            clients: RwLock::default(),
        }
    }

    fn shard(&self, id: &str) -> &Shard {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % 64).unwrap_or(0);
        &self.shards[at]
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Ready>> {
        self.shard(id).read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(crate) fn put(&self, id: &str, ready: Arc<Ready>) {
        if self.is_stale(&ready) {
            return;
        }
        let mut shard = self.shard(id).write().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= self.per_shard_max && !shard.contains_key(id) {
            shard.clear();
        }
        shard.insert(id.to_owned(), ready);
    }

    pub(crate) fn evict(&self, id: &str) {
        self.shard(id).write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    pub(crate) fn client(&self, id: &ClientId) -> Option<Arc<ClientRow>> {
        self.clients.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Keeps a client that was looked up at `read_at`, unless one has changed since.
    pub(crate) fn put_client(&self, row: Arc<ClientRow>, read_at: u64) {
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        if self.now() == read_at {
            if clients.len() >= CLIENTS_MAX {
                clients.clear();
            }
            clients.insert(row.id.clone(), row);
        }
    }

    /// A client changed: it is looked up anew, and so is what was made ready with it.
    pub(crate) fn client_changed(&self) {
        self.clear();
    }

    /// Everything is looked up anew.
    pub(crate) fn clear(&self) {
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        self.tick.fetch_add(1, Ordering::Relaxed);
        clients.clear();
        drop(clients);
        for shard in &self.shards {
            shard.write().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// A grant moved on to `version`: what is cached of it before is found stale when it is looked
    /// at, by [`Self::is_stale`].
    pub(crate) fn evict_older(&self, grant: &GrantId, version: u64) {
        self.learn(grant, |known| known.version = known.version.max(version));
    }

    /// A grant was revoked or forgotten: nothing of it is served from here again.
    pub(crate) fn bar(&self, grant: &GrantId) {
        self.learn(grant, |known| known.version = u64::MAX);
    }

    /// Something about a grant changed, its token set not: it is looked up anew.
    pub(crate) fn touch(&self, grant: &GrantId) {
        let now = self.tick.fetch_add(1, Ordering::Relaxed) + 1;
        self.learn(grant, |known| known.changed_at = now);
    }

    fn learn(&self, grant: &GrantId, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= self.per_shard_max * SHARDS {
            // What it barred may be cached no longer either.
            known.clear();
            self.clear();
        }
        change(known.entry(grant.clone()).or_default());
    }

    /// Now, in changes; to be read before what is to be cached.
    pub(crate) fn now(&self) -> u64 {
        self.tick.load(Ordering::Relaxed)
    }

    /// Whether something newer of its grant is known here.
    pub(crate) fn is_stale(&self, ready: &Ready) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&ready.grant).is_some_and(|known| {
            known.version > ready.view.version || known.changed_at > ready.read_at
        })
    }
}

/// What is known of a grant besides what is cached.
#[derive(Default)]
struct Known {
    /// Newest version.
    version: u64,
    /// When it last changed otherwise.
    changed_at: u64,
}
