//! A full disk and a read-only one, real ones: each test runs again in a child process that has a
//! mount namespace of its own, and a small file system in memory mounted there. Where a system lets
//! nobody do that, the test says so; that a full store loses nothing is then still shown by the
//! writer's own test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use indicia_broker::ports::{Store, StoreErrorKind};
use indicia_store::conformance::rows::{
    client, connect, connection, connection_id, data_key, grant, grant_id,
};

use super::support::{assert_fails, open, raw, try_open, wait};

/// The disk, in the child. In the parent: runs the child, and then `None`.
#[expect(clippy::disallowed_methods, reason = "how a test tells its own child what to do")]
fn small_disk(test: &str) -> Option<PathBuf> {
    if let Some(disk) = std::env::var_os(DISK) {
        return Some(disk.into());
    }
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=4m none \"$1\" || exit 77
        exec \"$2\" --exact \"$3\" --nocapture";
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(DISK, folder.path())
        .output();
    let Ok(child) = child else {
        println!("not shown here: there is no unshare(1)");
        return None;
    };
    let said = String::from_utf8_lossy(&child.stdout);
    let complained = String::from_utf8_lossy(&child.stderr);
    match child.status.code() {
        Some(0) => assert!(said.contains("1 passed"), "{said}"),
        // 77: no mount; 1 before anything was said: no namespaces.
        Some(77) => println!("not shown here: {complained}"),
        Some(1) if said.is_empty() => println!("not shown here: {complained}"),
        _ => panic!("{said}{complained}"),
    }
    None
}

fn remount(disk: &Path, option: &str) {
    let done = Command::new("mount").args(["-o", &format!("remount,{option}")]).arg(disk).status();
    assert!(done.unwrap().success());
}

/// Takes all room but this.
fn fill(disk: &Path, but_bytes: usize) {
    fs::write(disk.join("ballast"), vec![1; but_bytes]).unwrap();
    let rest = vec![1; 4096];
    let mut filler = fs::File::create(disk.join("filler")).unwrap();
    while std::io::Write::write_all(&mut filler, &rest).is_ok() {}
    fs::remove_file(disk.join("ballast")).unwrap();
}

#[test]
fn a_full_disk_loses_nothing() {
    let Some(disk) = small_disk("room::a_full_disk_loses_nothing") else { return };
    let home = disk.join("home");
    let store = open(&home);
    let (mut stored, mut refused) = (vec![], vec![]);
    wait(async {
        connect(&*store, &["first"]).await;
        fill(&disk, 1500 * 1024);
        for n in 0..60 {
            let tasks = (0..8).map(|i| {
                let (store, name) = (store.clone(), format!("x{n}-{i}"));
                tokio::spawn(async move {
                    let row = connection(&name, "c", &name);
                    let done = store.connect(row, grant(&name, "c"), None, vec![]).await;
                    (name, done.map(drop))
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                match task.await.unwrap() {
                    (name, Ok(())) => stored.push(name),
                    (name, error) => {
                        assert_fails(error, StoreErrorKind::Full, &["no space", "make room"]);
                        refused.push(name);
                    }
                }
            }
        }
        assert!(stored.len() > 8 && refused.len() > 100, "{} {}", stored.len(), refused.len());
        // Reading goes on, also in a new process; what was refused isn't there.
        for store in [store.clone(), try_open(&home, false).unwrap()] {
            for (names, expected) in [(&stored, true), (&refused, false)] {
                for name in names {
                    let found = store.connection(&connection_id(name)).await.unwrap();
                    assert_eq!(found.is_some(), expected, "{name}");
                    let found = store.grant(&grant_id(name)).await.unwrap();
                    assert_eq!(found.is_some(), expected, "{name}");
                }
            }
        }
        // There is room again: the same store goes on.
        fs::remove_file(disk.join("filler")).unwrap();
        assert!(store.add_data_key(data_key(1)).await.unwrap());
    });
    let whole: String =
        raw(&home).query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
}

#[test]
fn a_store_is_made_whole_or_not_at_all() {
    let Some(disk) = small_disk("room::a_store_is_made_whole_or_not_at_all") else { return };
    let home = disk.join("home");
    fs::DirBuilder::new().create(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    fill(&disk, 40 * 1024);
    assert_fails(try_open(&home, true), StoreErrorKind::Full, &["no space", "indicia.db"]);
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0, "nothing is left of it");
    assert!(!try_open(&home, false).unwrap().is_there());
    fs::remove_file(disk.join("filler")).unwrap();
    assert!(open(&home).is_there());
}

#[test]
fn a_read_only_home_is_read() {
    let Some(disk) = small_disk("room::a_read_only_home_is_read") else { return };
    let home = disk.join("home");
    wait(async { connect(&*open(&home), &["x"]).await });
    let check = |what: &str| {
        remount(&disk, "ro");
        for create in [false, true] {
            let store = try_open(&home, create).unwrap();
            wait(async {
                let found = store.connection(&connection_id("x")).await.unwrap();
                assert!(found.is_some(), "{what}");
                let words = ["can't be written", "read-only", "indicia.db"];
                let refused = store.add_client(client("d"), vec![]).await;
                assert_fails(refused, StoreErrorKind::ReadOnly, &words);
                let lease = std::time::Duration::from_secs(1);
                // Said of whichever is met first, the database or the folder of locks.
                let refused = store.claim(&grant_id("x"), lease).await;
                assert_fails(refused, StoreErrorKind::ReadOnly, &["ead-only"]);
            });
        }
        let missing = try_open(&disk.join("none"), true);
        assert_fails(missing, StoreErrorKind::ReadOnly, &["can't make", "none"]);
        assert!(!try_open(&disk.join("none"), false).unwrap().is_there());
        remount(&disk, "rw");
    };
    check("with its log");
    raw(&home).query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    check("with an empty log");
    for companion in ["indicia.db-wal", "indicia.db-shm"] {
        drop(fs::remove_file(home.join(companion)));
    }
    check("alone");
}

const DISK: &str = "INDICIA_STORE_TEST_DISK";
