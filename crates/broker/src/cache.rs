//! Committed tokens, ready to hand out: a sharded map. Looked up, never iterated on the way to a
//! token; no lock is held longer than copying an `Arc`.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasherDefault, Hash as _, Hasher as _};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};

use indicia_oauth::Timestamp;

use crate::model::{GrantId, TokenFacts};
use crate::view::TokenView;

const SHARDS: usize = 64;

/// A token ready to hand out, with what decides for how long.
pub(crate) struct Ready {
    pub(crate) view: Arc<TokenView>,
    pub(crate) grant: GrantId,
    pub(crate) facts: TokenFacts,
    pub(crate) next_at: Option<Timestamp>,
    /// A refresh ahead was started from here: once is enough, duties go on from there.
    pub(crate) nudged: AtomicBool,
}

#[expect(clippy::disallowed_types, reason = "looked up, never iterated")]
type Shard =
    RwLock<std::collections::HashMap<String, Arc<Ready>, BuildHasherDefault<DefaultHasher>>>;

/// The cache. Holds at most `entries_max` tokens; a full shard starts anew.
pub(crate) struct Cache {
    shards: Vec<Shard>,
    per_shard_max: usize,
    /// Newest version known of each grant that was refreshed here: an older one isn't put back.
    newest: RwLock<BTreeMap<GrantId, u64>>,
}

impl Cache {
    pub(crate) fn new(entries_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            per_shard_max: (entries_max / SHARDS).max(1),
            newest: RwLock::default(),
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
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        if newest.get(&ready.grant).is_some_and(|v| *v > ready.view.version) {
            return;
        }
        drop(newest);
        let mut shard = self.shard(id).write().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= self.per_shard_max && !shard.contains_key(id) {
            shard.clear();
        }
        shard.insert(id.to_owned(), ready);
    }

    pub(crate) fn evict(&self, id: &str) {
        self.shard(id).write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Everything is looked up anew.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            shard.write().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// A grant moved on to `version`: what is cached of it before is found stale when it is looked
    /// at, by [`Self::is_stale`].
    pub(crate) fn evict_older(&self, grant: &GrantId, version: u64) {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        if newest.len() >= self.per_shard_max * SHARDS {
            newest.clear();
        }
        let known = newest.entry(grant.clone()).or_default();
        *known = (*known).max(version);
    }

    /// Whether a newer version of its grant is known here.
    pub(crate) fn is_stale(&self, ready: &Ready) -> bool {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        newest.get(&ready.grant).is_some_and(|v| *v > ready.view.version)
    }
}
