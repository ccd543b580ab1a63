//! Indicia, the library: the engine of `indicia-broker` with its doors to the real world.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod clock;
pub mod drive;
pub mod journal_file;
pub mod random;
pub mod root_key;
pub mod spawn;
pub mod transport;
