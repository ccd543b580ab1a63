//! Where the root key is: a source by its spelling, and the key that it gives.
//!
//! Surprise: a file descriptor is opened anew by its number below /dev/fd, so that no descriptor of
//! ours is made of a number that somebody typed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use indicia::random;
use indicia::root_key::{BytesRootKey, FileRootKey, Missing};
use indicia_broker::ports::RootKey;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Where the root key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootKeySource {
    /// In a file.
    File(PathBuf),
    /// In an environment variable, by its name.
    Variable(String),
    /// Behind a file descriptor that this program was started with.
    Descriptor(u32),
    /// Printed by a command, run by `sh`.
    Command(String),
    /// In the desktop's keyring, in hex.
    #[cfg(feature = "keyring")]
    Keyring,
}

impl RootKeySource {
    /// Reads a source as it is spelt; a relative path is below `base`.
    pub fn parse(value: &str, base: &Path) -> Result<Self, String> {
        match value.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(base.join(path))),
            Some(("env", name)) if !name.is_empty() => Ok(Self::Variable(name.to_owned())),
            Some(("fd", number)) => match number.parse() {
                Ok(number) => Ok(Self::Descriptor(number)),
                Err(_) => Err("fd: needs the number of a file descriptor, such as fd:3".into()),
            },
            Some(("command", line)) if !line.is_empty() => Ok(Self::Command(line.to_owned())),
            #[cfg(feature = "keyring")]
            None if value == "keyring" => Ok(Self::Keyring),
            #[cfg(not(feature = "keyring"))]
            None if value == "keyring" => {
                Err("keyring is not there in this version: build it with `--features keyring`, or \
                 use file:PATH, env:NAME, fd:N or command:CMD"
                    .into())
            }
            _ => Err(
                "must be file:PATH, env:NAME, fd:N or command:CMD; the key itself may stand in \
                      none of these places"
                    .into(),
            ),
        }
    }

    /// As it is spelt.
    pub fn spelt(&self) -> String {
        match self {
            Self::File(path) => format!("file:{}", path.display()),
            Self::Variable(name) => format!("env:{name}"),
            Self::Descriptor(number) => format!("fd:{number}"),
            Self::Command(line) => format!("command:{line}"),
            #[cfg(feature = "keyring")]
            Self::Keyring => "keyring".to_owned(),
        }
    }

    /// The key, for a store that has one; a file that isn't there may be made where `missing` says
    /// so.
    pub fn key(&self, missing: Missing) -> Result<Arc<dyn RootKey>, Failure> {
        Ok(match self {
            Self::File(path) => Arc::new(FileRootKey::new(path.clone(), missing, random())),
            _ => Arc::new(self.bytes()?),
        })
    }

    /// The key in hex, as a file of it would have it.
    pub fn export(&self) -> Result<Zeroizing<String>, Failure> {
        match self {
            Self::File(path) => {
                let key = FileRootKey::new(path.clone(), Missing::Refuse, random());
                key.to_hex().map_err(|error| unavailable(error.to_string()))
            }
            _ => Ok(self.bytes()?.to_hex()),
        }
    }

    fn bytes(&self) -> Result<BytesRootKey, Failure> {
        let (given, name) = match self {
            Self::File(path) => (read(File::open(path).map_err(|e| unread(self, &e))?), "the file"),
            Self::Variable(name) => (Ok(from_variable(name)?), "the variable"),
            Self::Descriptor(number) => {
                let file = File::open(format!("/dev/fd/{number}"));
                (read(file.map_err(|error| unread(self, &error))?), "the file descriptor")
            }
            Self::Command(line) => (Ok(from_command(line)?), "the output of the command"),
            #[cfg(feature = "keyring")]
            Self::Keyring => (Ok(from_keyring()?), "the keyring"),
        };
        let given = given.map_err(|error| unread(self, &error))?;
        let key = BytesRootKey::parse(&given, &format!("{name} ({})", self.spelt()));
        key.map_err(|error| unavailable(error.to_string()))
    }
}

fn read(file: impl Read) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES_MAX + 1));
    file.take(KEY_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn from_variable(name: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    use std::os::unix::ffi::OsStringExt as _;
    match std::env::var_os(name) {
        Some(value) => Ok(Zeroizing::new(value.into_vec())),
        None => Err(Failure::home(
            "root_key_unavailable",
            format!("the root key should be in the variable {name}, which isn't set"),
            format!("set {name}, or give another source with --root-key"),
        )),
    }
}

/// The secret of service `indicia`, user `root-key`.
#[cfg(feature = "keyring")]
fn from_keyring() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let entry = keyring::v1::Entry::new("indicia", "root-key");
    let found = entry.and_then(|entry| entry.get_secret());
    found.map(Zeroizing::new).map_err(|error| {
        let detail = format!("the keyring gives no root key: {error}");
        let hint = "put one there: `indicia root-key generate | secret-tool store --label=Indicia \
                    service indicia username root-key`";
        Failure::home("root_key_unavailable", detail, hint)
    })
}

/// What a command prints, within [`COMMAND_MAX`].
fn from_command(line: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |why: String| unavailable(format!("the command that gives the root key {why}"));
    let mut child = Command::new("sh")
        .args(["-c", line])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("can't be started: {error}")))?;
    let Some(output) = child.stdout.take() else {
        return Err(failed("has no output".into()));
    };
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || drop(tell.send(read(output))));
    let given = match told.recv_timeout(COMMAND_MAX) {
        Ok(given) => given.map_err(|error| failed(format!("can't be read: {error}")))?,
        Err(_) => {
            stop(&mut child);
            let seconds = COMMAND_MAX.as_secs();
            return Err(failed(format!("gave none within {seconds} seconds")));
        }
    };
    if given.len() > KEY_BYTES_MAX {
        stop(&mut child);
        return Err(failed(format!("printed more than {KEY_BYTES_MAX} bytes: that is no key")));
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(given),
        Ok(status) => Err(failed(format!("failed ({status})"))),
        Err(error) => Err(failed(format!("was lost: {error}"))),
    }
}

fn stop(child: &mut Child) {
    drop(child.kill());
    drop(child.wait());
}

fn unread(source: &RootKeySource, error: &std::io::Error) -> Failure {
    unavailable(format!("the root key can't be read from {}: {error}", source.spelt()))
}

fn unavailable(detail: String) -> Failure {
    Failure::home("root_key_unavailable", detail, "give another source with --root-key")
}

/// A root key in any spelling, and a line's end.
const KEY_BYTES_MAX: usize = 80;
/// A person may have to touch a token for it.
const COMMAND_MAX: Duration = Duration::from_secs(60);
