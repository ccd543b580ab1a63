//! What the vault promises of a store: one first data key whoever opens it, and nothing changed by
//! a root key that isn't its own. How a text is bound to its place is tested beside the code.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use indicia_broker::model::HolderId;
use indicia_broker::ports::{Clock, Random, RootKey, RootKeyError, Store};
use indicia_broker::vault::{Field, KeyId, Sealed, Vault, VaultError};
use indicia_oauth::Timestamp;
use indicia_store::Memory;
use proptest::prelude::*;
use zeroize::Zeroizing;

const CANARY: &str = "canary-8c1f";

const OPENED_AT: Timestamp = Timestamp::from_millis(1_000);

const TOKENS: Field<'static> = Field::Tokens { grant: "g", version: 1 };

struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        OPENED_AT
    }

    fn boot_millis(&self) -> u64 {
        0
    }
}

/// Bytes that differ from call to call and from seed to seed.
struct Counting(AtomicU64);

impl Counting {
    fn seed(seed: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(seed << 32)))
    }
}

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            let next = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            part.copy_from_slice(&next[8 - part.len()..]);
        }
    }
}

/// A root key that takes its time, as one behind a network does. A wrapped key is its name, the
/// context, then the plain text with each bit turned.
#[derive(Clone)]
enum Root {
    Key(&'static [u8]),
    Away,
}

#[async_trait]
impl RootKey for Root {
    async fn wrap(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, RootKeyError> {
        tokio::task::yield_now().await;
        let turned: Vec<u8> = plain.iter().map(|byte| !byte).collect();
        Ok([self.name()?, context, &turned].concat())
    }

    async fn unwrap(
        &self,
        context: &[u8],
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RootKeyError> {
        tokio::task::yield_now().await;
        let turned = wrapped
            .strip_prefix(self.name()?)
            .and_then(|rest| rest.strip_prefix(context))
            .ok_or(RootKeyError::Wrong)?;
        Ok(Zeroizing::new(turned.iter().map(|byte| !byte).collect()))
    }
}

impl Root {
    fn name(&self) -> Result<&[u8], RootKeyError> {
        match self {
            Self::Key(name) => Ok(name),
            Self::Away => Err(RootKeyError::Unavailable("the file is not there".to_owned())),
        }
    }
}

const ROOT: Root = Root::Key(b"root");

const OTHER_ROOT: Root = Root::Key(b"other");

fn empty_store() -> Arc<dyn Store> {
    Memory::new(Arc::new(StoppedClock)).handle(HolderId::new("host-1").unwrap())
}

async fn open(store: &Arc<dyn Store>, root: &Root, seed: u64) -> Result<Vault, VaultError> {
    let root = Arc::new(root.clone());
    Vault::open(Arc::clone(store), root, Counting::seed(seed), OPENED_AT).await
}

/// `to` opens what `from` sealed, and both know a secret by one fingerprint.
#[track_caller]
fn same_keys(from: &Vault, to: &Vault) {
    let sealed = from.seal(TOKENS, CANARY.as_bytes());
    assert_eq!(*to.unseal(TOKENS, &sealed).unwrap(), CANARY.as_bytes());
    assert_eq!(from.fingerprint(CANARY), to.fingerprint(CANARY));
}

#[tokio::test]
async fn an_empty_store_gets_one_data_key_and_keeps_it() {
    let store = empty_store();
    let first = open(&store, &ROOT, 1).await.unwrap();
    let rows = store.data_keys().await.unwrap();
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [KeyId::FIRST]);
    assert_eq!(rows[0].created_at, OPENED_AT);

    let second = open(&store, &ROOT, 2).await.unwrap();
    assert_eq!(store.data_keys().await.unwrap(), rows);
    same_keys(&first, &second);
    same_keys(&second, &first);
}

#[tokio::test]
async fn two_stores_share_no_key() {
    let one = open(&empty_store(), &ROOT, 1).await.unwrap();
    let two = open(&empty_store(), &ROOT, 2).await.unwrap();
    let sealed = one.seal(TOKENS, CANARY.as_bytes());
    assert!(matches!(two.unseal(TOKENS, &sealed), Err(VaultError::Damaged)));
    assert_ne!(one.fingerprint(CANARY), two.fingerprint(CANARY));
}

#[tokio::test]
async fn two_that_open_an_empty_store_at_once_share_one_data_key() {
    let store = empty_store();
    let (one, two) = tokio::join!(open(&store, &ROOT, 1), open(&store, &ROOT, 2));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(store.data_keys().await.unwrap().len(), 1);
    same_keys(&one, &two);
    same_keys(&two, &one);
}

/// Opening with `root` fails so, and leaves the store as it was.
async fn check_refused(store: &Arc<dyn Store>, root: &Root, expected: &str) {
    let rows = store.data_keys().await.unwrap();
    let change = store.change_number().await.unwrap();
    let error = open(store, root, 3).await.err().map(|error| format!("{error:?}"));
    assert_eq!(error.as_deref(), Some(expected));
    assert_eq!(store.data_keys().await.unwrap(), rows);
    assert_eq!(store.change_number().await.unwrap(), change);
}

// proves: wrong-key-changes-nothing
#[tokio::test]
async fn a_wrong_root_key_says_so_and_changes_nothing() {
    let store = empty_store();
    let vault = open(&store, &ROOT, 1).await.unwrap();
    check_refused(&store, &OTHER_ROOT, "WrongRootKey").await;
    same_keys(&vault, &open(&store, &ROOT, 2).await.unwrap());
}

#[tokio::test]
async fn a_root_key_that_cant_be_had_says_why_and_changes_nothing() {
    let expected = "RootKey(\"the file is not there\")";
    let store = empty_store();
    check_refused(&store, &Root::Away, expected).await;
    open(&store, &ROOT, 1).await.unwrap();
    check_refused(&store, &Root::Away, expected).await;
}

#[tokio::test]
async fn what_is_stored_shows_nothing_of_the_secret() {
    let store = empty_store();
    let vault = open(&store, &ROOT, 1).await.unwrap();
    let sealed = vault.seal(TOKENS, CANARY.as_bytes());
    let shown = [
        serde_json::to_string(&sealed).unwrap(),
        format!("{sealed:?}"),
        format!("{:?}", vault.fingerprint(CANARY)),
        vault.fingerprint(CANARY).to_hex(),
        String::from_utf8_lossy(&sealed.bytes).into_owned(),
    ]
    .concat();
    for form in [CANARY.to_owned(), hex::encode(CANARY), format!("{:?}", CANARY.as_bytes())] {
        assert!(!shown.contains(&form), "{form}");
    }
}

/// Opens a vault of its own where a property needs one.
fn some_vault() -> Vault {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { open(&empty_store(), &ROOT, 1).await.unwrap() })
}

proptest! {
    #[test]
    fn whatever_is_sealed_opens_as_what_it_was(
        record in ".{0,40}",
        n: u32,
        version: u64,
        plain in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let vault = some_vault();
        for field in [
            Field::Tokens { grant: &record, version },
            Field::ClientSecret { client: &record, n },
            Field::Flow { state_hash: &record },
            Field::Answer { of: &record, version },
            Field::Revocation { id: &record, item: n },
        ] {
            let opened = vault.unseal(field, &vault.seal(field, &plain)).unwrap();
            prop_assert_eq!(&*opened, &plain);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        key in prop_oneof![Just(1_u32), any::<u32>()],
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let result = some_vault().unseal(TOKENS, &Sealed { key: KeyId(key), bytes });
        prop_assert!(matches!(result, Err(VaultError::Damaged)));
    }
}
