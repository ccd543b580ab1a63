//! Tests of the stores, through the port.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests: a panic is the finding")]

mod backup;
mod conforms;
mod home;
mod model;
mod processes;
mod room;
mod support;
