//! Where the root key is: a source a file, all of which wrap in the same way.
//!
//! The root key wraps data keys, and nothing else; whoever has it and the store has every token.

mod bytes;
mod file;
mod wrap;

pub use bytes::BytesRootKey;
pub use file::{FileRootKey, Missing};
