//! Simulated email marketing services, played from the catalogue's files.
//!
//! [`Model`] is one service as a pure machine: `(request, now) → answer`. [`Sandbox`] serves many
//! of them over HTTP on this machine. Deliberately not here: any knowledge of the engine that is
//! tested against it, and the name of any service.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod api;
mod assertion;
mod authorize;
mod chance;
mod clients;
mod control;
mod device;
pub mod faults;
mod fill;
#[doc(hidden)]
pub mod fuzzed;
mod http;
mod implicit;
mod model;
mod pace;
mod pages;
pub mod record;
mod refresh;
mod refuse;
mod revoke;
mod route;
mod token;
mod when;
mod wire;

pub use clients::Registration;
pub use http::{Sandbox, StartOptions};
pub use model::{Model, Options, Refused};
pub use record::{GrantId, Record};
pub use wire::Incoming;
