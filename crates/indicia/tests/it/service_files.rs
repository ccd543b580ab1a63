//! Which service files of a home, and which folder of them, are believed.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use indicia::{FILE_BYTES_MAX, catalogue};
use rustix::fs::{CWD, FileType, mknodat};

use crate::support::at_once;

const OWN: &str = include_str!("../../../../docs/examples/own-server.toml");

/// A home with one service file, and its folder of them.
fn home() -> (tempfile::TempDir, std::path::PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("services");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("own-server.toml"), OWN).unwrap();
    set(&folder, 0o755);
    set(&folder.join("own-server.toml"), 0o644);
    (home, folder)
}

fn set(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// What is told of the home's own file.
fn told(home: &Path) -> String {
    match catalogue(home) {
        Err(error) => error.to_string(),
        Ok(catalogue) => {
            assert!(catalogue.service("own-server").is_none());
            catalogue.problems_of("own-server")[0].to_string()
        }
    }
}

#[test]
fn a_folder_that_others_may_write_to_is_refused() {
    let (home, folder) = home();
    assert!(catalogue(home.path()).unwrap().service("own-server").is_some());
    for mode in [0o775, 0o757, 0o777] {
        set(&folder, mode);
        let fix = format!("services: can be written by others (mode {mode:04o}); type: chmod go-w");
        assert!(told(home.path()).contains(&fix), "{}", told(home.path()));
    }
    set(&folder, 0o755);
    // Only the superuser can give a folder away.
    if chown(&folder, Some(12_345), None).is_ok() {
        let told = told(home.path());
        assert!(told.contains("services: belongs to user 12345, not to you ("), "{told}");
    }
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let (home, folder) = home();
    let path = folder.join("own-server.toml");
    std::fs::remove_file(&path).unwrap();
    mknodat(CWD, &path, FileType::Fifo, 0o600.into(), 0).unwrap();
    let of_home = home.path().to_owned();
    let of_pipe = at_once(move || told(&of_home));
    assert!(of_pipe.contains("is no regular file"), "{of_pipe}");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(told(home.path()).contains("is no regular file"), "{}", told(home.path()));
}

#[test]
fn no_more_is_read_than_a_service_file_may_have() {
    let (home, folder) = home();
    let path = folder.join("own-server.toml");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    // Zeros without blocks: a terabyte of them would not fit into memory.
    file.set_len(1 << 40).unwrap();
    let told = told(home.path());
    let limit = format!("larger than {} KiB", FILE_BYTES_MAX / 1024);
    assert!(told.contains(&limit), "{told}");
}
