//! Email marketing services as data: what a service file may say, how it is read and checked.
//!
//! Knows no storage, no HTTP, no service by name. Used by the engine *and* by the simulated
//! services, so that both play from the same facts.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod capability;
pub mod catalogue;
pub mod check;
pub mod read;
pub mod schema;
pub mod service;
pub mod template;

pub use capability::Capability;
pub use catalogue::Catalogue;
pub use service::{
    ApiBase, Bindings, CallRule, ClientKind, Context, Flow, GrantType, Keeps, RefreshRule,
    RevocationRule, Rotation, Service,
};
