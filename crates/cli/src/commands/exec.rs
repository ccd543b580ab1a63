//! `indicia exec ID -- CMD…`: a command with a valid token in its environment.
//!
//! Surprise: no child is made. This process becomes the command, so that its exit status, the
//! signals to it and its place in the terminal are its own; an error here means that nothing ran.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::args::Exec;
use crate::commands::token;
use crate::failure::Failure;
use crate::home::Cx;
use crate::options::Options;
use crate::root_key::RootKeySource;

/// Becomes the command.
pub fn run(cx: &Cx, args: Exec) -> Result<(), Failure> {
    become_command(cx, &args).map_err(|failure| Failure::BeforeCommand(Box::new(failure)))
}

fn become_command(cx: &Cx, args: &Exec) -> Result<(), Failure> {
    let token = cx.block_on(token::valid(cx, &args.id, args.min_valid))?;
    for warning in &token.warnings {
        cx.out.warning(&warning.detail);
    }
    let [program, arguments @ ..] = args.command.as_slice() else {
        return Err(Failure::usage("usage", "there is no command to run", "add -- CMD"));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    without_ours(&mut command, &cx.options);
    for (name, value) in token::variables(&token) {
        command.env(name, value.as_str());
    }
    let error = command.exec();
    let detail = format!("{} can't be run: {error}", program.to_string_lossy());
    Err(Failure::failed("command_not_run", detail, "check the name of the command and its rights"))
}

/// Takes our variables from a command's environment, and the one that holds the root key, whatever
/// its name: a key to everything must not reach a command that needs one token, or a browser.
pub fn without_ours(command: &mut Command, options: &Options) {
    let ours = |name: &OsString| OsStr::as_bytes(name).starts_with(b"INDICIA_");
    for name in std::env::vars_os().map(|(name, _)| name).filter(ours) {
        command.env_remove(name);
    }
    if let RootKeySource::Variable(name) = &options.root_key {
        command.env_remove(name);
    }
}
