//! The broker through its public door, one file a promise.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod again;
mod api_key;
mod connect;
mod decide;
mod device;
mod forecast;
mod implicit;
mod import;
mod issuer;
mod late;
mod many_refused;
mod promise;
mod refused;
mod revoke;
mod rig;
mod rotate;
mod schedule;
mod sim;
mod vault;
