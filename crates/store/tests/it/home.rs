//! The home folder and what may be wrong with it: each has its kind, its words, and leaves all as
//! it was.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use indicia_broker::ports::{ConnectionFilter, Store, StoreErrorKind};
use indicia_store::conformance::rows::{client, connect, connection_id, data_key, grant_id};

use super::support::{assert_fails, open, place, raw, snapshot, try_open, wait};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_missing_home_reads_as_empty_and_is_not_made() {
    let (_folder, home) = place();
    let store = try_open(&home, false).unwrap();
    wait(async {
        let all = ConnectionFilter::default();
        assert_eq!(store.connections(&all, None, 9).await.unwrap(), vec![]);
        assert_eq!(store.connection(&connection_id("x")).await.unwrap(), None);
        assert_eq!(store.data_keys().await.unwrap(), vec![]);
        assert_eq!(store.change_number().await.unwrap(), 0);
        let no_store = ["there is no store", "indicia.db"];
        assert_fails(store.identity().await, StoreErrorKind::Unreadable, &no_store);
        let refused = store.add_client(client("c"), vec![]).await;
        assert_fails(refused, StoreErrorKind::Unreadable, &no_store);
        let lease = std::time::Duration::from_secs(1);
        let refused = store.claim(&grant_id("x"), lease).await;
        assert_fails(refused, StoreErrorKind::Unreadable, &no_store);
        assert!(!store.is_there());
        assert!(!home.exists());

        // Somebody makes it: then it is there for us too.
        connect(&*open(&home), &["x"]).await;
        assert!(store.is_there());
        assert_eq!(store.connections(&all, None, 9).await.unwrap().len(), 1);
        assert!(store.add_client(client("d"), vec![]).await.unwrap());
    });
}

#[test]
fn a_home_is_made_for_its_owner_alone() {
    let (_folder, home) = place();
    let store = open(&home);
    wait(async {
        connect(&*store, &["x"]).await;
        store.claim(&grant_id("x"), std::time::Duration::from_secs(1)).await.unwrap();
    });
    let run = home.join("run");
    for folder in [&home, &run] {
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
    }
    let lock = run.join(store.holder().as_str());
    let shared = home.join("indicia.db-shm");
    let stored = snapshot(&home);
    assert_eq!(stored.len(), 2, "the database and its log");
    for file in stored.keys().chain([&lock, &shared]) {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_home_that_others_may_look_into_is_refused() {
    let (_folder, home) = place();
    drop(open(&home));
    for loose in [0o755, 0o750, 0o701, 0o770] {
        fs::set_permissions(&home, fs::Permissions::from_mode(loose)).unwrap();
        let fix = format!("chmod 700 {}", home.display());
        let mode = format!("{loose:04o}");
        assert_fails(try_open(&home, true), StoreErrorKind::Unreadable, &[&fix, &mode]);
        assert_fails(try_open(&home, false), StoreErrorKind::Unreadable, &[&fix]);
    }
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    open(&home);
    let file = home.join("indicia.db");
    assert_fails(try_open(&file, true), StoreErrorKind::Unreadable, &["not a folder"]);
}

#[test]
fn a_home_of_somebody_else_is_refused() {
    let (_folder, mut home) = place();
    drop(open(&home));
    // The superuser can give a folder away; to anybody else the root folder is somebody else's.
    if chown(&home, Some(12_345), None).is_err() {
        home = "/".into();
    }
    let owner =
        format!("{} belongs to user {}, not", home.display(), home.metadata().unwrap().uid());
    for create in [false, true] {
        assert_fails(try_open(&home, create), StoreErrorKind::Unreadable, &[&owner, "chown -R"]);
    }
}

/// Takes a lease, for which the folder of locks is needed.
fn claim(home: &Path) -> Result<(), indicia_broker::ports::StoreError> {
    let store = open(home);
    let lease = std::time::Duration::from_secs(1);
    wait(async {
        connect(&*store, &["x"]).await;
        store.claim(&grant_id("x"), lease).await.map(drop)
    })
}

#[test]
fn a_holder_sweeps_what_dead_holders_left_and_nothing_else() {
    let (folder, home) = place();
    drop(open(&home));
    let run = home.join("run");
    let theirs = run.join("theirs");
    fs::create_dir_all(&theirs).unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
    let nonce = "0123456789abcdef0123456789abcdef";
    let dead = [format!("0-{nonce}"), format!("0123456789abcdef-{nonce}")];
    let kept = [
        "app.pid".to_owned(),
        nonce.to_owned(),
        format!("-{nonce}"),
        format!("x-{nonce}"),
        format!("0-{nonce}0"),
        format!("0-{}", &nonce[1..]),
        format!("0-{}", nonce.to_uppercase()),
        format!("0123456789abcdef0-{nonce}"),
    ];
    for name in dead.iter().chain(&kept) {
        fs::write(run.join(name), "").unwrap();
    }
    let full = run.join(format!("1-{nonce}"));
    fs::write(&full, "something").unwrap();
    let target = folder.path().join("target");
    fs::write(&target, "").unwrap();
    let link = run.join(format!("2-{nonce}"));
    symlink(&target, &link).unwrap();

    claim(&home).unwrap();
    for name in &dead {
        assert!(!run.join(name).exists(), "{name} is still there");
    }
    for path in kept.iter().map(|name| run.join(name)).chain([theirs, full, target]) {
        assert!(path.exists(), "{} is gone", path.display());
    }
    assert!(link.is_symlink());
    assert_eq!(mode(&run), 0o755, "what was there keeps its rights");
}

#[test]
fn locks_are_kept_in_a_folder_of_our_own_alone() {
    let (folder, home) = place();
    drop(open(&home));
    let run = home.join("run");
    let victim = folder.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o755)).unwrap();
    let lock = victim.join("0-0123456789abcdef0123456789abcdef");
    fs::write(&lock, "").unwrap();
    symlink(&victim, &run).unwrap();
    assert_fails(claim(&home), StoreErrorKind::Unreadable, &["home/run", "a link"]);
    assert!(lock.exists() && mode(&victim) == 0o755, "nothing behind the link was touched");

    fs::remove_file(&run).unwrap();
    fs::create_dir(&run).unwrap();
    // Only the superuser can give a folder away.
    if chown(&run, Some(12_345), None).is_ok() {
        let words = ["run belongs to user 12345"];
        assert_fails(claim(&home), StoreErrorKind::Unreadable, &words);
    }
    fs::remove_dir(&run).unwrap();
    fs::write(&run, "").unwrap();
    assert_fails(claim(&home), StoreErrorKind::Unreadable, &["can't make", "run"]);
}

#[test]
fn reading_leaves_the_disk_as_it_was() {
    let (_folder, home) = place();
    wait(async { connect(&*open(&home), &["x"]).await });
    let before = snapshot(&home);
    for _ in 0..2 {
        let store = try_open(&home, false).unwrap();
        wait(async {
            assert!(store.connection(&connection_id("x")).await.unwrap().is_some());
            assert_eq!(store.clients().await.unwrap().len(), 1);
            store.identity().await.unwrap();
            store.change_number().await.unwrap();
        });
    }
    assert_eq!(snapshot(&home), before);
}

// proves: newer-store-untouched
#[test]
fn a_newer_store_is_refused_and_untouched() {
    let (_folder, home) = place();
    wait(async { connect(&*open(&home), &["x"]).await });
    raw(&home).pragma_update(None, "user_version", 99).unwrap();
    let before = snapshot(&home);
    for create in [false, true] {
        let words = ["newer Indicia", "99", "use that version", "nothing was touched"];
        assert_fails(try_open(&home, create), StoreErrorKind::Newer, &words);
    }
    assert_eq!(snapshot(&home), before);
}

#[test]
fn what_is_no_store_is_refused_and_untouched() {
    let check = |write: &dyn Fn(&Path), words: &[&str]| {
        let (_folder, home) = place();
        drop(open(&home));
        fs::remove_file(home.join("indicia.db-wal")).ok();
        write(&home.join("indicia.db"));
        let before = snapshot(&home);
        for create in [false, true] {
            assert_fails(try_open(&home, create), StoreErrorKind::Unreadable, words);
        }
        assert_eq!(snapshot(&home), before);
    };
    check(&|db| fs::write(db, "hello, this is a text\n".repeat(999)).unwrap(), &["not a store"]);
    check(&|db| fs::write(db, "").unwrap(), &["another program"]);
    check(
        &|db| {
            fs::remove_file(db).unwrap();
            let other = rusqlite::Connection::open(db).unwrap();
            other.execute_batch("CREATE TABLE theirs (x)").unwrap();
        },
        &["another program"],
    );
    check(
        &|db| {
            let whole = fs::read(db).unwrap();
            fs::write(db, &whole[..whole.len() / 2]).unwrap();
        },
        &["damaged"],
    );
}

#[test]
fn a_changed_list_of_migrations_is_refused() {
    let (_folder, home) = place();
    drop(open(&home));
    raw(&home).execute("UPDATE migrations SET checksum = x'00'", []).unwrap();
    assert_fails(try_open(&home, true), StoreErrorKind::Unreadable, &["damaged", "migrations"]);
}

#[test]
fn damage_inside_is_told_and_not_served() {
    let (_folder, home) = place();
    wait(async {
        let names: Vec<String> = (0..300).map(|n| format!("x{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        connect(&*open(&home), &names).await;
    });
    raw(&home).query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let db = home.join("indicia.db");
    let mut bytes = fs::read(&db).unwrap();
    // All but the first three pages of 8 KiB, so that the store still opens.
    bytes[3 * 8192..].fill(0xab);
    fs::write(&db, bytes).unwrap();
    wait(async {
        let store = try_open(&home, false).unwrap();
        let mut damaged = 0;
        for n in 0..300 {
            let read = store.connection(&connection_id(&format!("x{n}"))).await;
            if read.is_err() {
                assert_fails(read, StoreErrorKind::Unreadable, &["damaged", "backup"]);
                damaged += 1;
            }
        }
        assert_eq!(damaged, 300);
    });
}

#[test]
fn a_locked_store_is_told_and_still_read() {
    let (_folder, home) = place();
    let store = open(&home);
    wait(async {
        connect(&*store, &["x"]).await;
        let other = raw(&home);
        other.execute_batch("BEGIN EXCLUSIVE; INSERT INTO data_keys VALUES (7, x'00', 0)").unwrap();
        let refused = store.add_data_key(data_key(1)).await;
        assert_fails(refused, StoreErrorKind::Locked, &["another program holds", "indicia.db"]);
        assert!(store.connection(&connection_id("x")).await.unwrap().is_some(), "reads go on");
        assert!(try_open(&home, false).unwrap().client(&client("c").id).await.unwrap().is_some());
        other.execute_batch("ROLLBACK").unwrap();
        assert!(store.add_data_key(data_key(1)).await.unwrap());
        assert_eq!(store.data_keys().await.unwrap(), [data_key(1)]);
    });
}

#[test]
fn many_make_one_store() {
    let (_folder, home) = place();
    let ids: Vec<_> = std::thread::scope(|scope| {
        let opening: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| wait(async { open(&home).identity().await.unwrap().id })))
            .collect();
        opening.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0] && id.len() == 32), "{ids:?}");
    let left = fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("new")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_copy_is_in_another_place() {
    let (_folder, home) = place();
    let (_other_folder, copy) = place();
    let original = wait(async { open(&home).identity().await.unwrap() });
    assert_eq!(original.place_then, original.place_now);
    fs::DirBuilder::new().create(&copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o700)).unwrap();
    for name in ["indicia.db", "indicia.db-wal"] {
        if home.join(name).exists() {
            fs::copy(home.join(name), copy.join(name)).unwrap();
        }
    }
    let copied = wait(async { open(&copy).identity().await.unwrap() });
    assert_eq!((&copied.id, &copied.place_then), (&original.id, &original.place_then));
    assert_ne!(copied.place_now, copied.place_then);
    let taken = wait(async {
        open(&copy).take_over(vec![]).await.unwrap();
        open(&copy).identity().await.unwrap()
    });
    assert_eq!((&taken.id, &taken.place_then), (&original.id, &copied.place_now));
    let original_now = wait(async { open(&home).identity().await.unwrap() });
    assert_eq!(original_now, original, "the original isn't touched");
}

#[test]
fn a_file_that_was_put_in_the_place_of_ours_is_not_touched() {
    let (_folder, home) = place();
    let (_other_folder, other) = place();
    drop(open(&other));
    let store = open(&home);
    wait(async { connect(&*store, &["x"]).await });
    for name in ["indicia.db", "indicia.db-wal", "indicia.db-shm"] {
        fs::rename(home.join(name), home.join(format!("was-{name}"))).ok();
    }
    fs::rename(other.join("indicia.db"), home.join("indicia.db")).unwrap();
    let before = snapshot(&home);
    let words = ["another file was put in the place of", "indicia.db", "end this process"];
    wait(async {
        let refused = store.add_client(client("d"), vec![]).await;
        assert_fails(refused, StoreErrorKind::Unreadable, &words);
        assert_fails(store.change_number().await, StoreErrorKind::Unreadable, &words);
        assert_fails(store.clients().await, StoreErrorKind::Unreadable, &words);
    });
    assert_eq!(snapshot(&home), before);
    let next = open(&home);
    wait(async {
        assert_eq!(next.clients().await.unwrap(), vec![]);
    });
}
