//! Why a command failed, in the words of the user: what happened and why, and what to type next.
//!
//! What the engine says is passed on as it is ([`Failure::Broker`]); the other kinds are those that
//! only a command line has. The exit status is not here: `lib.rs` decides it.

use std::io;

use indicia_broker::error::Error;
use serde::Serialize;

/// A failed command.
#[derive(Debug)]
pub enum Failure {
    /// From the engine, with its own code and hint.
    Broker(Error),
    /// What was typed can't be done.
    Usage(Said),
    /// It went wrong.
    Failed(Said),
    /// Home, store or key can't be used.
    Home(Said),
    /// `exec` failed before its command ran.
    BeforeCommand(Box<Failure>),
    /// The reader of our output went away: nothing to say, and nobody to say it to.
    BrokenPipe,
    /// A signal asked us to stop.
    Interrupted(i32),
}

/// What is said of a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// Stable code.
    pub code: &'static str,
    /// What happened, and why.
    pub detail: String,
    /// What to type or do next; may be empty.
    pub hint: String,
}

impl Said {
    /// Says it.
    pub fn new(code: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), hint: hint.into() }
    }
}

impl Failure {
    /// What was typed can't be done.
    pub fn usage(code: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage(Said::new(code, detail, hint))
    }

    /// It went wrong.
    pub fn failed(code: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed(Said::new(code, detail, hint))
    }

    /// Home, store or key can't be used.
    pub fn home(code: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Home(Said::new(code, detail, hint))
    }

    /// Several things that were typed and can't be done, told at once; one alone as it is.
    pub fn all(mut failures: Vec<Self>) -> Self {
        match failures.pop() {
            Some(only) if failures.is_empty() => return only,
            last => failures.extend(last),
        }
        let said: Vec<Said> = failures.iter().filter_map(Self::said).collect();
        let lines = |of: fn(&Said) -> &str| {
            let lines = said.iter().map(of).filter(|line| !line.is_empty());
            lines.collect::<Vec<_>>().join("\n")
        };
        Self::usage("options_refused", lines(|s| &s.detail), lines(|s| &s.hint))
    }

    /// A file that can't be read.
    pub fn file(path: &std::path::Path, error: &io::Error) -> Self {
        let detail = format!("{} can't be read: {error}", path.display());
        Self::failed("file_unreadable", detail, "check the path and its rights")
    }

    /// What to say; `None`: nothing.
    pub fn said(&self) -> Option<Said> {
        match self {
            Self::Broker(error) => Some(Said::new(error.code(), error.to_string(), error.hint())),
            Self::Usage(said) | Self::Failed(said) | Self::Home(said) => Some(said.clone()),
            Self::BeforeCommand(failure) => failure.said(),
            Self::BrokenPipe => None,
            Self::Interrupted(_) => {
                Some(Said::new("interrupted", "stopped by a signal", "what was sent was kept"))
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Broker(error)
    }
}

impl From<io::Error> for Failure {
    /// Of writing to standard output or error: all other I/O says what it was about.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::failed("output_failed", format!("the output can't be written: {error}"), ""),
        }
    }
}
