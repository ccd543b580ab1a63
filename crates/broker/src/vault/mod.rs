//! Secrets at rest: envelope encryption and keyed fingerprints.

mod fingerprint;
mod keys;
mod seal;

pub use fingerprint::Fingerprint;
pub use keys::{DataKeyRow, KeyId, Vault, VaultError};
pub use seal::{Field, Sealed};
