//! JWTs that we make, in their compact form (RFC 7515 §7.1). None is ever read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use zeroize::Zeroizing;

/// Header and claims, as they are signed (RFC 7515 §5.1).
pub fn unsigned(header: &Value, claims: &Value) -> String {
    [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".")
}

/// The whole, with its signature.
pub fn signed(unsigned: &str, signature: &[u8]) -> Zeroizing<String> {
    Zeroizing::new([unsigned, ".", &URL_SAFE_NO_PAD.encode(signature)].concat())
}
