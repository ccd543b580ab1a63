//! A request as data. It carries secrets, so it does not print; the transport turns it into bytes.

use zeroize::Zeroizing;

/// HTTP methods that a client of these endpoints needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET: probes, discovery, metadata, and the token endpoints that want it so.
    Get,
    /// POST: token, revocation, introspection (RFC 6749 §3.2).
    Post,
    /// DELETE: a few services' revocation.
    Delete,
}

impl Method {
    /// As written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// One HTTP request. Does not implement `Debug`: URL, headers and body may all hold secrets.
pub struct Request {
    /// Method.
    pub method: Method,
    /// Absolute URL, query included.
    pub url: Zeroizing<String>,
    /// Header names in lower case, values.
    pub headers: Vec<(String, Zeroizing<String>)>,
    /// Body; empty when there is none.
    pub body: Zeroizing<Vec<u8>>,
}

impl Request {
    /// First value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// What may be shown of the address: scheme, host, port and path; never the query.
    pub fn shown_url(&self) -> String {
        self.url.split(['?', '#']).next().unwrap_or_default().to_owned()
    }
}
