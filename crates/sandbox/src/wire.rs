//! Requests as they arrive, their parameters, and answers: plain data on both sides.
//!
//! A request that was rewritten to the sandbox's address (`http://127.0.0.1:PORT/HOST/PATH`) is
//! read back into the one that was meant (`https://HOST/PATH`), so that the model sees service
//! addresses only.

use indicia_oauth::{Answer, BodyCodec, Request};
use serde_json::Value;
use zeroize::Zeroizing;

/// A request, as the service would see it. It carries secrets, so it does not print.
pub struct Incoming {
    /// `GET`, `POST`, …
    pub method: String,
    /// Host, with its port where the service's address has one; in lower case.
    pub host: String,
    /// Path, as it was written.
    pub path: String,
    /// Query without `?`; empty when there is none.
    pub query: String,
    /// Header names in lower case, values.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Incoming {
    /// Reads a request as the protocol crate builds it, rewritten to the sandbox's address or not.
    pub fn from_request(request: &Request) -> Self {
        let mut incoming = Self::get(&request.url).unwrap_or_else(|| Self::empty("GET"));
        incoming.method = request.method.as_str().to_owned();
        incoming.headers =
            request.headers.iter().map(|(n, v)| (n.to_ascii_lowercase(), v.to_string())).collect();
        incoming.body = request.body.to_vec();
        incoming
    }

    /// A GET of an absolute URL, rewritten or not; `None` when it is no URL with a host.
    pub fn get(url: &str) -> Option<Self> {
        let url = url::Url::parse(url).ok()?;
        let mut host = url.host_str()?.to_ascii_lowercase();
        if let Some(port) = url.port() {
            host = format!("{host}:{port}");
        }
        let mut incoming = Self::empty("GET");
        incoming.path = url.path().to_owned();
        incoming.query = url.query().unwrap_or_default().to_owned();
        incoming.host = host;
        if url.scheme() == "http" {
            incoming.read_back();
        }
        Some(incoming)
    }

    /// Takes `HOST` out of a path `/HOST/PATH`, when the path has that form.
    pub fn read_back(&mut self) {
        if let Some((host, path)) = split_rewritten(&self.path) {
            self.host = host;
            self.path = path;
        }
    }

    fn empty(method: &str) -> Self {
        Self {
            method: method.to_owned(),
            host: String::new(),
            path: "/".to_owned(),
            query: String::new(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// First value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The media type without its parameters, in lower case.
    pub(crate) fn media_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }
}

/// `/HOST/PATH` → host and path. A host has a dot or a port, and does not begin with a dot.
fn split_rewritten(path: &str) -> Option<(String, String)> {
    let rest = path.strip_prefix('/')?;
    let (host, tail) = rest.split_once('/').map_or((rest, ""), |(h, t)| (h, t));
    let looks_like_host = !host.starts_with('.') && host.contains(['.', ':']);
    looks_like_host.then(|| (host.to_ascii_lowercase(), format!("/{tail}")))
}

/// Named parameters in the order in which they came.
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Of a query string.
    pub fn of_query(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// Of a token, revocation or introspection request, in the codec that the endpoint wants.
    /// Another one is refused, as a strict service does.
    pub fn of_request(incoming: &Incoming, codec: BodyCodec) -> Result<Self, &'static str> {
        match codec {
            BodyCodec::Query => Ok(Self::of_query(&incoming.query)),
            BodyCodec::Form if incoming.media_type() == "application/x-www-form-urlencoded" => {
                Ok(Self(form_urlencoded::parse(&incoming.body).into_owned().collect()))
            }
            BodyCodec::Form => Err("the body must be a form"),
            BodyCodec::Json if incoming.media_type() == "application/json" => {
                Self::of_json(&incoming.body)
            }
            BodyCodec::Json => Err("the body must be JSON"),
        }
    }

    fn of_json(body: &[u8]) -> Result<Self, &'static str> {
        let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
            return Err("the body must be a JSON object");
        };
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Ok(Self(members.into_iter().map(|(name, value)| (name, text(value))).collect()))
    }

    /// From wherever they may be, to find out who is speaking before the strict look.
    pub fn anywhere(incoming: &Incoming) -> Self {
        let mut all = Self::of_query(&incoming.query).0;
        match Self::of_json(&incoming.body) {
            Ok(json) => all.extend(json.0),
            Err(_) => all.extend(form_urlencoded::parse(&incoming.body).into_owned()),
        }
        Self(all)
    }

    /// The value; empty counts as missing (RFC 6749 §3.2).
    pub fn value(&self, name: &str) -> Option<&str> {
        self.raw(name).filter(|v| !v.is_empty())
    }

    /// The value, empty or not.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A name that came twice (RFC 6749 §3.1), if one did.
    pub fn twice(&self) -> Option<&str> {
        let earlier = |i: usize| self.0.iter().take(i).any(|(n, _)| *n == self.0[i].0);
        (0..self.0.len()).find(|&i| earlier(i)).map(|i| self.0[i].0.as_str())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &(String, String)> {
        self.0.iter()
    }
}

/// An answer with a body of the given media type, which no cache may keep (RFC 6749 §5.1).
pub(crate) fn answer(status: u16, media_type: &str, body: impl Into<Vec<u8>>) -> Answer {
    Answer {
        status,
        headers: vec![
            ("content-type".to_owned(), media_type.to_owned()),
            ("cache-control".to_owned(), "no-store".to_owned()),
        ],
        body: Zeroizing::new(body.into()),
        complete: true,
    }
}

/// A JSON answer.
pub(crate) fn json(status: u16, body: &Value) -> Answer {
    answer(status, "application/json;charset=UTF-8", body.to_string())
}

/// A page that may load nothing from anywhere.
pub(crate) fn page(status: u16, html: String) -> Answer {
    let mut page = answer(status, "text/html; charset=utf-8", html);
    let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'";
    page.headers.push(("content-security-policy".to_owned(), policy.to_owned()));
    page.headers.push(("referrer-policy".to_owned(), "no-referrer".to_owned()));
    page
}

/// A redirect of the browser.
pub(crate) fn redirect(location: &str) -> Answer {
    let mut answer = answer(302, "text/plain; charset=utf-8", "");
    answer.headers.push(("location".to_owned(), location.to_owned()));
    answer
}
