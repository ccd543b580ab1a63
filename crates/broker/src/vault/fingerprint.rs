//! Keyed fingerprints: a leaked token is found without opening the store.
//!
//! Equal secrets have equal fingerprints, in all rows and for as long as the store lives: that is
//! their use. So their key is the one key that no rotation changes.

use std::fmt;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

/// HMAC-SHA256 of a secret under the store's fingerprint key. Tells nothing without the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// In hex, as stored.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// From hex.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Debug for Fingerprint {
    /// The first four bytes are enough to tell two apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", hex::encode(&self.0[..4]))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("not a fingerprint"))
    }
}

/// The key of a store's fingerprints; wiped when dropped.
pub(super) struct FingerprintKey(hmac::Key);

impl FingerprintKey {
    /// From its 32 bytes.
    pub(super) fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// HMAC-SHA256 of `secret`. RFC 2104 §2.
    pub(super) fn of(&self, secret: &str) -> Fingerprint {
        let tag = hmac::sign(&self.0, secret.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        Fingerprint(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 §4: keys shorter than a block are filled with zeros (RFC 2104 §2), so a short key
    /// of the RFC, filled up to our 32 bytes, must give the RFC's answer.
    #[track_caller]
    fn check(key: &[u8], secret: &str, expected: &str) {
        let mut bytes = [0; 32];
        bytes[..key.len()].copy_from_slice(key);
        assert_eq!(FingerprintKey::new(&bytes).of(secret).to_hex(), expected);
    }

    #[test]
    fn is_hmac_sha256_of_rfc_4231() {
        check(
            &[0x0b; 20],
            "Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        );
        check(
            b"Jefe",
            "what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
    }

    #[test]
    fn is_stable_and_tells_secrets_and_keys_apart() {
        let (one, two) = (FingerprintKey::new(&[1; 32]), FingerprintKey::new(&[2; 32]));
        assert_eq!(one.of("token-a"), one.of("token-a"));
        assert_ne!(one.of("token-a"), one.of("token-b"));
        assert_ne!(one.of("token-a"), two.of("token-a"));
    }

    #[test]
    fn debug_tells_four_bytes_only() {
        let shown = format!("{:?}", Fingerprint::from_bytes([0xab; 32]));
        assert_eq!(shown, "abababab…");
    }

    #[test]
    fn hex_goes_there_and_back_and_nothing_else_is_read() {
        let whole = FingerprintKey::new(&[3; 32]).of("token-a");
        assert_eq!(Fingerprint::from_hex(&whole.to_hex()), Some(whole));
        for wrong in ["", "ab", &whole.to_hex()[1..], &format!("{}00", whole.to_hex()), "zz"] {
            assert_eq!(Fingerprint::from_hex(wrong), None, "{wrong}");
        }
    }
}
