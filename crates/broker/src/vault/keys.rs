//! Data keys: wrapped by the root key, kept in the store, opened once per process.

use std::sync::Arc;

use indicia_oauth::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{Field, Fingerprint, Sealed};
use crate::ports::{Random, RootKey, Store, StoreError};

/// Number of a data key, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub u32);

/// A data key as stored: wrapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataKeyRow {
    /// Number.
    pub id: KeyId,
    /// Wrapped by the root key: data key and fingerprint key.
    pub wrapped: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Why the vault can't be used.
#[derive(Debug, Error)]
pub enum VaultError {
    /// The root key is not the one that wrapped this store's data keys.
    #[error("the root key is not the one that this store was sealed with")]
    WrongRootKey,
    /// A sealed text was changed, moved, or sealed with a key that isn't there.
    #[error("a sealed text can't be opened: it was changed or moved")]
    Damaged,
    /// The root key can't be had.
    #[error("the root key can't be had: {0}")]
    RootKey(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Seals, opens, fingerprints.
pub struct Vault {
    _private: (),
}

impl Vault {
    /// Opens the store's data keys with the root key; in an empty store makes the first one.
    pub async fn open(
        store: &dyn Store,
        root: &dyn RootKey,
        random: Arc<dyn Random>,
        now: Timestamp,
    ) -> Result<Self, VaultError> {
        let _ = (store, root, random, now);
        todo!()
    }

    /// Seals `plain` as `field`.
    pub fn seal(&self, field: Field<'_>, plain: &[u8]) -> Sealed {
        let _ = (field, plain);
        todo!()
    }

    /// Opens what was sealed as `field`.
    pub fn unseal(&self, field: Field<'_>, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let _ = (field, sealed);
        todo!()
    }

    /// The keyed fingerprint of a secret.
    pub fn fingerprint(&self, secret: &str) -> Fingerprint {
        let _ = secret;
        todo!()
    }
}
