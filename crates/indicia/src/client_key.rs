//! New private keys for clients that sign in place of sending a secret (RFC 7523).

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use indicia_broker::Error;
use indicia_oauth::ClientSecret;
use indicia_oauth::client_assertion::Algorithm;
use zeroize::Zeroizing;

/// Makes a key: P-256 for ES256, RSA of 2048 bits for RS256. As PKCS #8 in PEM, in the place where
/// a client's secret goes: [`Broker::add_client`](indicia_broker::Broker::add_client) tells its
/// public part. Takes up to a second for RSA.
///
/// # Errors
/// The operating system has no randomness.
pub fn generate(algorithm: Algorithm) -> Result<ClientSecret, Error> {
    let no_chance = |_| Error::Internal("no key can be made: there is no randomness".into());
    let der = Zeroizing::new(match algorithm {
        Algorithm::Es256 => {
            let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
            key.and_then(|key| key.to_pkcs8v1()).map_err(no_chance)?.as_ref().to_vec()
        }
        Algorithm::Rs256 => {
            let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(no_chance)?;
            let der: Pkcs8V1Der<'_> = key.as_der().map_err(no_chance)?;
            der.as_ref().to_vec()
        }
    });
    Ok(ClientSecret::new(pem::encode(&pem::Pem::new("PRIVATE KEY", der.to_vec()))))
}
