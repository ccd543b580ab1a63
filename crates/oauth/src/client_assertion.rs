//! A client proves who it is with a JWT that it signs: `private_key_jwt` (RFC 7523 §2.2).
//!
//! Nothing is signed here: [`Unsigned`] says what is to be signed, and takes the signature. What
//! would surprise: the algorithm is a value of ours, chosen when the key was made, and never read
//! from anything that came (RFC 8725 §3.1); there is no `none`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::jwt;
use crate::secret::ClientAssertion;
use crate::time::Timestamp;

/// The only type of assertion (RFC 7523 §2.2).
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How long an assertion is good for. It is used at once; this is for clocks that differ.
pub const LIFE: Duration = Duration::from_secs(300);

/// How a client's key signs (RFC 7518 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256: short, and quick to make.
    #[serde(rename = "ES256")]
    Es256,
    /// RSA PKCS #1 v1.5 with SHA-256, for servers that know nothing else.
    #[serde(rename = "RS256")]
    Rs256,
}

impl Algorithm {
    /// Its registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

/// What an assertion says.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// Issuer and subject (RFC 7523 §3, 1 and 2B).
    pub client_id: &'a str,
    /// Whom it is for, and nobody else: the server's issuer, or its token endpoint.
    pub audience: &'a str,
    /// An id that no other assertion has (`jti`).
    pub id: &'a str,
    /// Now.
    pub issued_at: Timestamp,
}

/// An assertion that lacks its signature.
pub struct Unsigned(String);

impl Unsigned {
    /// Header and claims, as they are signed (RFC 7515 §5.1). `key_id`: which of the client's
    /// registered keys signs.
    pub fn new(algorithm: Algorithm, key_id: &str, claims: Claims<'_>) -> Self {
        let now = claims.issued_at.as_millis().div_euclid(1_000);
        let life = i64::try_from(LIFE.as_secs()).unwrap_or(0);
        let header = json!({ "alg": algorithm.name(), "kid": key_id, "typ": "JWT" });
        let claims = json!({
            "iss": claims.client_id,
            "sub": claims.client_id,
            "aud": claims.audience,
            "jti": claims.id,
            "iat": now,
            "exp": now.saturating_add(life),
        });
        Self(jwt::unsigned(&header, &claims))
    }

    /// What is to be signed.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The whole, in its compact form (RFC 7515 §7.1).
    pub fn signed(self, signature: &[u8]) -> ClientAssertion {
        ClientAssertion::new(jwt::signed(&self.0, signature).as_str())
    }
}
