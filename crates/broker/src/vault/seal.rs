//! Sealed bytes: an AEAD whose associated data binds record, field, version and key.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::keys::KeyId;

/// Ciphertext with the id of the data key that sealed it. The store keeps it and can't open it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Which data key.
    pub key: KeyId,
    /// Nonce and ciphertext.
    #[serde(with = "hex::serde")]
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({}, {} bytes)", self.key.0, self.bytes.len())
    }
}

/// What a sealed text is: bound into its associated data, so that no ciphertext can be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// A grant's token set at a version.
    Tokens {
        /// Grant id.
        grant: &'a str,
        /// Version that it belongs to.
        version: u64,
    },
    /// A client secret.
    ClientSecret {
        /// Client id (ours).
        client: &'a str,
        /// Its number.
        n: u32,
    },
    /// A pending flow's state and verifier.
    Flow {
        /// Hash of the state.
        state_hash: &'a str,
    },
    /// A raw answer in the journal.
    Answer {
        /// Grant id, or state hash of a flow.
        of: &'a str,
        /// Version that was spent from (0 for a flow).
        version: u64,
    },
    /// A token in the revocation queue.
    Revocation {
        /// Revocation id.
        id: &'a str,
        /// Which of its items.
        item: u32,
    },
}
