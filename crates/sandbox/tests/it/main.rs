//! The simulated services, tested through the doors that others use: `Model::handle` with requests
//! as the protocol crate builds them, and real HTTP.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod any_request;
mod assertions;
mod control;
mod doors;
mod driver;
mod faults;
mod http;
mod keys;
mod lifecycle;
mod pages;
mod places;
mod rules;
mod transcripts;
