//! One file a grant: how its token request is built.
//!
//! What would surprise: a single-use code is taken by value, a refresh token only borrowed, since
//! the engine keeps it until its successor is durable.

pub mod client_credentials;
pub mod code;
pub mod device;
pub mod refresh;

use thiserror::Error;

/// Why a token request cannot be built.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BuildError {
    /// The endpoint is not an absolute https (or loopback http) URL without fragment.
    #[error("endpoint {0:?} is not an absolute URL without a fragment")]
    Endpoint(String),
    /// A parameter would appear twice.
    #[error("parameter {0:?} would appear twice")]
    Twice(String),
    /// This grant needs a client secret, and there is none (RFC 6749 §4.4).
    #[error("this needs a client secret")]
    NoSecret,
    /// This endpoint takes a signed assertion alone (RFC 7523 §2.2), and the client has no key.
    #[error("this endpoint needs a client with a private key")]
    NoAssertion,
}
