//! Where the root key is: a source a file, all of which wrap in the same way.
//!
//! The root key wraps data keys, and nothing else; whoever has it and the store has every token.

mod bytes;
mod file;
mod wrap;

pub use bytes::BytesRootKey;
pub use file::{FileRootKey, Missing};
use indicia_broker::ports::Random;
use wrap::{KEY_BYTES, Key};
use zeroize::Zeroizing;

/// A new root key, in hex as its file has it.
pub fn generate(random: &dyn Random) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    random.fill(&mut *bytes);
    Key::new(bytes).to_hex()
}
