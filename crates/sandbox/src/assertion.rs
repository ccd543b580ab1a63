//! Clients that sign in place of sending a secret (RFC 7523 §3): what a strict server checks.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use indicia_oauth::client_assertion::{ASSERTION_TYPE, Algorithm, LIFE};
use indicia_oauth::{ClientAuth, Timestamp, TokenEndpoint};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::clients::{Registration, by_secret};
use crate::model::Model;
use crate::refuse::Refusal;
use crate::wire::{Incoming, Params};

#[derive(Deserialize)]
struct Header {
    alg: Algorithm,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    jti: String,
    exp: i64,
}

impl Model {
    /// Checks the client at an endpoint (RFC 6749 §2.3): by its signature, where it brought one.
    pub(crate) fn authenticate(
        &mut self,
        client: &Registration,
        endpoint: &TokenEndpoint,
        (incoming, params): (&Incoming, &Params),
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let by_key = endpoint.auth == ClientAuth::PrivateKeyJwt;
        let Some(assertion) = params.value("client_assertion") else {
            return match by_key {
                true => Err(Refusal::client("this service takes a signed assertion alone")),
                false => by_secret(client, endpoint, incoming, params),
            };
        };
        if self.service.client_keys.is_none() {
            return Err(Refusal::client("this service takes no client assertions"));
        }
        let one = !incoming.headers.iter().any(|(name, _)| name == "authorization")
            && params.value("client_secret").is_none();
        if !one || params.value("client_assertion_type") != Some(ASSERTION_TYPE) {
            return Err(Refusal::client("a client proves who it is in one way"));
        }
        self.check_assertion(client, assertion, now)
    }

    fn check_assertion(
        &mut self,
        client: &Registration,
        assertion: &str,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let refused = |why: &str| Refusal::client(why.to_owned());
        let inputs = self.all_inputs(&client.inputs);
        let audience = self.service.assertion_audience(client.context(&inputs)).ok().flatten();
        let parts: Vec<&str> = assertion.split('.').collect();
        let &[header, claims, signature] = parts.as_slice() else {
            return Err(refused("the assertion is no signed JWT"));
        };
        let (Some(header), Some(claims)) = (part::<Header>(header), part::<Claims>(claims)) else {
            return Err(refused("the assertion lacks what RFC 7523 §3 asks for"));
        };
        let signed = &assertion[..assertion.len() - signature.len() - 1];
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        if !client.secrets.iter().any(|key| verifies(key, header.alg, signed, &signature)) {
            return Err(refused("no registered key made this signature"));
        }
        if claims.iss != client.client_id || claims.sub != client.client_id {
            return Err(refused("iss and sub are the client's id"));
        }
        if Some(&claims.aud) != audience.as_ref() {
            return Err(refused("the assertion is for another server"));
        }
        let now_s = now.as_millis().div_euclid(1_000);
        let longest = i64::try_from(LIFE.as_secs()).unwrap_or(0) + SKEW_S;
        if claims.exp <= now_s || claims.exp > now_s + longest {
            return Err(refused("the assertion is over, or good for too long"));
        }
        self.assertions_seen.retain(|_, end| *end > now_s);
        match self.assertions_seen.insert(claims.jti, claims.exp) {
            None => Ok(()),
            Some(_) => Err(refused("this assertion was used before")),
        }
    }
}

fn part<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// Whether a registered text is a public key, and made this signature.
fn verifies(key: &str, by: Algorithm, signed: &str, signature: &[u8]) -> bool {
    let Ok(key) = pem::parse(key) else { return false };
    let algorithm: &'static dyn VerificationAlgorithm = match by {
        Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
        Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
    };
    let key = UnparsedPublicKey::new(algorithm, key.contents());
    key.verify(signed.as_bytes(), signature).is_ok()
}

/// Clocks may differ by so much.
const SKEW_S: i64 = 60;
