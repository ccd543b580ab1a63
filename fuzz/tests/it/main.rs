//! Runs every fuzz target over its corpus, without a fuzzer.
#![forbid(unsafe_code)]

mod corpus;
