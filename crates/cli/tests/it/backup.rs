//! `backup` and `restore`: what is in a backup, what comes back, and what became old meanwhile.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::stage::{Home, Ran, Sandbox, wait_for_the_end};

const PASSPHRASE: &str = "correct horse";

struct Stage {
    home: Home,
    sandbox: Sandbox,
    folder: tempfile::TempDir,
}

impl Stage {
    /// A connection whose refresh token is another after each refresh.
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(options: &[&str]) -> Self {
        let (home, sandbox) = (Home::new(), Sandbox::start(options));
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
    home.run(&["token", "keap"]).ok();
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".copy")), "{left:?}");
}

#[test]
fn what_was_replaced_since_is_repaired_from_the_journal() {
    let stage = Stage::with(&["--life", "10s"]);
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
    wait_for_the_end(&shown);
    let refreshed = stage.home.run(&["refresh", "keap", "--json"]).ok().json();
    assert_eq!(refreshed["version"], 4);
}

// proves: a-copy-spends-nothing-early
#[test]
fn what_was_replaced_since_and_is_in_no_journal_is_tried_at_its_end_and_explained() {
    let stage = Stage::with(&["--life", "30s"]);
    stage.backup(&[]).ok();
    stage.home.run(&["refresh", "keap"]).ok();
    let home = another(&stage);
    stage.restore(&home, &[]).ok();
    home.run(&["takeover"]).ok();
    let told = home.run(&["explain", "keap"]).ok();
    assert!(told.stdout.contains("comes from a copy of the store"), "{told:?}");
    let record = stage.sandbox.record("keap");
    home.run(&["refresh", "keap", "--force"]);
    home.run(&["refresh", "--due"]);
    home.run(&["token", "keap", "--min-valid", "0s"]).ok();
    assert_eq!(stage.sandbox.record("keap"), record, "nothing is sent while the token is good");
    let shown = home.run(&["connections", "show", "keap", "--json"]).ok().json();
    wait_for_the_end(&shown);
    home.run(&["token", "keap"]).fails(4, "connected again");
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

#[test]
fn a_restore_that_is_killed_leaves_the_old_store_or_the_new_one() {
    let stage = Stage::new();
    stage.backup(&[]).ok();
    stage.home.add_client(&stage.sandbox, "klaviyo", &[]);
    stage.home.connect(&stage.sandbox, &["klaviyo", "--can", "contacts.read"]);
    let both = stage.folder.path().join("both");
    let args = ["backup", both.to_str().unwrap(), "--passphrase-stdin"];
    stage.home.run_with(&args, PASSPHRASE).ok();
    let words = stage.folder.path().join("words");
    fs::write(&words, PASSPHRASE).unwrap();
    let ids = || {
        let listed = stage.home.run(&["connections", "--json"]).ok().json();
        let all = listed["connections"].as_array().unwrap();
        all.iter().map(|c| c["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // How long a whole one takes here, so that kills fall all over it.
    let began = std::time::Instant::now();
    restore(&stage.home, &both, PASSPHRASE, &["--force"]).ok();
    let whole = began.elapsed();
    let mut news = 0;
    for n in 0..KILLS {
        let before = ids();
        let file = if before.len() == 2 { stage.file() } else { both.clone() };
        let args = ["restore", file.to_str().unwrap(), "--force", "--passphrase-file"];
        let args = [&args[..], &[words.to_str().unwrap()]].concat();
        let mut child = stage.home.command(&args).spawn().unwrap();
        std::thread::sleep(whole * (n + 1) / (KILLS - 2));
        child.kill().unwrap();
        child.wait().unwrap();
        let after = ids();
        assert!(after == ["keap"] || after == ["keap", "klaviyo"], "{after:?}");
        news += usize::from(after != before);
        stage.home.run(&["token", "keap"]).ok();
    }
    println!("of {KILLS} killed restores {news} were done");
}

const KILLS: u32 = 16;
