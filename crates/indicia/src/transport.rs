//! The network: one request, once, over HTTPS (RFC 6749 §3.2, RFC 9700 §4.12).
//!
//! Nothing is sent again behind the caller's back and no redirect is followed. What would surprise:
//! a request is tried on a second connection only when not one of its bytes was given to the first
//! (an idle one that turned out to be closed); whether a byte was is not guessed but watched, right
//! below HTTP ([`link`]). And although only `identity` is asked for, a body that comes in gzip or
//! deflate is decoded, within the same limit ([`decode`]): nobody above need know codings.

mod connect;
mod decode;
mod guard;
mod link;
mod pool;
mod read_body;
mod target;
mod tls;

use std::time::Duration;

use async_trait::async_trait;
use hyper::body::Incoming;
use indicia_broker::ports::{Sent, Transport};
use indicia_oauth::{Answer, Method, Request};
use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use connect::Connector;
use link::Link;
use pool::{IDLE_AGE_MAX, Pool};
use target::{Outgoing, Target};
use tls::Tls;

pub use guard::{Forbidden, forbidden};
pub use read_body::BODY_BYTES_MAX;

/// Bytes of an answer's head at most.
pub const HEAD_BYTES_MAX: usize = link::HEAD_BYTES_MAX;

/// How long each part of a request may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Resolving the name and connecting to one of its addresses.
    pub connect: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// From the writing of the request to the end of the answer's head.
    pub head: Duration,
    /// Between two pieces of the answer's body.
    pub idle: Duration,
    /// All together.
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            tls: Duration::from_secs(10),
            head: Duration::from_secs(30),
            idle: Duration::from_secs(15),
            total: Duration::from_secs(60),
        }
    }
}

/// What [`HttpsTransport`] is made from.
#[derive(Clone, Debug, Default)]
pub struct TransportOptions {
    /// Trusted beside the roots of the web.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// `https` may go to private and loopback addresses: a service inside one's own network.
    pub allow_private_addresses: bool,
    /// Time limits.
    pub limits: Limits,
}

/// HTTP/1.1 over TLS 1.2 or newer; `http` to a literal loopback address alone (the sandbox, and
/// service files that say so: the catalogue decides which requests have such an address).
pub struct HttpsTransport {
    connector: Connector,
    pool: Pool,
    limits: Limits,
}

impl HttpsTransport {
    /// Reads and connects nothing yet.
    pub fn new(options: TransportOptions) -> Self {
        let TransportOptions { extra_roots, allow_private_addresses, limits } = options;
        let connector = Connector {
            tls: Tls::new(extra_roots),
            allow_private: allow_private_addresses,
            connect_max: limits.connect,
            tls_max: limits.tls,
        };
        Self { connector, pool: Pool::default(), limits }
    }

    /// Connects to the host of an address, TLS and all, and sends it nothing.
    ///
    /// # Errors
    /// Why it can't be reached, in words.
    pub async fn reach(&self, url: &str) -> Result<(), String> {
        let request = Request {
            method: Method::Get,
            url: Zeroizing::new(url.to_owned()),
            headers: Vec::new(),
            body: Zeroizing::default(),
        };
        let end = Instant::now() + self.limits.total;
        self.connector.connect(&Target::of(&request)?, end).await.map(drop)
    }

    async fn send_to(
        &self,
        target: &Target,
        request: &Outgoing,
        may_write: &(dyn Fn() -> bool + Sync),
    ) -> Sent {
        let end = Instant::now() + self.limits.total;
        while let Some(mut link) = self.pool.take(target) {
            if link.is_open().await
                && let Tried::Over(sent) =
                    self.exchange(link, target, request, may_write, end).await
            {
                return sent;
            }
        }
        let link = match self.connector.connect(target, end).await {
            Ok(stream) => Link::new(stream).await.map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        match link {
            Err(why) => Sent::NotSent(why),
            Ok(link) => match self.exchange(link, target, request, may_write, end).await {
                Tried::Over(sent) => sent,
                Tried::Untouched(why) => Sent::NotSent(why),
            },
        }
    }

    async fn exchange(
        &self,
        mut link: Link,
        target: &Target,
        request: &Outgoing,
        may_write: &(dyn Fn() -> bool + Sync),
        end: Instant,
    ) -> Tried {
        let request = request.to_http();
        let head_end = end.min(Instant::now() + self.limits.head);
        if !may_write() {
            self.pool.put(target.clone(), link, IDLE_AGE_MAX);
            let why = "the time for this request was over before it was written";
            return Tried::Over(Sent::NotSent(why.into()));
        }
        // Nothing may wait between the look at the deadline and this.
        let head = link.hand_over(request);
        let why = match timeout_at(head_end, link.drive(head)).await {
            Ok(Ok(response)) => return self.answer(link, target, response, end).await,
            Ok(Err(error)) => format!("{}: {}", target.authority(), words(&error)),
            Err(_) => format!("{} didn't answer in time", target.authority()),
        };
        match link.is_touched() {
            true => Tried::Over(Sent::MaybeSent(why)),
            false => Tried::Untouched(why),
        }
    }

    async fn answer(
        &self,
        mut link: Link,
        target: &Target,
        response: http::Response<Incoming>,
        end: Instant,
    ) -> Tried {
        let (head, body) = response.into_parts();
        let (body, complete) = read_body::read_body(&mut link, body, &self.limits, end).await;
        if complete && link.is_open().await {
            self.pool.put(target.clone(), link, keep_alive(&head.headers));
        }
        let headers = head.headers.iter();
        Tried::Over(Sent::Answer(decode::plain(Answer {
            status: head.status.as_u16(),
            headers: headers.map(|(n, v)| (n.as_str().to_owned(), text(v.as_bytes()))).collect(),
            body,
            complete,
        })))
    }
}

#[async_trait]
impl Transport for HttpsTransport {
    async fn send(&self, request: Request, may_write: &(dyn Fn() -> bool + Sync)) -> Sent {
        let ready = Target::of(&request)
            .and_then(|target| Outgoing::of(request, &target).map(|outgoing| (target, outgoing)));
        match ready {
            Ok((target, outgoing)) => self.send_to(&target, &outgoing, may_write).await,
            Err(why) => Sent::NotSent(why),
        }
    }
}

/// What came of one connection.
enum Tried {
    /// This is the result.
    Over(Sent),
    /// It failed, and not a byte of the request was given to it.
    Untouched(String),
}

/// How long the server says that it keeps the connection, less a second for the way there.
fn keep_alive(headers: &http::HeaderMap) -> Duration {
    let told = headers.get("keep-alive").and_then(|value| value.to_str().ok());
    let timeout = told.and_then(|value| {
        let parameter = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
        parameter.parse::<u64>().ok()
    });
    timeout.map_or(IDLE_AGE_MAX, |seconds| Duration::from_secs(seconds.saturating_sub(1)))
}

/// A header's value as text; bytes outside ASCII become `?`.
fn text(value: &[u8]) -> String {
    value.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '?' }).collect()
}

/// hyper's error without what it was about.
fn words(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        "it closed the connection without an answer".into()
    } else if error.is_parse_too_large() {
        "the head of its answer is too large".into()
    } else if error.is_parse() {
        "what it answered isn't HTTP".into()
    } else {
        let source = std::error::Error::source(error).map(ToString::to_string);
        source.unwrap_or_else(|| error.to_string())
    }
}
