//! The folder a store lives in: whose it is, what file system it is on, what place it is.
//!
//! What would surprise: nothing here may open the database file. Closing any descriptor of it would
//! drop the locks that SQLite holds on it in this process (POSIX advisory locks are per process),
//! so all is learnt by path.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use indicia_broker::ports::StoreErrorKind;

use super::failure::Failure;

/// Makes the home, with its parents; only its owner may look in.
pub(super) fn make(home: &Path) -> Result<(), Failure> {
    if let Some(parent) = home.parent() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(|error| cannot("make", parent, &error))?;
    }
    make_one(home)
}

/// Makes one folder, if it isn't there, whose owner alone may look in. One that is there keeps its
/// rights: it may be somebody else's, and isn't ours to close.
pub(super) fn make_one(folder: &Path) -> Result<(), Failure> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(cannot("make", folder, &error)),
        Ok(()) => {
            // The umask may have taken the owner's rights.
            let rights = fs::Permissions::from_mode(0o700);
            let set = fs::set_permissions(folder, rights);
            set.map_err(|error| cannot("set the rights of", folder, &error))
        }
    }
}

/// Whether there is a home; refused when it is somebody else's, when others may look in, or when
/// its file system can't keep a store's promises.
pub(super) fn check(home: &Path) -> Result<bool, Failure> {
    let found = match fs::metadata(home) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(cannot("look at", home, &error)),
    };
    if !found.is_dir() {
        return Err(Failure::Home(
            StoreErrorKind::Unreadable,
            format!("{} is not a folder", home.display()),
        ));
    }
    check_owner(home, &found)?;
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Failure::Home(
            StoreErrorKind::Unreadable,
            format!(
                "others may look into {0} (mode {mode:04o}): type `chmod 700 {0}`",
                home.display()
            ),
        ));
    }
    check_file_system(home)?;
    Ok(true)
}

/// Refused when it belongs to anybody else, the superuser included: who owns a folder can exchange
/// what is in it. The superuser too works in folders of its own alone, or it would leave files that
/// their owner can't use.
pub(super) fn check_owner(folder: &Path, found: &fs::Metadata) -> Result<(), Failure> {
    let (owner, us) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner == us {
        return Ok(());
    }
    let folder = folder.display();
    Err(Failure::Home(
        StoreErrorKind::Unreadable,
        format!(
            "{folder} belongs to user {owner}, not to you ({us}): run this as that user, or type \
             `chown -R {us} {folder}`"
        ),
    ))
}

/// What the place of a file looks like: inode and birth time. A copy has another.
pub(super) fn place(file: &Path) -> Result<String, Failure> {
    let found = fs::metadata(file).map_err(|error| cannot("look at", file, &error))?;
    // Not every file system knows when a file was born.
    let born = found.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let born = born.map_or_else(|| "unknown".to_owned(), |since| since.as_nanos().to_string());
    Ok(format!("inode {}, born {born}", found.ino()))
}

/// Whether files can't be made there.
pub(super) fn is_read_only(home: &Path) -> bool {
    rustix::fs::access(home, rustix::fs::Access::WRITE_OK).is_err()
}

pub(super) fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            StoreErrorKind::ReadOnly
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::Full,
        _ => StoreErrorKind::Unreadable,
    };
    Failure::Home(kind, format!("can't {what} {}: {error}", path.display()))
}

#[cfg(target_os = "linux")]
fn check_file_system(home: &Path) -> Result<(), Failure> {
    let found = rustix::fs::statfs(home)
        .map_err(|error| cannot("ask for the file system of", home, &error.into()))?;
    // The low 32 bits: some architectures sign-extend them.
    let magic = u32::try_from(i128::from(found.f_type) & 0xffff_ffff).unwrap_or(0);
    let mounted = (magic == FUSE).then(|| mounted_type(home)).flatten();
    match network_name(magic, mounted.as_deref()) {
        None => Ok(()),
        Some(name) => Err(Failure::Home(
            StoreErrorKind::NetworkFileSystem,
            format!(
                "{} is on a network file system ({name}), where locks and memory maps can't be \
                 relied on: use a local disk, or PostgreSQL",
                home.display()
            ),
        )),
    }
}

#[cfg(not(target_os = "linux"))]
fn check_file_system(_home: &Path) -> Result<(), Failure> {
    Ok(())
}

/// The name of a file system that is shared over a network or between machines.
#[cfg(target_os = "linux")]
fn network_name(magic: u32, mounted: Option<&str>) -> Option<String> {
    if magic == FUSE {
        let name = mounted.unwrap_or("fuse");
        return (!FUSE_LOCAL.contains(&name)).then(|| name.to_owned());
    }
    NETWORK.iter().find(|(known, _)| *known == magic).map(|(_, name)| (*name).to_owned())
}

/// The type under which the file system of `home` is mounted, from the kernel's list.
#[cfg(target_os = "linux")]
fn mounted_type(home: &Path) -> Option<String> {
    let home = fs::canonicalize(home).ok()?;
    let list = fs::read_to_string("/proc/self/mountinfo").ok()?;
    type_in_list(&list, &home)
}

/// The type of the innermost mount that holds `home`. A line reads: id, parent, device, root, mount
/// point, options, optional fields, `-`, type, source (proc(5)).
#[cfg(target_os = "linux")]
fn type_in_list(list: &str, home: &Path) -> Option<String> {
    let mounts = list.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let point = left.split(' ').nth(4)?.replace("\\040", " ");
        let kind = right.split(' ').next()?;
        home.starts_with(&point).then_some((point.len(), kind))
    });
    // Of two mounts on one point the later one is seen.
    mounts.max_by_key(|(length, _)| *length).map(|(_, kind)| kind.to_owned())
}

/// `FUSE_SUPER_MAGIC`: anything may be behind it.
#[cfg(target_os = "linux")]
const FUSE: u32 = 0x6573_5546;

/// What is known to be local behind FUSE; all else is refused by its name.
#[cfg(target_os = "linux")]
const FUSE_LOCAL: [&str; 8] = [
    "fuseblk",
    "fuse.bindfs",
    "fuse.cryfs",
    "fuse.encfs",
    "fuse.fuse-overlayfs",
    "fuse.gocryptfs",
    "fuse.mergerfs",
    "fuse.securefs",
];

/// statfs(2), and the kernel's `magic.h`.
#[cfg(target_os = "linux")]
const NETWORK: [(u32, &str); 16] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0102_1997, "9p"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x7461_636f, "OCFS2"),
    (0x0116_1970, "GFS2"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x786f_4256, "VirtualBox shared folder"),
    (0x7c7c_6673, "Parallels shared folder"),
];

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_name() {
        let check = |magic, mounted, expected: Option<&str>| {
            assert_eq!(network_name(magic, mounted).as_deref(), expected);
        };
        check(0x6969, None, Some("NFS"));
        check(0xff53_4d42, None, Some("CIFS"));
        check(0x0102_1997, None, Some("9p"));
        check(FUSE, Some("fuse.sshfs"), Some("fuse.sshfs"));
        check(FUSE, Some("virtiofs"), Some("virtiofs"));
        check(FUSE, None, Some("fuse"));
        check(FUSE, Some("fuseblk"), None);
        for local in [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x2fc1_2fc1, 0x794c_7630] {
            check(local, None, None);
        }
    }

    #[test]
    fn the_innermost_mount_counts() {
        let list = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                    30 22 0:40 / /home/a rw - fuse.sshfs host:/ rw\n\
                    31 22 0:41 / /home/a\\040b rw - fuseblk /dev/sdb rw\n\
                    32 30 0:42 / /home/a/.local rw shared:9 master:2 - nfs4 host:/ rw\n";
        let check = |home: &str, expected: &str| {
            assert_eq!(type_in_list(list, Path::new(home)).as_deref(), Some(expected));
        };
        check("/home/b", "ext4");
        check("/home/ab", "ext4");
        check("/home/a/indicia", "fuse.sshfs");
        check("/home/a b/indicia", "fuseblk");
        check("/home/a/.local/share/indicia", "nfs4");
    }
}
