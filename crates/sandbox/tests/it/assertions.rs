//! Clients that sign (RFC 7523 §3): what a strict server refuses.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use indicia_catalog::read::read;
use indicia_catalog::{ClientKind, GrantType};
use indicia_oauth::client_assertion::{Algorithm, Claims, Unsigned};
use indicia_oauth::grant::client_credentials;
use indicia_oauth::{Answer, ClientAssertion, Credentials, Proof, Verdict};
use indicia_sandbox::Options;

use crate::driver::{Driver, refusal};

const FILE: &str = include_str!("../../../../docs/examples/own-server.toml");
const ISSUER: &str = "http://127.0.0.1:3000";

fn key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}

fn public(key: &EcdsaKeyPair) -> String {
    let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    pem::encode(&pem::Pem::new("PUBLIC KEY", der.as_ref()))
}

fn sign(key: &EcdsaKeyPair, algorithm: Algorithm, claims: Claims<'_>) -> ClientAssertion {
    let unsigned = Unsigned::new(algorithm, "k", claims);
    let signature = key.sign(&SystemRandom::new(), unsigned.as_bytes()).unwrap();
    unsigned.signed(signature.as_ref())
}

fn mint(driver: &mut Driver, assertion: &ClientAssertion) -> Answer {
    let grant = GrantType::ClientCredentials;
    let endpoint = driver.service.token_endpoint(grant, driver.context()).unwrap().unwrap();
    let proof = Proof::Assertion(assertion);
    let credentials = Credentials { client_id: "app", proof };
    let scopes = ["campaigns:read".to_owned()];
    let request = client_credentials::request(&endpoint, &credentials, &scopes, " ").unwrap();
    driver.send(&request)
}

// CA-9, CA-10, CA-12
#[test]
fn ca_9_ca_10_ca_12_each_claim_counts_and_an_assertion_works_once() {
    let service = Arc::new(read("own-server.toml", FILE).unwrap());
    let mut driver = Driver::new(service, ClientKind::Confidential, Options::default());
    let (ours, theirs) = (key(), key());
    assert!(driver.model.set_secrets("app", vec![public(&ours)]));
    let right = Claims { client_id: "app", audience: ISSUER, id: "1", issued_at: driver.now };
    let es = Algorithm::Es256;
    let first = sign(&ours, es, right);
    assert_eq!(mint(&mut driver, &first).status, 200);
    let with = |change: fn(&mut Claims<'static>)| {
        let mut claims = Claims { client_id: "app", audience: ISSUER, id: "2", ..right };
        change(&mut claims);
        claims
    };
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let late = Claims { issued_at: driver.now.minus(minutes(6)), id: "3", ..right };
    let long = Claims { issued_at: driver.now.plus(minutes(6)), id: "4", ..right };
    let wrong = [
        ("used before", first),
        ("another key", sign(&theirs, es, with(|_| {}))),
        ("another algorithm", sign(&ours, Algorithm::Rs256, with(|_| {}))),
        ("another client", sign(&ours, es, with(|claims| claims.client_id = "other"))),
        ("another server", sign(&ours, es, with(|claims| claims.audience = "https://b.example"))),
        ("over", sign(&ours, es, late)),
        ("good for too long", sign(&ours, es, long)),
        ("no JWT", ClientAssertion::new("a.b")),
        ("nothing in it", ClientAssertion::new("..")),
    ];
    for (name, assertion) in wrong {
        let answer = mint(&mut driver, &assertion);
        let refusal = refusal(&driver.service, &answer, driver.now);
        assert_eq!(refusal.verdict, Verdict::ClientRefused, "{name}");
    }
    let next = sign(&ours, es, with(|claims| claims.id = "5"));
    assert_eq!(mint(&mut driver, &next).status, 200, "nothing above cost anything");
}
