//! The grant-safe engine: connect, token, refresh, revoke, explain.
//!
//! Knows no SQL, no HTTP server, no real clock, no environment, no files: all of that comes in
//! through [`ports`]. The one promise: who asks for a connection's token gets a valid one, at once,
//! for as long as the grant lives, and the grant never dies through our fault.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod model;
pub mod ports;
pub mod vault;
