//! Secrets at rest: envelope encryption and keyed fingerprints.
//!
//! The root key wraps data keys, data keys seal secrets, each secret bound to its place. There is
//! no way round it: no plaintext mode, and no call that gives a key away. Must never write to the
//! store anything but a store's first data key.

mod fingerprint;
mod keys;
mod seal;

pub use fingerprint::Fingerprint;
pub use keys::{DataKeyRow, KeyId, Vault, VaultError};
pub(crate) use keys::{next_row, rewrapped};
pub use seal::{Field, Sealed};
