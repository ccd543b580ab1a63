//! Copies of a store that is in use.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicia_broker::model::EventKind;
use indicia_broker::ports::{ConnectionFilter, Store, StoreErrorKind};
use indicia_store::backup;
use indicia_store::conformance::ManualClock;
use indicia_store::conformance::rows::{client, connect, connection_id, data_key};

use rusqlite::Connection;

use super::support::{open, place, raw, wait};

const SHORT: Duration = Duration::from_millis(50);

fn ids(store: &dyn Store) -> Vec<String> {
    let all = ConnectionFilter::default();
    let rows = wait(store.connections(&all, None, 99)).unwrap();
    rows.into_iter().map(|(row, _)| row.id.to_string()).collect()
}

/// A home with connections, and a copy of it as it was then.
fn copied(home: &Path, names: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let store = open(home);
    wait(async {
        store.add_data_key(data_key(1)).await.unwrap();
        connect(&*store, names).await;
    });
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let copy = folder.path().join("indicia.db");
    backup::copy(home, &copy, SHORT).unwrap();
    (folder, copy)
}

#[test]
fn a_copy_is_of_one_moment_while_others_write() {
    let (_folder, home) = place();
    let store = open(&home);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut n = 0_u32;
            // Ends by itself should the other side fail.
            while !done.load(Ordering::Relaxed) && n < 50_000 {
                n += 1;
                // A client and its event in one transaction.
                let event = indicia_store::conformance::rows::event(EventKind::ClientAdded, "x");
                wait(store.add_client(client(&format!("c{n}")), vec![event])).unwrap();
            }
            n
        });
        let folder = tempfile::tempdir().unwrap();
        for n in 0..8 {
            let copy = folder.path().join(n.to_string());
            backup::copy(&home, &copy, Duration::from_secs(5)).unwrap();
            let conn = Connection::open(&copy).unwrap();
            let count =
                |query: &str| conn.query_row(query, [], |row| row.get::<_, u64>(0)).unwrap();
            assert_eq!(count("SELECT count(*) FROM clients"), count("SELECT count(*) FROM events"));
            let mode = fs::metadata(&copy).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600);
        }
        done.store(true, Ordering::Relaxed);
        assert!(writing.join().unwrap() > 0);
    });
}

// proves: put-back-in-one-step
// proves: put-back-is-held
#[test]
fn who_reads_meanwhile_sees_the_one_or_the_other_and_is_held_after_it() {
    let (_folder, home) = place();
    let (_kept, copy) = copied(&home, &["a"]);
    let reader = open(&home);
    wait(async {
        connect(&*open(&home), &["b", "c"]).await;
        open(&home).add_data_key(data_key(2)).await.unwrap();
    });
    assert_eq!(ids(&*reader), ["a", "b", "c"]);
    let before = wait(reader.change_number()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let seen = scope.spawn(|| {
            let mut seen = Vec::new();
            while !done.load(Ordering::Relaxed) && seen.len() < 100_000 {
                seen.push(ids(&*reader));
            }
            seen
        });
        let put =
            backup::put_back(&copy, &home, &*ManualClock::new(), Duration::from_secs(5)).unwrap();
        assert_eq!((put.connections, put.replaced), (1, true));
        done.store(true, Ordering::Relaxed);
        let seen = seen.join().unwrap();
        assert!(seen.iter().all(|ids| *ids == ["a", "b", "c"] || *ids == ["a"]), "{seen:?}");
    });
    assert_eq!(ids(&*reader), ["a"]);
    assert_eq!(ids(&*open(&home)), ["a"]);
    wait(async {
        assert!(reader.change_number().await.unwrap() > before, "it is noticed");
        let identity = reader.identity().await.unwrap();
        assert_ne!(identity.place_then, identity.place_now, "nothing is sent");
        let keys = reader.data_keys().await.unwrap();
        assert_eq!(keys.len(), 2, "the journal may need the younger one");
        let events = reader.events(0, 99).await.unwrap();
        assert_eq!(events.last().unwrap().event.kind, EventKind::Restored);
        open(&home).take_over(vec![]).await.unwrap();
        let identity = reader.identity().await.unwrap();
        assert_eq!(identity.place_then, identity.place_now);
        assert!(identity.taken_over_at.is_some());
        // It goes on as any store does.
        connect(&*reader, &["d"]).await;
        assert!(reader.connection(&connection_id("d")).await.unwrap().is_some());
    });
}

#[test]
fn what_cant_be_put_back_leaves_all_as_it_was() {
    let (_folder, home) = place();
    let (_kept, copy) = copied(&home, &["a"]);
    wait(async { connect(&*open(&home), &["b"]).await });
    let put =
        |from: &Path| backup::put_back(from, &home, &*ManualClock::new(), SHORT).unwrap_err().kind;

    let writing = raw(&home);
    writing.execute_batch("BEGIN IMMEDIATE; DELETE FROM labels;").unwrap();
    assert_eq!(put(&copy), StoreErrorKind::Locked);
    drop(writing);
    let newer = copy.with_file_name("newer");
    fs::copy(&copy, &newer).unwrap();
    Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert_eq!(put(&newer), StoreErrorKind::Newer);
    let other = copy.with_file_name("other");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
    assert_eq!(put(&other), StoreErrorKind::Unreadable);
    let damaged = copy.with_file_name("damaged");
    let mut bytes = fs::read(&copy).unwrap();
    // Whole pages.
    bytes[16_384..65_536].fill(0x5a);
    fs::write(&damaged, bytes).unwrap();
    assert_eq!(put(&damaged), StoreErrorKind::Unreadable);
    assert_eq!(put(&copy.with_file_name("none")), StoreErrorKind::Unreadable);
    assert_eq!(ids(&*open(&home)), ["a", "b"]);
    assert_eq!(backup::put_back(&copy, &home, &*ManualClock::new(), SHORT).unwrap().connections, 1);
}

#[test]
fn an_empty_home_is_made_and_another_stores_keys_stay_away() {
    let (_folder, home) = place();
    let (_kept, copy) = copied(&home, &["a"]);
    let (_other_folder, other) = place();
    assert!(!backup::is_in_use(&other, SHORT).unwrap());
    let put = backup::put_back(&copy, &other, &*ManualClock::new(), SHORT).unwrap();
    assert_eq!((put.connections, put.replaced), (1, false));
    assert!(backup::is_in_use(&other, SHORT).unwrap());
    let (_third_folder, third) = place();
    wait(async { open(&third).add_data_key(data_key(7)).await.unwrap() });
    backup::put_back(&copy, &third, &*ManualClock::new(), SHORT).unwrap();
    let keys = wait(open(&third).data_keys()).unwrap();
    assert_eq!(keys.iter().map(|key| key.id.0).collect::<Vec<_>>(), [1]);
}
