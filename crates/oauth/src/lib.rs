//! The OAuth 2.0 client protocol without I/O: requests are **built**, answers are **read**.
//!
//! Every function here is pure: it takes data (and the time, where time matters) and returns data.
//! Nothing in this crate opens a connection, reads a clock, draws a random number, stores anything,
//! or knows what an email marketing service is. That is what lets each byte of it be tested with
//! vectors and fuzzed.
//!
//! Left out on purpose: the password grant (RFC 9700 §2.4), reading inside access tokens
//! (RFC 9068 §6), JSONP revocation (RFC 7009 §2.3), signed metadata (RFC 8414 §2.1: ignored).
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod address;
pub mod answer;
pub mod authorization;
mod call;
pub mod client_assertion;
pub mod client_auth;
pub mod deviation;
pub mod dialect;
pub mod expiry;
mod form;
pub mod grant;
pub mod introspection;
mod json;
pub mod jwt;
pub mod metadata;
pub mod pkce;
pub mod request;
mod retry_after;
pub mod revocation;
pub mod secret;
mod text;
pub mod time;
pub mod token_answer;

pub use answer::Answer;
pub use client_auth::{BasicEncoding, BodyCodec, ClientAuth, Credentials, Proof, TokenEndpoint};
pub use dialect::{Dialect, ErrorRow, Verdict};
pub use expiry::Expiry;
pub use request::{Method, Request};
pub use retry_after::{RETRY_AFTER_MAX, RETRY_AFTER_MIN};
pub use secret::{
    AccessToken, ClientAssertion, ClientSecret, Code, DeviceCode, RefreshToken, Verifier,
};
pub use time::Timestamp;
pub use token_answer::{Reading, Refusal, TokenSet};
