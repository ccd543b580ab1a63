//! The file that `backup` makes and `restore` reads: a tar archive of the store and the home's own
//! service files, encrypted to a passphrase in the format of age (<https://c2sp.org/age>), so that
//! `age -d FILE | tar t` reads it too. A change of one bit anywhere in it is noticed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use indicia::FILE_BYTES_MAX;
use tar::{EntryType, Header};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// What was taken out of an archive.
pub struct Unpacked {
    /// When it was made, in seconds since 1970.
    pub made_at: u64,
    /// Names of the service files, as they lie in the folder's `services`.
    pub services: Vec<String>,
}

/// A folder in a home for the time being, into which nobody else can look.
pub fn folder_in(home: &Path) -> Result<TempDir, Failure> {
    let mut folder = tempfile::Builder::new();
    folder.prefix(".copy-").permissions(fs::Permissions::from_mode(0o700));
    folder.tempdir_in(home).map_err(|error| Failure::file(home, &error))
}

/// Writes an archive of `db` and the service files of `home`; it appears whole, or not at all.
pub fn pack(
    to: &Path,
    db: &Path,
    home: &Path,
    passphrase: &Zeroizing<String>,
    made_at: u64,
) -> Result<u64, Failure> {
    let beside = beside(to);
    let packed = write(&beside, db, home, passphrase, made_at)
        .and_then(|()| fs::rename(&beside, to))
        .and_then(|()| fs::metadata(to));
    match packed {
        Ok(found) => Ok(found.len()),
        Err(error) => {
            let _ = fs::remove_file(&beside);
            let detail = format!("{} can't be written: {error}", to.display());
            Err(Failure::failed("backup_failed", detail, "see that there is room, and try again"))
        }
    }
}

fn beside(to: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(to.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    to.with_file_name(name)
}

fn write(
    to: &Path,
    db: &Path,
    home: &Path,
    passphrase: &Zeroizing<String>,
    made_at: u64,
) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let encryptor = age::Encryptor::with_user_passphrase(secret(passphrase));
    let sealed = encryptor.wrap_output(BufWriter::new(file))?;
    let mut archive = tar::Builder::new(sealed);
    let add = |archive: &mut tar::Builder<_>, name: &str, path: &Path| -> io::Result<()> {
        let from = File::open(path)?;
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(from.metadata()?.len());
        header.set_mode(0o600);
        header.set_mtime(made_at);
        archive.append_data(&mut header, name, from)
    };
    add(&mut archive, DB, db)?;
    for (name, path) in service_files(home)? {
        add(&mut archive, &format!("{SERVICES}/{name}"), &path)?;
    }
    let mut file = archive.into_inner()?.finish()?;
    file.flush()?;
    file.get_ref().sync_all()
}

/// The home's own service files, by name.
fn service_files(home: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let folder = match fs::read_dir(home.join(SERVICES)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let mut files = Vec::new();
    for entry in folder {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_service_file(&name) && entry.metadata()?.is_file() {
            files.push((name, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

/// Takes an archive apart into a folder that nobody else can look into.
pub fn unpack(
    from: &Path,
    folder: &Path,
    passphrase: &Zeroizing<String>,
) -> Result<Unpacked, Failure> {
    let file = File::open(from).map_err(|error| Failure::file(from, &error))?;
    let no_backup = |why: String| {
        let detail = format!("{} is no backup that can be read: {why}", from.display());
        Failure::failed("backup_refused", detail, "nothing was changed; take another backup")
    };
    let decryptor = age::Decryptor::new_buffered(BufReader::new(file));
    let decryptor = decryptor.map_err(|error| no_backup(error.to_string()))?;
    if !decryptor.is_scrypt() {
        return Err(no_backup("it isn't encrypted to a passphrase".to_owned()));
    }
    let identity = age::scrypt::Identity::new(secret(passphrase));
    let opened = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity));
    let opened = opened.map_err(|error| match error {
        age::DecryptError::DecryptionFailed | age::DecryptError::NoMatchingKeys => {
            let detail = format!("this is not the passphrase of {}", from.display());
            Failure::failed("wrong_passphrase", detail, "try again; nothing was changed")
        }
        other => no_backup(other.to_string()),
    })?;
    take_apart(tar::Archive::new(opened), folder).map_err(|error| no_backup(error.to_string()))
}

fn take_apart(mut archive: tar::Archive<impl io::Read>, folder: &Path) -> io::Result<Unpacked> {
    let odd = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut found = Unpacked { made_at: 0, services: Vec::new() };
    let mut has_store = false;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        if entry.header().entry_type() != EntryType::Regular {
            return Err(odd(format!("{name:?} is no file")));
        }
        let service = name.strip_prefix("services/").filter(|name| is_service_file(name));
        match service {
            None if name == DB && !has_store => {
                has_store = true;
                found.made_at = entry.header().mtime()?;
                io::copy(&mut entry, &mut private(&folder.join(DB))?)?;
            }
            Some(service) if found.services.len() < SERVICES_MAX => {
                fs::create_dir_all(folder.join(SERVICES))?;
                let mut file = private(&folder.join(SERVICES).join(service))?;
                let limit = FILE_BYTES_MAX as u64;
                if io::copy(&mut entry.by_ref().take(limit + 1), &mut file)? > limit {
                    return Err(odd(format!("{name:?} is too long")));
                }
                found.services.push(service.to_owned());
            }
            _ => return Err(odd(format!("it has {name:?}, which belongs to no backup"))),
        }
    }
    // To the end: what was cut off or changed behind the last file is noticed too.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    match has_store {
        true => Ok(found),
        false => Err(odd("it has no store".to_owned())),
    }
}

/// Puts the service files back that aren't there; the names of those that are there and differ.
pub fn put_services(folder: &Path, home: &Path, names: &[String]) -> Result<Vec<String>, Failure> {
    let mut kept = Vec::new();
    for name in names {
        let (from, to) = (folder.join(SERVICES).join(name), home.join(SERVICES).join(name));
        let put = || -> io::Result<bool> {
            let text = fs::read(&from)?;
            if to.exists() {
                return Ok(fs::read(&to)? != text);
            }
            fs::create_dir_all(home.join(SERVICES))?;
            fs::set_permissions(home.join(SERVICES), fs::Permissions::from_mode(0o700))?;
            private(&to)?.write_all(&text)?;
            Ok(false)
        };
        match put() {
            Ok(true) => kept.push(name.clone()),
            Ok(false) => {}
            Err(error) => return Err(Failure::file(&to, &error)),
        }
    }
    Ok(kept)
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn is_service_file(name: &str) -> bool {
    let letters = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let named = name.strip_suffix(".toml").is_some_and(|stem| !stem.is_empty());
    named && name.len() <= NAME_BYTES_MAX && !name.starts_with('.') && name.bytes().all(letters)
}

fn secret(passphrase: &Zeroizing<String>) -> SecretString {
    SecretString::from(passphrase.as_str().to_owned())
}

/// The store in an archive, as in a home.
pub const DB: &str = "indicia.db";
const SERVICES: &str = "services";
/// More service files than this are nobody's.
const SERVICES_MAX: usize = 1_000;
const NAME_BYTES_MAX: usize = 200;
