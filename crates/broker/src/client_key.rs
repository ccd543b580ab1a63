//! A client's private key, in the place of a secret: what it signs, and its public part for the
//! service's portal.
//!
//! What would surprise: ECDSA draws its nonce inside the crypto library, not from the port
//! `Random`; so two assertions of the same words differ, and nothing may depend on their bytes.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use indicia_oauth::client_assertion::{Algorithm, Claims, Unsigned};
use indicia_oauth::{ClientAssertion, ClientSecret, Credentials, Proof};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::Broker;
use crate::call::Bound;
use crate::client_gate::ChosenSecret;
use crate::error::Error;

/// The public part of a client's key, as a portal or a server's configuration takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// How the key signs.
    pub algorithm: Algorithm,
    /// The key's name in what it signed: the thumbprint of its JWK (RFC 7638).
    pub key_id: String,
    /// As a JSON Web Key (RFC 7517).
    pub jwk: Value,
    /// The same as PEM, `BEGIN PUBLIC KEY`.
    pub pem: String,
}

/// A private key that is open. Doesn't print.
pub(crate) enum ClientKey {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl ClientKey {
    /// Whether a secret's text is a key rather than a secret.
    pub(crate) fn is_one(secret: &ClientSecret) -> bool {
        secret.expose().trim_start().starts_with("-----BEGIN ")
    }

    /// Reads it: PKCS #8 as PEM, P-256 or RSA of 2048 bits or more (RFC 8725 §3.5).
    pub(crate) fn read(secret: &ClientSecret) -> Result<Self, &'static str> {
        let pem = pem::parse(secret.expose()).map_err(|_| "it is no PEM")?;
        if pem.tag() != "PRIVATE KEY" {
            return Err("it isn't PKCS #8, unencrypted: BEGIN PRIVATE KEY");
        }
        let der = Zeroizing::new(pem.into_contents());
        if let Ok(key) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der) {
            return Ok(Self::Ec(key));
        }
        match RsaKeyPair::from_pkcs8(&der) {
            Ok(key) if key.public_modulus_len() >= RSA_BYTES_MIN => Ok(Self::Rsa(key)),
            Ok(_) => Err("an RSA key has 2048 bits at least"),
            Err(_) => Err("it is neither a P-256 key nor an RSA key"),
        }
    }

    /// What may be shown of it.
    pub(crate) fn public(&self) -> Result<PublicKey, &'static str> {
        const DEFECT: &str = "its public part can't be made";
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (algorithm, der, mut jwk) = match self {
            Self::Ec(key) => {
                let public = key.public_key();
                let der: PublicKeyX509Der<'_> = public.as_der().map_err(|_| DEFECT)?;
                // Uncompressed: 4, then both coordinates (SEC 1 §2.3.3).
                let (x, y) = public.as_ref().get(1..).ok_or(DEFECT)?.split_at(P256_BYTES);
                let jwk = json!({ "crv": "P-256", "kty": "EC", "x": text(x), "y": text(y) });
                (Algorithm::Es256, der.as_ref().to_vec(), jwk)
            }
            Self::Rsa(key) => {
                let public = key.public_key();
                let der: PublicKeyX509Der<'_> = public.as_der().map_err(|_| DEFECT)?;
                let n = text(public.modulus().big_endian_without_leading_zero());
                let e = text(public.exponent().big_endian_without_leading_zero());
                (Algorithm::Rs256, der.as_ref().to_vec(), json!({ "e": e, "kty": "RSA", "n": n }))
            }
        };
        // The members that a thumbprint is of, in the order of their names (RFC 7638 §3.2): those
        // that are there so far, since a JSON object of ours keeps that order.
        let key_id = text(&Sha256::digest(jwk.to_string()));
        for (name, value) in [("alg", algorithm.name()), ("kid", &key_id), ("use", "sig")] {
            jwk[name] = value.into();
        }
        let pem = pem::encode(&pem::Pem::new("PUBLIC KEY", der));
        Ok(PublicKey { algorithm, key_id, jwk, pem })
    }

    #[expect(clippy::disallowed_methods, reason = "the library draws a signature's nonce itself")]
    fn sign(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let chance = SystemRandom::new();
        match self {
            Self::Ec(key) => Some(key.sign(&chance, bytes).ok()?.as_ref().to_vec()),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &chance, bytes, &mut signature).ok()?;
                Some(signature)
            }
        }
    }
}

/// What a client proves who it is with in one request: signed for it, where it has a key.
pub(crate) struct Proven<'a> {
    client_id: &'a str,
    secret: Option<&'a ClientSecret>,
    assertion: Option<ClientAssertion>,
}

impl Proven<'_> {
    pub(crate) fn credentials(&self) -> Credentials<'_> {
        let assertion = self.assertion.as_ref().map(Proof::Assertion);
        Credentials {
            client_id: self.client_id,
            proof: assertion.unwrap_or_else(|| self.secret.into()),
        }
    }
}

impl Broker {
    /// For one request: an assertion is good once.
    pub(crate) fn client_proof<'a>(
        &self,
        bound: &'a Bound,
        secret: &'a ChosenSecret,
    ) -> Result<Proven<'a>, Error> {
        let assertion = match &secret.secret {
            Some(key) if secret.signs => Some(self.assertion(bound, key)?),
            _ => None,
        };
        let client_id = &bound.client.client_id;
        Ok(Proven { client_id, secret: secret.secret.as_ref(), assertion })
    }

    fn assertion(&self, bound: &Bound, key: &ClientSecret) -> Result<ClientAssertion, Error> {
        let audience = bound.service.assertion_audience(bound.cx());
        let audience = audience.map_err(|e| bound.filled(e))?.ok_or_else(|| no_keys(bound))?;
        let defect = |why: &str| Error::Internal(format!("a client's key can't be used: {why}"));
        let key = ClientKey::read(key).map_err(defect)?;
        let public = key.public().map_err(defect)?;
        let mut id = [0; 16];
        self.ports.random.fill(&mut id);
        let claims = Claims {
            client_id: &bound.client.client_id,
            audience: &audience,
            id: &URL_SAFE_NO_PAD.encode(id),
            issued_at: self.ports.clock.now(),
        };
        let unsigned = Unsigned::new(public.algorithm, &public.key_id, claims);
        let signature = key.sign(unsigned.as_bytes());
        Ok(unsigned.signed(&signature.ok_or_else(|| defect("it doesn't sign"))?))
    }
}

/// A client that has a key, at a service that takes none any more: its file was changed.
fn no_keys(bound: &Bound) -> Error {
    Error::Refused {
        code: "client_key_refused",
        field: "secret".into(),
        detail: format!(
            "client {} has a private key, and {} takes none",
            bound.client.id, bound.service.name
        ),
        hint: format!("`indicia clients secrets {} add` with a secret", bound.client.id),
    }
}

const P256_BYTES: usize = 32;
const RSA_BYTES_MIN: usize = 256;
