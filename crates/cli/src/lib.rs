//! The command line of Indicia. The exit status is decided here, and nowhere else.
//!
//! Surprise: core dumps are switched off before anything else is looked at, since a dump of any
//! later moment could hold a token.
#![forbid(unsafe_code)]

mod archive;
mod args;
mod commands;
mod examples;
mod failure;
#[doc(hidden)]
pub mod fuzzed;
mod home;
mod listen;
mod logged;
mod open;
mod options;
mod output;
mod prompt;
mod root_key;
mod simulated;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser as _};
use indicia_broker::error::Error;

use crate::args::Args;
use crate::failure::{Failure, Said};
use crate::home::Cx;
use crate::options::Options;
use crate::output::Output;

/// Does what was typed, and tells the exit status.
pub fn main() -> ExitCode {
    home::switch_core_dumps_off();
    let raw: Vec<OsString> = std::env::args_os().collect();
    if let [_, verb, url] = raw.as_slice()
        && verb == BROWSE
    {
        return browse(url);
    }
    let args = match Args::try_parse_from(&raw) {
        Ok(args) => args,
        Err(error) => return not_understood(&raw, error),
    };
    let output = Output { json: args.global.json, quiet: args.global.quiet };
    let done = Options::resolve(&args.global).and_then(|options| {
        home::log_to_stderr(args.global.verbose);
        commands::run(&Cx::new(options), args.command)
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(said) = failure.said() {
                output.error(&said);
            }
            ExitCode::from(status(&failure))
        }
    }
}

/// Opens the system browser: `connect` runs this program for that, without our variables. No
/// command of the user's, so it is in no help; whether it worked is all that is asked.
fn browse(url: &OsString) -> ExitCode {
    let opened = url.to_str().is_some_and(|url| webbrowser::open(url).is_ok());
    if opened { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The exit status of a failure: DESIGN's table, and 125 for what happened before `exec`'s command.
fn status(failure: &Failure) -> u8 {
    match failure {
        Failure::Broker(error) => match error {
            Error::NotFound { .. } => NOT_FOUND,
            Error::Reauthorization { .. } | Error::Revoked { .. } => REAUTHORIZE,
            Error::Unavailable { .. } => UNAVAILABLE,
            // What was typed is one thing, what a browser or a service brought another.
            Error::Refused { field, .. } if BROUGHT.contains(&field.as_str()) => FAILED,
            Error::Refused { .. } => USAGE,
            Error::Store { .. } => STORE,
            Error::Conflict { .. } | Error::Internal(_) => FAILED,
        },
        Failure::Usage(_) => USAGE,
        Failure::Failed(_) => FAILED,
        Failure::Home(_) => STORE,
        Failure::BeforeCommand(_) => BEFORE_COMMAND,
        // `indicia … | head` has had what it wanted.
        Failure::BrokenPipe => 0,
        Failure::Interrupted(signal) => SIGNAL.saturating_add(u8::try_from(*signal).unwrap_or(0)),
    }
}

/// Help, version, or a mistake in what was typed.
fn not_understood(raw: &[OsString], error: clap::Error) -> ExitCode {
    let help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    // Only who asks for help pays for reading the catalogue.
    let again = help.then(|| examples::command().try_get_matches_from(raw));
    let error = match again.map(|found| found.and_then(|m| Args::from_arg_matches(&m))) {
        Some(Err(with_examples)) => with_examples,
        _ => error,
    };
    let json = raw.iter().any(|arg| arg == "--json");
    if error.use_stderr() && json {
        let text = error.to_string();
        let detail = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
        let hint = "add --help to see what there is";
        Output { json, quiet: false }.error(&Said::new("usage", detail, hint));
    } else {
        // A closed pipe behind `--help` is nobody's mistake.
        let _ = error.print();
    }
    let usage = error.use_stderr();
    ExitCode::from(if usage { USAGE } else { 0 })
}

/// The command line as data, without the examples: completions need no more.
pub(crate) fn command() -> clap::Command {
    Args::command()
}

/// What `connect` runs this program with, before an address.
pub(crate) const BROWSE: &str = "browse";
/// Fields of a refusal that nobody typed.
const BROUGHT: &[&str] =
    &["state", "callback", "code", "device_code", "user_code", "key", "service"];
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NOT_FOUND: u8 = 3;
const REAUTHORIZE: u8 = 4;
const UNAVAILABLE: u8 = 5;
const STORE: u8 = 6;
/// As `timeout` and `docker run` have it: what runs a command failed, not the command.
const BEFORE_COMMAND: u8 = 125;
/// A shell's way to say which signal it was.
const SIGNAL: u8 = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use indicia_broker::model::{ClientId, ConnectionId, Reason, ReasonCode};
    use indicia_oauth::Timestamp;

    fn refused(code: &'static str, field: &str) -> Error {
        let (detail, hint) = ("what is wrong".to_owned(), "what to type".to_owned());
        Error::Refused { code, field: field.to_owned(), detail, hint }
    }

    fn unavailable(code: &'static str) -> Error {
        let detail = "no valid token".to_owned();
        Error::Unavailable { code, detail, retry_after: None, hint: "try again".to_owned() }
    }

    fn store(code: &'static str) -> Error {
        Error::Store { code, detail: "the store".to_owned(), hint: "doctor".to_owned() }
    }

    #[test]
    fn each_error_has_its_status_its_code_and_something_to_do() {
        let check = |error: Error, expected: u8, code: &str| {
            let failure = Failure::Broker(error);
            let said = failure.said().unwrap();
            assert_eq!((status(&failure), said.code), (expected, code), "{said:?}");
            assert!(!said.detail.is_empty() && !said.hint.is_empty(), "{said:?}");
            let before = Failure::BeforeCommand(Box::new(failure));
            assert_eq!((status(&before), before.said()), (BEFORE_COMMAND, Some(said)));
        };
        let missing = Error::NotFound { what: "client", id: "x".into(), nearest: Vec::new() };
        check(missing, NOT_FOUND, "not_found");
        let (connection, client) = (ConnectionId::new("x").unwrap(), ClientId::new("c").unwrap());
        let reason = Box::new(Reason {
            code: ReasonCode::GrantRefused,
            detail: "the owner took it back".into(),
            since: Timestamp::from_millis(0),
            next_step: "connect again".into(),
            cause: None,
        });
        let reauthorize = Error::Reauthorization { connection: connection.clone(), reason };
        check(reauthorize, REAUTHORIZE, "reauthorization_required");
        check(Error::Revoked { connection, client }, REAUTHORIZE, "revoked");
        for code in ["service_unavailable", "throttled", "answer_lost", "client_refused"] {
            check(unavailable(code), UNAVAILABLE, code);
        }
        // What a browser or a service brought.
        for code in ["state_expired", "state_used", "state_unknown"] {
            check(refused(code, "state"), FAILED, code);
        }
        check(refused("access_denied", "callback"), FAILED, "access_denied");
        check(refused("code_refused", "code"), FAILED, "code_refused");
        check(refused("access_denied", "user_code"), FAILED, "access_denied");
        check(refused("code_refused", "device_code"), FAILED, "code_refused");
        check(refused("service_file_refused", "service"), FAILED, "service_file_refused");
        // What somebody typed.
        check(refused("input_refused", "--input"), USAGE, "input_refused");
        let conflict =
            Error::Conflict { code: "id_taken", detail: "taken".into(), hint: "another".into() };
        check(conflict, FAILED, "id_taken");
        for code in ["store_locked", "wrong_root_key", "store_full", "store_newer"] {
            check(store(code), STORE, code);
        }
        check(Error::Internal("a defect".into()), FAILED, "internal");
    }
}
