//! The catalogue's integration tests.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as loudly as the test")]

mod bad_files;
mod common;
mod example;
mod hosts;
mod quirks;
mod reference;
mod shipped;
mod transcript;
mod without;
