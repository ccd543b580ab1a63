//! What was typed, together with the configuration file and the environment: resolved once, here.
//!
//! Later wins: defaults, `config.toml` in the home, environment, flags. All keys are in [`KEYS`].
//! Surprise: all problems are told at once, and an unknown key is a problem, not a comment. Unknown
//! `INDICIA_*` variables are let be: scripts keep things of their own under such names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::args::Global;
use crate::failure::{Failure, Said};
use crate::output::Output;
use crate::root_key::RootKeySource;
use crate::words;

/// A key of `config.toml`, with its variable.
pub struct Key {
    /// Name in the file.
    pub name: &'static str,
    /// Environment variable.
    pub variable: &'static str,
    /// What it is when nobody says.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// All keys. The home itself can't be one: the file is inside it.
pub const KEYS: &[Key] = &[
    Key {
        name: "root-key",
        variable: "INDICIA_ROOT_KEY",
        default: "file:root.key in the home",
        help: "where the root key is: file:PATH, env:NAME, fd:N or command:CMD",
    },
    Key {
        name: "browser",
        variable: "INDICIA_BROWSER",
        default: "true",
        help: "whether `connect` opens a browser; false does as --no-browser",
    },
    Key {
        name: "callback-port",
        variable: "INDICIA_CALLBACK_PORT",
        default: "8917",
        help: "port of the redirect URI that `clients add` gives to a new client",
    },
    Key {
        name: "min-valid",
        variable: "INDICIA_MIN_VALID",
        default: "60s",
        help: "for how long a token must still be good, at least, when `token` or `exec` hands it out",
    },
];

/// What everything means.
#[derive(Clone, Debug)]
pub struct Options {
    /// The home.
    pub home: PathBuf,
    /// Where the root key is.
    pub root_key: RootKeySource,
    /// Whether `connect` opens a browser.
    pub browser: bool,
    /// Port of a new client's redirect URI.
    pub callback_port: u16,
    /// Least validity of a token that is handed out.
    pub min_valid: Duration,
    /// How to print.
    pub output: Output,
}

/// Reads `name` from the environment; what isn't UTF-8 counts as absent.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Options {
    /// Resolves everything, or tells all that is wrong.
    pub fn resolve(global: &Global) -> Result<Self, Failure> {
        let output = Output { json: global.json, quiet: global.quiet };
        let home = home(global.home.as_deref())?;
        let mut problems = Vec::new();
        let file = File::read(&home.join(CONFIG_FILE), &mut problems)?;
        let here = |key: &Key| {
            let typed = (key.name == "root-key").then(|| global.root_key.clone()).flatten();
            typed
                .map(|value| ("--root-key".to_owned(), value))
                .or_else(|| variable(key.variable).map(|value| (key.variable.to_owned(), value)))
        };
        let mut options = Self::usual(home, output);
        options.take(&file, here, &mut problems);
        match problems.is_empty() {
            true => Ok(options),
            false => Err(Failure::Usage(Said::new(
                "options_refused",
                problems.join("\n"),
                "mend these and try again; nothing was done",
            ))),
        }
    }

    /// What they are when nobody says anything.
    fn usual(home: PathBuf, output: Output) -> Self {
        Self {
            root_key: RootKeySource::File(home.join(ROOT_KEY_FILE)),
            browser: true,
            callback_port: CALLBACK_PORT,
            min_valid: MIN_VALID,
            home,
            output,
        }
    }

    /// Takes each key's value from where it is said: `here`, with the place, or in the file.
    fn take(
        &mut self,
        file: &File,
        here: impl Fn(&Key) -> Option<(String, String)>,
        problems: &mut Vec<String>,
    ) {
        for key in KEYS {
            let in_file = || file.value(key.name).map(|said| (said, self.home.clone()));
            // A path means what it meant where it was written.
            let said = here(key).map(|said| (said, PathBuf::new())).or_else(in_file);
            let Some(((place, value), base)) = said else { continue };
            if let Err(problem) = self.set(key.name, &value, &base) {
                problems.push(format!("{place}: {problem}"));
            }
        }
    }

    /// What a file of this text makes of a home, or all that is wrong with it: for the fuzzer.
    pub(crate) fn of_file(home: &Path, text: &str) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let file = File::parse(&home.join(CONFIG_FILE), text, &mut problems);
        let mut options = Self::usual(home.to_owned(), Output { json: false, quiet: false });
        options.take(&file, |_| None, &mut problems);
        if problems.is_empty() { Ok(options) } else { Err(problems) }
    }

    fn set(&mut self, name: &str, value: &str, base: &Path) -> Result<(), String> {
        match name {
            "root-key" => self.root_key = RootKeySource::parse(value, base)?,
            "browser" => {
                self.browser = value.parse().map_err(|_| "must be true or false".to_owned())?;
            }
            "callback-port" => {
                let port = value.parse().ok().filter(|port| *port > 0);
                self.callback_port = port.ok_or("must be a port, 1 to 65535")?;
            }
            "min-valid" => self.min_valid = words::duration(value)?,
            _ => return Err("nobody reads this key".to_owned()),
        }
        Ok(())
    }
}

/// The home: `--home`, `INDICIA_HOME`, or the platform's data folder.
fn home(typed: Option<&Path>) -> Result<PathBuf, Failure> {
    let chosen =
        typed.map(Path::to_owned).or_else(|| std::env::var_os(HOME_VARIABLE).map(PathBuf::from));
    let home = match chosen.filter(|path| !path.as_os_str().is_empty()) {
        Some(home) => home,
        None => data_folder().ok_or_else(|| {
            Failure::usage(
                "home_unknown",
                "this user has no home folder to keep things in",
                "choose a folder with --home DIR or INDICIA_HOME",
            )
        })?,
    };
    std::path::absolute(&home).map_err(|error| Failure::file(&home, &error))
}

fn data_folder() -> Option<PathBuf> {
    let folder =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if cfg!(target_os = "macos") {
        return Some(folder("HOME")?.join("Library/Application Support/indicia"));
    }
    let data = folder("XDG_DATA_HOME").or_else(|| Some(folder("HOME")?.join(".local/share")));
    Some(data?.join("indicia"))
}

/// `config.toml`, as far as it could be read.
struct File {
    path: PathBuf,
    table: toml::Table,
}

impl File {
    fn read(path: &Path, problems: &mut Vec<String>) -> Result<Self, Failure> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                let detail = format!("{} can't be read: {error}", path.display());
                let hint = "check the rights of the home folder, or choose another with --home";
                return Err(Failure::home("home_unreadable", detail, hint));
            }
        };
        Ok(Self::parse(path, &text, problems))
    }

    fn parse(path: &Path, text: &str, problems: &mut Vec<String>) -> Self {
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                problems.push(format!("{}: {}", path.display(), error.to_string().trim_end()));
                toml::Table::new()
            }
        };
        let file = Self { path: path.to_owned(), table };
        for name in file.table.keys().filter(|name| KEYS.iter().all(|key| key.name != **name)) {
            let near = words::nearest(name, KEYS.iter().map(|key| key.name));
            let all = || KEYS.iter().map(|key| key.name).collect::<Vec<_>>().join(", ");
            let fix = match near.first() {
                Some(near) => format!("did you mean {near}?"),
                None => format!("there are {}", all()),
            };
            problems.push(format!("{}: there is no key {name:?}; {fix}", path.display()));
        }
        file
    }

    /// Where it stands, and the value as text.
    fn value(&self, name: &str) -> Option<(String, String)> {
        let place = format!("{}: {name}", self.path.display());
        let value = match self.table.get(name)? {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some((place, value))
    }
}

const HOME_VARIABLE: &str = "INDICIA_HOME";
const CONFIG_FILE: &str = "config.toml";
const ROOT_KEY_FILE: &str = "root.key";
const CALLBACK_PORT: u16 = 8917;
/// The command line can't refresh behind its answer, so it asks for some life ahead.
const MIN_VALID: Duration = Duration::from_secs(60);
