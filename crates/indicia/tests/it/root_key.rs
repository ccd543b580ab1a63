//! Root keys: where they come from, when one is made, and how a wrong one is told.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::sync::Arc;

use indicia::random::SystemChance;
use indicia::root_key::{BytesRootKey, FileRootKey, Missing};
use indicia_broker::ports::{RootKey, RootKeyError};
use rustix::fs::{CWD, FileType, mknodat};

use crate::support::at_once;

fn file(path: &Path, missing: Missing) -> FileRootKey {
    FileRootKey::new(path.to_owned(), missing, Arc::new(SystemChance))
}

fn bytes(given: &[u8]) -> Result<BytesRootKey, RootKeyError> {
    BytesRootKey::parse(given, "INDICIA_ROOT_KEY")
}

/// The error's words.
async fn refused(key: &dyn RootKey, wrapped: &[u8]) -> String {
    key.unwrap(b"key 1", wrapped).await.unwrap_err().to_string()
}

#[tokio::test]
async fn what_is_wrapped_is_unwrapped_in_its_context_alone() {
    let key = bytes(&[7; 32]).unwrap();
    let wrapped = key.wrap(b"key 1", b"a data key").await.unwrap();
    assert_eq!(**key.unwrap(b"key 1", &wrapped).await.unwrap(), *b"a data key");
    assert!(!wrapped.windows(10).any(|window| window == b"a data key"));
    let again = key.wrap(b"key 1", b"a data key").await.unwrap();
    assert_ne!(wrapped, again, "each has a nonce of its own");
    let moved = key.unwrap(b"key 2", &wrapped).await.unwrap_err();
    assert!(matches!(&moved, RootKeyError::Unavailable(why) if why.contains("changed or moved")));
}

#[tokio::test]
async fn a_wrong_key_is_told_from_a_damaged_store() {
    let key = bytes(&[7; 32]).unwrap();
    let wrapped = key.wrap(b"key 1", b"a data key").await.unwrap();
    let other = bytes(&[8; 32]).unwrap();
    assert_eq!(other.unwrap(b"key 1", &wrapped).await.unwrap_err(), RootKeyError::Wrong);
    for at in 0..wrapped.len() {
        let mut flipped = wrapped.clone();
        flipped[at] ^= 1;
        let error = key.unwrap(b"key 1", &flipped).await.unwrap_err();
        let check = (1..9).contains(&at);
        assert_eq!(error == RootKeyError::Wrong, check, "byte {at}: {error}");
        key.unwrap(b"key 1", &wrapped[..at]).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_key_is_read_in_each_spelling() {
    let raw: Vec<u8> = (0..32).map(|n| n * 8 + 3).collect();
    let wrapped = bytes(&raw).unwrap().wrap(b"key 1", b"x").await.unwrap();
    let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    let base64 = "AwsTGyMrMztDS1NbY2tze4OLk5ujq7O7w8vT2+Pr8/s=";
    let spellings = [
        raw.clone(),
        [&raw[..], b"\n"].concat(),
        hex.clone().into_bytes(),
        format!("{}\r\n", hex.to_uppercase()).into_bytes(),
        base64.as_bytes().to_vec(),
        base64.trim_end_matches('=').replace('+', "-").replace('/', "_").into_bytes(),
        format!("{base64}\n").into_bytes(),
    ];
    for spelling in spellings {
        let key = bytes(&spelling).unwrap();
        let shown = String::from_utf8_lossy(&spelling);
        assert_eq!(**key.unwrap(b"key 1", &wrapped).await.unwrap(), *b"x", "{shown}");
    }
}

#[test]
fn what_is_no_key_is_refused_without_showing_it() {
    for given in ["", "secret", &"g".repeat(64), &"a".repeat(63), &"=".repeat(44)] {
        let Err(error) = bytes(given.as_bytes()) else { panic!("{given} is taken") };
        let words = error.to_string();
        assert!(words.starts_with("INDICIA_ROOT_KEY holds "), "{words}");
        assert!(given.is_empty() || !words.contains(given), "{words}");
    }
    // Base64 of 32 bytes has four bits that must be zero.
    assert!(bytes("AwsTGyMrMztDS1NbY2tze4OLk5ujq7O7w8vT2+Pr8/t=".as_bytes()).is_err());
}

#[tokio::test]
async fn a_file_is_made_once_for_an_empty_store() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("new").join("root.key");
    let key = file(&path, Missing::Make);
    assert!(!path.parent().unwrap().exists(), "made before it was needed");
    let wrapped = key.wrap(b"key 1", b"x").await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.len() == 65 && text.ends_with('\n'));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    let next = file(&path, Missing::Refuse);
    assert_eq!(**next.unwrap(b"key 1", &wrapped).await.unwrap(), *b"x");
    next.wrap(b"key 2", b"y").await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn many_that_start_at_once_have_the_same_key() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("root.key");
    let threads = (0..8).map(|_| {
        let key = file(&path, Missing::Make);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(key.wrap(b"key 1", b"x")).unwrap()
        })
    });
    let key = file(&path, Missing::Refuse);
    for thread in threads.collect::<Vec<_>>() {
        key.unwrap(b"key 1", &thread.join().unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn no_file_is_made_for_a_store_that_is_not_empty() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("root.key");
    let wrapped = bytes(&[7; 32]).unwrap().wrap(b"key 1", b"x").await.unwrap();
    for missing in [Missing::Refuse, Missing::Make] {
        let words = refused(&file(&path, missing), &wrapped).await;
        assert!(words.contains("root.key is missing, and the store was sealed with it"), "{words}");
    }
    let words = file(&path, Missing::Refuse).wrap(b"key 2", b"y").await.unwrap_err().to_string();
    assert!(words.contains("is missing"), "{words}");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_that_others_can_use_or_that_holds_no_key_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("root.key");
    let wrapped = file(&path, Missing::Make).wrap(b"key 1", b"x").await.unwrap();
    for mode in [0o644, 0o640, 0o620, 0o601] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let words = refused(&file(&path, Missing::Make), &wrapped).await;
        let fix = format!("(mode {mode:04o}); type: chmod 600 {}", path.display());
        assert!(words.ends_with(&fix), "{words}");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    file(&path, Missing::Make).unwrap(b"key 1", &wrapped).await.unwrap();
    for content in ["", "no key", &"a".repeat(5000)] {
        std::fs::write(&path, content).unwrap();
        let words = refused(&file(&path, Missing::Make), &wrapped).await;
        assert!(words.contains("holds no root key"), "{words}");
    }
}

#[tokio::test]
async fn a_file_of_somebody_else_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let mut path = home.path().join("root.key");
    let wrapped = file(&path, Missing::Make).wrap(b"key 1", b"x").await.unwrap();
    // The superuser can give a file away; to anybody else the list of users is somebody else's.
    if chown(&path, Some(12_345), None).is_err() {
        path = "/etc/passwd".into();
    }
    let words = refused(&file(&path, Missing::Make), &wrapped).await;
    let told = format!("{} belongs to user {}, not to you (", path.display(), owner(&path));
    assert!(words.contains(&told), "{words}");
}

fn owner(path: &Path) -> u32 {
    path.metadata().unwrap().uid()
}

#[tokio::test]
async fn what_is_no_file_is_refused_at_once() {
    let home = tempfile::tempdir().unwrap();
    let wrapped = bytes(&[7; 32]).unwrap().wrap(b"key 1", b"x").await.unwrap();
    let pipe = home.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, 0o600.into(), 0).unwrap();
    let folder = home.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    for path in [pipe, folder] {
        let words = at_once({
            let (path, wrapped) = (path.clone(), wrapped.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(refused(&file(&path, Missing::Make), &wrapped))
            }
        });
        assert!(words.ends_with("is no regular file"), "{}: {words}", path.display());
    }
}
