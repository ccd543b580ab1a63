//! `indicia completions SHELL`: a script that completes commands, options and their values.

use std::io::Write as _;

use crate::args::Completions;
use crate::failure::Failure;

/// Prints the script.
pub fn run(args: Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    let mut command = crate::command();
    clap_complete::generate(args.shell, &mut command, "indicia", &mut script);
    std::io::stdout().write_all(&script).map_err(Failure::from)
}
