//! Where sealed rows live: memory and SQLite behind one port, [`indicia_broker::ports::Store`].
//!
//! Knows no key and no plaintext: all it is given is sealed. What each method means is written
//! twice, as the port's doc comments and as [`conformance`], which every store passes.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod chain;
pub mod conformance;
mod memory;
mod sqlite;

pub use memory::{CommitRecord, Memory, Snapshot};
#[doc(hidden)]
pub use sqlite::fuzzed;
pub use sqlite::{Options, Sqlite, backup};

/// Of so many versions of a grant, at least, the tokens are found by their fingerprints; what is in
/// use is always found.
const FINGERPRINT_VERSIONS_MAX: usize = 10;
