//! The one door to this crate's tests: vectors (data), rows of the standards that need code,
//! properties of every parser of outside bytes, and the convention about secrets.
#![expect(clippy::expect_used, reason = "a test that can't read its own vectors must stop")]

mod no_secret_prints;
mod properties;
mod rows;
mod support;
mod vectors;
