//! Data keys: wrapped by the root key, kept in the store, opened once per process, and again when
//! another process added one.
//!
//! Each row wraps two keys: the data key, which is that row's alone, and the fingerprint key, which
//! all rows of a store repeat. So any row may be destroyed once nothing is sealed with it, and old
//! fingerprints still find their tokens. Must never change a row in the store, and never add one
//! unless there is none.

use std::sync::{Arc, PoisonError, RwLock};

use futures_util::FutureExt as _;

use indicia_oauth::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::fingerprint::FingerprintKey;
use super::seal::SealingKey;
use super::{Field, Fingerprint, Sealed};
use crate::ports::{Random, RootKey, RootKeyError, Store, StoreError, StoreErrorKind};

/// Number of a data key, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub u32);

impl KeyId {
    /// The number of a store's first data key.
    pub const FIRST: Self = Self(1);
}

/// A data key as stored: wrapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataKeyRow {
    /// Number.
    pub id: KeyId,
    /// Wrapped by the root key: data key and fingerprint key, 32 bytes each.
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

impl From<RootKeyError> for VaultError {
    fn from(error: RootKeyError) -> Self {
        match error {
            RootKeyError::Wrong => Self::WrongRootKey,
            RootKeyError::Unavailable(why) => Self::RootKey(why),
        }
    }
}

/// Seals, opens, fingerprints. Its keys are wiped when it is dropped; it doesn't print.
pub struct Vault {
    keys: RwLock<Arc<Keys>>,
    store: Arc<dyn Store>,
    root: Arc<dyn RootKey>,
    random: Arc<dyn Random>,
}

struct Keys {
    /// What new texts are sealed with.
    newest: SealingKey,
    older: Vec<SealingKey>,
    fingerprint: FingerprintKey,
}

impl Vault {
    /// Opens the store's data keys with the root key; in an empty store makes the first one, dated
    /// `now`. A wrong root key changes nothing.
    ///
    /// Several processes may do so at once: one first key is stored, and all open that one. What is
    /// stored is read back before it is used, so nothing is ever sealed with a key that the root
    /// key can't give back.
    pub async fn open(
        store: Arc<dyn Store>,
        root: Arc<dyn RootKey>,
        random: Arc<dyn Random>,
        now: Timestamp,
    ) -> Result<Self, VaultError> {
        let mut rows = store.data_keys().await?;
        if rows.is_empty() {
            // Whether ours was added or somebody was faster shows in what is stored then.
            store.add_data_key(first_row(&*root, &*random, now).await?).await?;
            rows = store.data_keys().await?;
        }
        let keys = RwLock::new(Arc::new(Keys::from_rows(&rows, &*root).await?));
        Ok(Self { keys, store, root, random })
    }

    /// Opens the data keys that others added since.
    pub async fn reload(&self) -> Result<(), VaultError> {
        let rows = self.store.data_keys().await?;
        self.set(Keys::from_rows(&rows, &*self.root).await?);
        Ok(())
    }

    /// Opens the data keys that others added since, if one of this number isn't known yet.
    pub(crate) async fn know(&self, id: KeyId) {
        if self.keys().of(id).is_none()
            && let Err(error) = self.reload().await
        {
            tracing::warn!(%error, "a data key that another process added can't be opened");
        }
    }

    /// Seals `plain` as `field`, with the newest data key.
    pub fn seal(&self, field: Field<'_>, plain: &[u8]) -> Sealed {
        self.keys().newest.seal(&*self.random, field, plain)
    }

    /// Opens what was sealed as `field`; [`VaultError::Damaged`] when it was changed, was sealed as
    /// another field, or its data key isn't there.
    pub fn unseal(
        &self,
        field: Field<'_>,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let mut keys = self.keys();
        if keys.of(sealed.key).is_none() {
            // Another process added one a moment ago, before this one noticed. A store that has to
            // be waited for is noticed soon; this caller has to come again.
            if let Some(Ok(())) = self.reload().now_or_never() {
                keys = self.keys();
            }
        }
        keys.of(sealed.key).ok_or(VaultError::Damaged)?.unseal(field, sealed)
    }

    /// The keyed fingerprint of a secret: the same for as long as the store lives, whatever its
    /// data keys.
    pub fn fingerprint(&self, secret: &str) -> Fingerprint {
        self.keys().fingerprint.of(secret)
    }

    /// The number of the data key that seals now.
    pub fn newest(&self) -> KeyId {
        self.keys().newest.id()
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, keys: Keys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }
}

impl Keys {
    async fn from_rows(rows: &[DataKeyRow], root: &dyn RootKey) -> Result<Self, VaultError> {
        let mut older = Vec::with_capacity(rows.len());
        let mut fingerprint = None;
        for row in rows {
            // mark: wrong-key-changes-nothing
            let plain = root.unwrap(&context(row.id), &row.wrapped).await?;
            let (sealing, rest) = plain.split_at_checked(KEY_LEN).ok_or(VaultError::Damaged)?;
            let rest = rest.try_into().map_err(|_| VaultError::Damaged)?;
            older.push(SealingKey::new(row.id, sealing)?);
            fingerprint = Some(FingerprintKey::new(rest));
        }
        older.sort_by_key(SealingKey::id);
        let (Some(newest), Some(fingerprint)) = (older.pop(), fingerprint) else {
            return Err(no_key_kept().into());
        };
        Ok(Self { newest, older, fingerprint })
    }

    fn of(&self, id: KeyId) -> Option<&SealingKey> {
        std::iter::once(&self.newest).chain(&self.older).find(|key| key.id() == id)
    }
}

/// The next data key after these, with their fingerprint key.
pub(crate) async fn next_row(
    rows: &[DataKeyRow],
    root: &dyn RootKey,
    random: &dyn Random,
    now: Timestamp,
) -> Result<DataKeyRow, VaultError> {
    let newest = rows.iter().max_by_key(|row| row.id).ok_or_else(no_key_kept)?;
    let before = root.unwrap(&context(newest.id), &newest.wrapped).await?;
    let fingerprint = before.get(KEY_LEN..2 * KEY_LEN).ok_or(VaultError::Damaged)?;
    let mut plain = Zeroizing::new([0; 2 * KEY_LEN]);
    random.fill(&mut plain[..KEY_LEN]);
    plain[KEY_LEN..].copy_from_slice(fingerprint);
    let id = KeyId(newest.id.0 + 1);
    let wrapped = root.wrap(&context(id), &*plain).await?;
    Ok(DataKeyRow { id, wrapped, created_at: now })
}

/// The same data keys under another root key, which is seen to open them.
pub(crate) async fn rewrapped(
    rows: &[DataKeyRow],
    old: &dyn RootKey,
    new: &dyn RootKey,
) -> Result<Vec<DataKeyRow>, VaultError> {
    let mut changed = Vec::with_capacity(rows.len());
    for row in rows {
        let plain = old.unwrap(&context(row.id), &row.wrapped).await?;
        let wrapped = new.wrap(&context(row.id), &plain).await?;
        if *new.unwrap(&context(row.id), &wrapped).await? != *plain {
            return Err(VaultError::Damaged);
        }
        changed.push(DataKeyRow { wrapped, ..row.clone() });
    }
    Ok(changed)
}

/// A first data key and the store's fingerprint key, both of them new.
async fn first_row(
    root: &dyn RootKey,
    random: &dyn Random,
    now: Timestamp,
) -> Result<DataKeyRow, VaultError> {
    let mut plain = Zeroizing::new([0; 2 * KEY_LEN]);
    random.fill(&mut *plain);
    let wrapped = root.wrap(&context(KeyId::FIRST), &*plain).await?;
    Ok(DataKeyRow { id: KeyId::FIRST, wrapped, created_at: now })
}

/// What the root key binds to a wrapped key, so that no row can stand in for another. It doesn't
/// name the store: a data key moves with its rows when they move to another store.
fn context(id: KeyId) -> Vec<u8> {
    format!("indicia data key {}", id.0).into_bytes()
}

fn no_key_kept() -> StoreError {
    StoreError {
        kind: StoreErrorKind::Unavailable,
        detail: "the store took a first data key and doesn't show it".to_owned(),
        maybe_done: true,
    }
}

/// Length of a data key and of the fingerprint key, bytes.
const KEY_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use async_trait::async_trait;

    use super::*;

    /// A root key of one byte: a wrapped key is that byte, the context, then the plain text.
    struct Root(u8);

    #[async_trait]
    impl RootKey for Root {
        async fn wrap(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, RootKeyError> {
            Ok([&[self.0], context, plain].concat())
        }

        async fn unwrap(
            &self,
            context: &[u8],
            wrapped: &[u8],
        ) -> Result<Zeroizing<Vec<u8>>, RootKeyError> {
            let plain = wrapped
                .strip_prefix(&[self.0])
                .and_then(|rest| rest.strip_prefix(context))
                .ok_or(RootKeyError::Wrong)?;
            Ok(Zeroizing::new(plain.to_vec()))
        }
    }

    struct Constant(u8);

    impl Random for Constant {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    /// Nothing here waits for anything.
    fn now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("it waits"),
        }
    }

    fn first() -> DataKeyRow {
        now(first_row(&Root(1), &Constant(5), Timestamp::from_millis(1_000))).unwrap()
    }

    /// As a rotation makes it: a new data key, the same fingerprint key.
    fn second() -> DataKeyRow {
        let at = Timestamp::from_millis(2_000);
        now(next_row(&[first()], &Root(1), &Constant(6), at)).unwrap()
    }

    struct Opened(Keys);

    impl Opened {
        fn seal(&self, field: Field<'_>, plain: &[u8]) -> Sealed {
            self.0.newest.seal(&Constant(9), field, plain)
        }

        fn unseal(
            &self,
            field: Field<'_>,
            sealed: &Sealed,
        ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
            self.0.of(sealed.key).ok_or(VaultError::Damaged)?.unseal(field, sealed)
        }
    }

    fn vault(rows: &[DataKeyRow], root: &Root) -> Result<Opened, VaultError> {
        now(Keys::from_rows(rows, root)).map(Opened)
    }

    const FIELD: Field<'static> = Field::Tokens { grant: "g", version: 1 };

    #[test]
    fn a_second_data_key_seals_from_then_on_and_the_first_still_opens() {
        let before = vault(&[first()], &Root(1)).unwrap();
        let old = before.seal(FIELD, b"token-a");
        // In whatever order they come.
        let after = vault(&[second(), first()], &Root(1)).unwrap();
        assert_eq!(*after.unseal(FIELD, &old).unwrap(), b"token-a");
        assert_eq!(after.seal(FIELD, b"token-a").key, KeyId(2));
    }

    #[test]
    fn fingerprints_outlive_the_first_data_key() {
        let before = vault(&[first()], &Root(1)).unwrap();
        let after = vault(&[second()], &Root(1)).unwrap();
        assert_eq!(before.0.fingerprint.of("token-a"), after.0.fingerprint.of("token-a"));
    }

    #[test]
    fn a_text_of_a_key_that_is_gone_is_damaged() {
        let old = vault(&[first()], &Root(1)).unwrap().seal(FIELD, b"token-a");
        let after = vault(&[second()], &Root(1)).unwrap();
        assert!(matches!(after.unseal(FIELD, &old), Err(VaultError::Damaged)));
    }

    #[track_caller]
    fn check_refused(rows: &[DataKeyRow], root: &Root, expected: &str) {
        let error = vault(rows, root).err().map(|error| format!("{error:?}"));
        assert!(error.as_ref().is_some_and(|error| error.starts_with(expected)), "{error:?}");
    }

    #[test]
    fn rows_that_are_no_key_of_ours_are_refused() {
        let changed = |change: fn(&mut DataKeyRow)| {
            let mut row = first();
            change(&mut row);
            [row]
        };
        check_refused(&[first()], &Root(2), "WrongRootKey");
        check_refused(&changed(|row| row.id = KeyId(2)), &Root(1), "WrongRootKey");
        check_refused(&changed(|row| row.wrapped.truncate(70)), &Root(1), "Damaged");
        check_refused(&changed(|row| row.wrapped.push(0)), &Root(1), "Damaged");
        check_refused(&changed(|row| row.wrapped.truncate(30)), &Root(1), "Damaged");
        check_refused(&[], &Root(1), "Store");
    }

    #[test]
    fn keys_and_vault_do_not_print() {
        // Ambiguous, so refused by the compiler, as soon as one of them implements `Debug`.
        trait Silent<Which> {
            fn is_silent() {}
        }
        struct Prints;
        impl<T: ?Sized> Silent<()> for T {}
        impl<T: ?Sized + Debug> Silent<Prints> for T {}
        <Vault as Silent<_>>::is_silent();
        <SealingKey as Silent<_>>::is_silent();
        <FingerprintKey as Silent<_>>::is_silent();
    }
}
