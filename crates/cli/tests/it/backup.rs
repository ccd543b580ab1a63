//! `backup` and `restore`: what is in a backup, what comes back, and what became old meanwhile.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::stage::{Home, Ran, Sandbox};

const PASSPHRASE: &str = "correct horse";

struct Stage {
    home: Home,
    sandbox: Sandbox,
    folder: tempfile::TempDir,
}

impl Stage {
    /// A connection whose refresh token is another after each refresh.
    fn new() -> Self {
        let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
        home.add_client(&sandbox, "keap", &[]);
        home.connect(&sandbox, &["keap", "--scope", "full"]);
        Self { home, sandbox, folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("backup")
    }

    fn backup(&self, more: &[&str]) -> Ran {
        let file = self.file();
        let args = ["backup", file.to_str().unwrap(), "--passphrase-stdin"];
        self.home.run_with(&[&args[..], more].concat(), PASSPHRASE)
    }

    fn restore(&self, home: &Home, more: &[&str]) -> Ran {
        restore(home, &self.file(), PASSPHRASE, more)
    }

    fn refreshes(&self) -> Value {
        self.sandbox.record("keap")["counters"]["refresh"].clone()
    }
}

fn restore(home: &Home, file: &Path, passphrase: &str, more: &[&str]) -> Ran {
    let args = ["restore", file.to_str().unwrap(), "--passphrase-stdin"];
    home.run_with(&[&args[..], more].concat(), passphrase)
}

/// Another home with the root key of the first.
fn another(stage: &Stage) -> Home {
    let home = Home::new();
    fs::create_dir_all(home.path()).unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let key = stage.home.path().join("root.key");
    fs::copy(key, home.path().join("root.key")).unwrap();
    home
}

#[test]
fn a_backup_holds_all_but_the_root_key_and_comes_back_held() {
    let stage = Stage::new();
    let told = stage.backup(&[]).ok();
    assert!(told.stderr.contains("root key isn't in it"), "{told:?}");
    assert_eq!(fs::metadata(stage.file()).unwrap().permissions().mode() & 0o777, 0o600);
    stage.backup(&[]).fails(1, "is there already");
    stage.backup(&["--force"]).ok();
    let bytes = fs::read(stage.file()).unwrap();
    let has = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    assert!(bytes.starts_with(b"age-encryption.org/") && !has(b"keap") && !has(b"SQLite"));

    let home = Home::new();
    stage.restore(&home, &[]).fails(6, "root.key is missing");
    let home = another(&stage);
    let told = stage.restore(&home, &["--json"]).ok().json();
    assert_eq!((told["connections"].as_u64(), told["held"].as_bool()), (Some(1), Some(true)));
    let token = |home: &Home| home.run(&["token", "keap"]).ok().line().to_owned();
    assert_eq!(token(&home), token(&stage.home));
    home.run(&["refresh", "keap"]).fails(5, "sends nothing");
    assert_eq!(stage.refreshes(), Value::Null, "{}", stage.refreshes());
    home.run(&["takeover"]).ok();
    home.run(&["refresh", "keap"]).ok();
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".copy")), "{left:?}");
}

#[test]
fn what_was_replaced_since_is_repaired_from_the_journal() {
    let stage = Stage::new();
    stage.backup(&[]).ok();
    for _ in 0..2 {
        stage.home.run(&["refresh", "keap"]).ok();
    }
    stage.restore(&stage.home, &[]).fails(1, "has clients or connections already");
    stage.restore(&stage.home, &["--force"]).ok();
    stage.home.run(&["takeover"]).ok();
    stage.home.run(&["recover"]).ok();
    let shown = stage.home.run(&["connections", "show", "keap", "--json"]).ok().json();
    assert_eq!(shown["version"], 3, "the journal knew better");
    let refreshed = stage.home.run(&["refresh", "keap", "--json"]).ok().json();
    assert_eq!(refreshed["version"], 4);
}

#[test]
fn what_was_replaced_since_and_is_in_no_journal_is_tried_and_explained() {
    let stage = Stage::new();
    stage.backup(&[]).ok();
    stage.home.run(&["refresh", "keap"]).ok();
    let home = another(&stage);
    stage.restore(&home, &[]).ok();
    home.run(&["takeover"]).ok();
    let told = home.run(&["explain", "keap"]).ok();
    assert!(told.stdout.contains("comes from a copy of the store"), "{told:?}");
    home.run(&["refresh", "keap", "--force"]);
    let told = home.run(&["explain", "keap"]).ok();
    assert!(told.stdout.contains("the original had replaced the refresh token"), "{told:?}");
    assert!(told.stdout.contains("indicia connect keap"), "{told:?}");
}

#[test]
fn what_is_no_backup_changes_nothing() {
    let stage = Stage::new();
    stage.backup(&[]).ok();
    let bytes = fs::read(stage.file()).unwrap();
    let other = stage.folder.path().join("other");
    let mut changed = bytes.clone();
    changed[bytes.len() / 2] ^= 1;
    let cut = bytes[..bytes.len() - 20].to_vec();
    let longer = [&bytes[..], b"x"].concat();
    for wrong in [changed, cut, longer, b"nothing".to_vec(), Vec::new()] {
        fs::write(&other, &wrong).unwrap();
        let more = ["--force"];
        restore(&stage.home, &other, PASSPHRASE, &more).fails(1, "is no backup that can be read");
    }
    restore(&stage.home, &stage.file(), "wrong horse", &["--force"]).fails(1, "not the passphrase");
    restore(&stage.home, &stage.file(), "", &["--force"]).fails(2, "empty");
    restore(&stage.home, Path::new("/nowhere"), PASSPHRASE, &["--force"]).fails(1, "can't be read");
    stage.home.run(&["refresh", "keap"]).ok();

    let none = Home::new();
    none.run_with(&["backup", "x", "--passphrase-stdin"], PASSPHRASE)
        .fails(6, "nothing to back up");
    let file = stage.folder.path().join("new");
    let args = ["backup", file.to_str().unwrap(), "--passphrase-stdin"];
    stage.home.run_with(&args, "short").fails(2, "can be guessed");
    stage.home.run(&args[..2]).fails(2, "--passphrase-file");
    assert!(!file.exists());
}

#[test]
fn service_files_come_along_and_replace_none() {
    let stage = Stage::new();
    let file = crate::peers::OIDC_FILE;
    crate::peers::own_file(&stage.home, "own-server", file);
    stage.backup(&[]).ok();
    let home = another(&stage);
    stage.restore(&home, &[]).ok();
    let path = home.path().join("services/own-server.toml");
    assert_eq!(fs::read_to_string(&path).unwrap(), file);
    home.run(&["services", "show", "own-server"]).ok();
    fs::write(&path, file.replace("Own server", "Mine")).unwrap();
    let told = stage.restore(&home, &["--force"]).ok();
    assert!(told.stderr.contains("differs from the one in the backup"), "{told:?}");
    assert!(fs::read_to_string(&path).unwrap().contains("Mine"));
}
