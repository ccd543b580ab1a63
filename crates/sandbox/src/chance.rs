//! Chance without a generator's state: everything "random" is a hash of the seed and of what it is
//! for, so that the same seed gives the same tokens whatever else happened in between.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

/// The seed of one simulated service.
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    seed: u64,
    service: String,
}

impl Chance {
    pub fn new(seed: u64, service: &str) -> Self {
        Self { seed, service: service.to_owned() }
    }

    /// 32 bytes for a purpose.
    fn bytes(&self, purpose: &[&str]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_be_bytes());
        hash.update(self.service.as_bytes());
        for part in purpose {
            // The length before each part keeps ("ab", "c") and ("a", "bc") apart.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hash.finalize().into()
    }

    /// A number for a purpose.
    pub fn number(&self, purpose: &[&str]) -> u64 {
        let bytes = self.bytes(purpose);
        bytes[..8].iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }

    /// One of `0..sides`.
    pub fn pick(&self, sides: usize, purpose: &[&str]) -> usize {
        usize::try_from(self.number(purpose) % sides.max(1) as u64).unwrap_or_default()
    }

    /// Heads or tails on a fact that nobody knows for sure.
    pub fn coin(&self, fact: &str) -> bool {
        self.number(&["fact", fact]).is_multiple_of(2)
    }

    /// An opaque string such as services hand out. Half of the seeds use the characters that must
    /// be encoded in a form (`+/=`), all of them legal in a bearer token (RFC 6750 §2.1).
    pub fn token(&self, kind: &str, purpose: &[&str]) -> String {
        let bytes = self.bytes(&[&[kind], purpose].concat());
        let text = if self.coin("ugly tokens") {
            STANDARD.encode(bytes)
        } else {
            URL_SAFE_NO_PAD.encode(bytes)
        };
        format!("{kind}{text}")
    }
}

/// SHA-256 of a secret, in hex: what is kept in its place.
pub(crate) fn digest(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

/// The S256 challenge of a verifier (RFC 7636 §4.2).
pub(crate) fn s256(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}
