//! Email marketing services as data: what a service file may say, how it is read and checked.
//!
//! Knows no storage, no HTTP, no service by name. Used by the engine *and* by the simulated
//! services, so that both play from the same facts.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod api_key;
mod calls;
pub mod capability;
pub mod catalogue;
pub mod check;
mod places;
pub mod present;
pub mod read;
mod resolve;
mod rules;
pub mod schema;
pub mod service;
mod shape;
mod spelling;
pub mod template;
mod walk;

pub use capability::Capability;
pub use catalogue::Catalogue;
pub use present::{Carried, Presented};
pub use service::{
    ApiBase, Bindings, CallRule, ClientKind, Context, Flow, GrantType, Keeps, RefreshRule,
    RevocationRule, Rotation, Service,
};
