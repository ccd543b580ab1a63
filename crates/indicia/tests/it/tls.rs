//! Certificates and protocol versions: nothing of a request goes to who can't prove his name.

use indicia::transport::{HttpsTransport, Limits, TransportOptions};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::Instant;

use crate::hostile::{Act, Hostile, answer, answering};
use crate::support::{MUCH_LATER, SHORT, begins, patient, send_by};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn root(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    fn sign(&self, params: &CertificateParams) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        server(certificate.der().clone(), &key)
    }
}

fn server(certificate: CertificateDer<'static>, key: &KeyPair) -> ServerConfig {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap()
}

fn names(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn trusting(roots: Vec<CertificateDer<'static>>) -> HttpsTransport {
    limited(roots, patient())
}

fn limited(roots: Vec<CertificateDer<'static>>, limits: Limits) -> HttpsTransport {
    HttpsTransport::new(TransportOptions {
        extra_roots: roots,
        allow_private_addresses: true,
        limits,
    })
}

/// Sends to `localhost` and returns what came of it.
async fn send(transport: &HttpsTransport, server: &Hostile) -> String {
    send_by(transport, &format!("https://localhost:{}/token", server.address().port())).await
}

/// A server with this certificate is refused with these words, and saw no byte of the request.
async fn check_refused(config: ServerConfig, trusted: CertificateDer<'static>, why: &str) {
    let server = Hostile::start_tls(config, vec![answering(answer("200 OK", &[], "{}"))]);
    let got = send(&trusting(vec![trusted]), &server).await;
    begins(&got, "not sent: localhost:");
    assert!(got.ends_with(why), "{got}");
    assert_eq!((server.bytes().len(), server.requests().len()), (0, 0));
    assert_eq!(server.connections(), 1, "tried once");
}

// TR-12
#[tokio::test]
async fn tr_12_a_good_certificate_is_accepted_and_the_connection_kept() {
    let authority = Authority::new("authority");
    let twice = [answering(answer("200 OK", &[], "{}")), answering(answer("200 OK", &[], "{}"))];
    let server = Hostile::start_tls(authority.sign(&names(&["localhost"])), vec![twice.concat()]);
    let transport = trusting(vec![authority.root()]);
    for _ in 0..2 {
        assert_eq!(send(&transport, &server).await, "200 whole: {}");
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 2));
}

// TR-12
#[tokio::test]
async fn tr_12_an_address_may_be_named_in_a_certificate() {
    let authority = Authority::new("authority");
    let script = answering(answer("200 OK", &[], "{}"));
    let server = Hostile::start_tls(authority.sign(&names(&["127.0.0.1"])), vec![script]);
    let transport = trusting(vec![authority.root()]);
    let got = send_by(&transport, &format!("https://{}/token", server.address())).await;
    assert_eq!(got, "200 whole: {}");
}

// ST-3, TR-12, RV-2
#[tokio::test]
async fn st_3_tr_12_rv_2_self_signed_is_refused() {
    let key = KeyPair::generate().unwrap();
    let certificate = names(&["localhost"]).self_signed(&key).unwrap();
    let config = server(certificate.der().clone(), &key);
    let why = "its certificate is self-signed, or signed by nobody that is trusted here";
    check_refused(config, Authority::new("other").root(), why).await;
}

// TR-12
#[tokio::test]
async fn tr_12_an_authority_that_is_not_trusted_any_more_is_refused() {
    let removed = Authority::new("removed");
    let why = "its certificate is self-signed, or signed by nobody that is trusted here";
    for other in ["other", "removed"] {
        let config = removed.sign(&names(&["localhost"]));
        check_refused(config, Authority::new(other).root(), why).await;
    }
}

// TR-12
#[tokio::test]
async fn tr_12_another_host_is_refused() {
    let authority = Authority::new("authority");
    let config = authority.sign(&names(&["example.com", "localhost.example.com"]));
    check_refused(config, authority.root(), "its certificate is for another host").await;
}

// TR-12
#[tokio::test]
async fn tr_12_an_expired_certificate_is_refused() {
    let authority = Authority::new("authority");
    let mut params = names(&["localhost"]);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    check_refused(authority.sign(&params), authority.root(), "its certificate has expired").await;
    params.not_before = date_time_ymd(2090, 1, 1);
    params.not_after = date_time_ymd(2091, 1, 1);
    let why = "its certificate isn't valid yet (is this machine's clock right?)";
    check_refused(authority.sign(&params), authority.root(), why).await;
}

// TR-12
#[tokio::test]
async fn tr_12_a_common_name_alone_does_not_count() {
    let authority = Authority::new("authority");
    let mut params = names(&[]);
    params.distinguished_name.push(DnType::CommonName, "localhost");
    check_refused(authority.sign(&params), authority.root(), "its certificate is for another host")
        .await;
}

/// A server hello that chooses TLS 1.1 (or 1.0), as such a server would send it.
fn hello(minor: u8) -> Vec<u8> {
    let random = [7_u8; 32];
    let mut body = vec![3, minor];
    body.extend(random);
    body.extend([0, 0xc0, 0x13, 0]);
    let length = u8::try_from(body.len()).unwrap();
    let mut record = vec![0x16, 3, minor, 0, length + 4, 2, 0, 0, length];
    record.extend(body);
    record
}

// ST-11, TR-12
#[tokio::test]
async fn st_11_tr_12_tls_1_1_and_older_are_refused() {
    let alert = vec![0x15, 3, 1, 0, 2, 2, 70];
    for reply in [hello(2), hello(1), alert] {
        let script = vec![Act::ReadBytes(4096), Act::Write(reply), Act::Hang];
        let server = Hostile::start(vec![script]);
        let got = send(&trusting(Vec::new()), &server).await;
        begins(&got, "not sent: localhost:");
        assert!(got.ends_with("it offers no TLS 1.2 or newer that we can speak"), "{got}");
        assert!(!contains(&server.bytes(), b"grant_type"));
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_is_not_sent() {
    let nonsense = vec![Act::ReadBytes(64), Act::Write(b"HTTP/1.1 400 Bad\r\n\r\n".to_vec())];
    for script in [nonsense, vec![Act::Reset], vec![]] {
        let server = Hostile::start(vec![script]);
        begins(&send(&trusting(Vec::new()), &server).await, "not sent: ");
    }
}

// DV-17
#[tokio::test]
async fn dv_17_a_peer_that_stalls_the_handshake_is_not_sent() {
    let server = Hostile::start(vec![vec![Act::Hang]]);
    let transport = limited(Vec::new(), Limits { tls: SHORT, ..patient() });
    let started = Instant::now();
    let got = send(&transport, &server).await;
    assert!(got.ends_with(" didn't finish the TLS handshake in time"), "{got}");
    assert!(started.elapsed() < MUCH_LATER, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_stream_cut_below_tls_is_told_from_its_end() {
    // Without its own closing, TLS can't say that a body without a length is whole.
    let authority = Authority::new("authority");
    let body = b"HTTP/1.1 200 OK\r\n\r\n{\"access_token\":\"a\"}".to_vec();
    let server = Hostile::start_tls(authority.sign(&names(&["localhost"])), vec![answering(body)]);
    let got = send(&trusting(vec![authority.root()]), &server).await;
    assert_eq!(got, "200 cut: {\"access_token\":\"a\"}");
}
