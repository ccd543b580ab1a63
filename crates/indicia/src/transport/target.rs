//! Where a request goes, and what is written there, from a [`Request`] as data.
//!
//! What would surprise: the URL is parsed only to be judged; path and query go out byte for byte as
//! they were given, since an endpoint's own query must be kept (RFC 6749 §3.2).

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use http_body_util::Full;
use indicia_oauth::Request;
use url::{Host, Url};

/// Scheme, host and port: what an idle connection is kept for.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// https, or http on loopback.
    pub(super) tls: bool,
    /// Name or literal address.
    pub(super) host: Host<String>,
    /// Port.
    pub(super) port: u16,
}

impl Target {
    /// Judges a URL: https anywhere, http to a literal loopback address alone. Error: in words,
    /// without the query.
    pub(super) fn of(request: &Request) -> Result<Self, String> {
        let shown = || request.shown_url();
        let url = Url::parse(&request.url).map_err(|error| format!("{}: {error}", shown()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a user name in an address is not sent".into());
        }
        let host = url.host().ok_or_else(|| format!("{} names no host", shown()))?.to_owned();
        let loopback = match &host {
            Host::Ipv4(v4) => v4.is_loopback(),
            Host::Ipv6(v6) => v6.is_loopback(),
            Host::Domain(_) => false,
        };
        let tls = match url.scheme() {
            "https" => true,
            "http" if loopback => false,
            _ => {
                return Err(format!("{}: only https is called, or http on 127.0.0.1", shown()));
            }
        };
        let port = url.port_or_known_default().unwrap_or(443);
        Ok(Self { tls, host, port })
    }

    /// As the `Host` header has it, and as errors name it.
    pub(super) fn authority(&self) -> String {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => self.host.to_string(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

/// A request ready to be written; its body's memory is wiped with the last copy.
#[derive(Clone)]
pub(super) struct Outgoing {
    method: Method,
    path: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Outgoing {
    /// Error: in words, naming no value.
    pub(super) fn of(request: Request, target: &Target) -> Result<Self, String> {
        let path = path_and_query(&request.url)
            .parse()
            .map_err(|_| format!("{} has a character that can't be sent", request.shown_url()))?;
        let mut headers = HeaderMap::new();
        let host = HeaderValue::try_from(target.authority());
        headers.insert(HOST, host.map_err(|_| "the host can't be sent".to_owned())?);
        for (name, value) in &request.headers {
            let broken = || format!("the header {name:?} can't be sent");
            let header = HeaderName::try_from(name.as_str()).map_err(|_| broken())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| broken())?;
            value.set_sensitive(true);
            // What frames the message is said by who writes it.
            if header != HOST && header != CONTENT_LENGTH {
                headers.append(header, value);
            }
        }
        let method = match request.method {
            indicia_oauth::Method::Get => Method::GET,
            indicia_oauth::Method::Post => Method::POST,
            indicia_oauth::Method::Delete => Method::DELETE,
        };
        if method == Method::POST || !request.body.is_empty() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(request.body.len()));
        }
        Ok(Self { method, path, headers, body: Bytes::from_owner(request.body) })
    }

    /// One copy to hand to a connection.
    pub(super) fn to_http(&self) -> http::Request<Full<Bytes>> {
        let mut out = http::Request::new(Full::new(self.body.clone()));
        *out.method_mut() = self.method.clone();
        *out.uri_mut() = self.path.clone();
        *out.headers_mut() = self.headers.clone();
        out
    }
}

/// What follows the host, untouched.
fn path_and_query(url: &str) -> String {
    let after_scheme = url.split_once("://").map_or("", |(_, rest)| rest);
    let at = after_scheme.find(['/', '?', '#']).unwrap_or(after_scheme.len());
    let path = after_scheme[at..].split('#').next().unwrap_or_default();
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}
