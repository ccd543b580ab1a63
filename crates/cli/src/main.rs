//! The binary `indicia`: all of it is in the library beside it, so that the fuzzer can call its
//! parsers.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    indicia_cli::main()
}
