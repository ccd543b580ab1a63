//! TLS 1.2 or newer, with the certificate checked against the host's name, its chain and its time
//! (RFC 6749 §10.9, RFC 9325).
//!
//! What would surprise: the roots are read when the first https request is made, not before, so
//! that a command which only reads a token doesn't pay for them.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::{CertificateDer, IpAddr, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

/// Makes TLS connections.
pub(super) struct Tls {
    extra_roots: Vec<CertificateDer<'static>>,
    config: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Tls {
    /// The roots of the web, and these.
    pub(super) fn new(extra_roots: Vec<CertificateDer<'static>>) -> Self {
        Self { extra_roots, config: OnceLock::new() }
    }

    /// Shakes hands. Error: in words.
    pub(super) async fn connect(
        &self,
        host: &Host<String>,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, String> {
        let name = match host {
            Host::Domain(name) => ServerName::try_from(name.clone())
                .map_err(|_| format!("{name} can't be the name in a certificate"))?,
            Host::Ipv4(v4) => ServerName::IpAddress(IpAddr::from(std::net::IpAddr::V4(*v4))),
            Host::Ipv6(v6) => ServerName::IpAddress(IpAddr::from(std::net::IpAddr::V6(*v6))),
        };
        let config = self.config.get_or_init(|| self.configure()).clone()?;
        TlsConnector::from(config).connect(name, stream).await.map_err(|error| words(&error))
    }

    fn configure(&self) -> Result<Arc<ClientConfig>, String> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for root in &self.extra_roots {
            let problem = |error| format!("an extra root certificate can't be used: {error}");
            roots.add(root.clone()).map_err(problem)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// What went wrong, so that a person knows whom to ask.
fn words(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(certificate)) => certificate_words(certificate),
        Some(Error::PeerIncompatible(_))
        | Some(Error::AlertReceived(
            AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure,
        )) => "it offers no TLS 1.2 or newer that we can speak".into(),
        Some(Error::InvalidMessage(_)) => "what answers there doesn't speak TLS".into(),
        Some(tls) => format!("TLS failed: {tls}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "it closed the connection during the TLS handshake".into()
        }
        None => format!("TLS failed: {error}"),
    }
}

fn certificate_words(certificate: &CertificateError) -> String {
    match certificate {
        // The latter: signed by a namesake of somebody trusted.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is self-signed, or signed by nobody that is trusted here".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another host".into()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate isn't valid yet (is this machine's clock right?)".into()
        }
        other => format!("its certificate can't be accepted: {other}"),
    }
}
