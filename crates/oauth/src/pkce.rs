//! PKCE, always S256 (RFC 7636). There is no `plain` here, so nothing can be talked down to it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::secret::Verifier;

/// Octets of randomness in a verifier (RFC 7636 §4.1).
pub const RANDOM_BYTES: usize = 32;

/// The only method (RFC 7636 §4.2).
pub const METHOD: &str = "S256";

/// A verifier from 32 random octets: 43 characters of `[A-Za-z0-9_-]` (RFC 7636 §4.1).
pub fn verifier(random: &[u8; RANDOM_BYTES]) -> Verifier {
    Verifier::new(URL_SAFE_NO_PAD.encode(random))
}

/// The S256 challenge of a verifier (RFC 7636 §4.2).
pub fn challenge(verifier: &Verifier) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose().as_bytes()))
}
