//! The simulated services, tested through the doors that others use: `Model::handle` with requests
//! as the protocol crate builds them, and real HTTP.
#![forbid(unsafe_code)]

mod driver;
mod lifecycle;
mod rules;
