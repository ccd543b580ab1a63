//! Runs every fuzz target over its corpus, without a fuzzer.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail as loudly as the test")]

mod corpus;
