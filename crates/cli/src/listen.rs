//! The loopback listener that catches one flow's callback (RFC 8252 §7.3, §8.3, App. B).
//!
//! Any web page and any program on this machine can reach it: so it takes GET on the exact path
//! with the exact `Host` and nothing else, and what it can't place doesn't end the flow. An answer
//! in a fragment (the implicit flow) is seen by no server: a page takes it out of the address and
//! posts it back, which is taken from that page's own `Origin` alone. Surprise: after an answer it
//! waits for the browser to close first. The port is bound without
//! `SO_REUSEADDR`, so a connection that we closed would keep the next `connect` from it for a
//! minute.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use url::Url;
use zeroize::Zeroizing;

/// Why nothing can be caught here, so that the address is pasted back.
#[derive(Debug)]
pub enum CannotListen {
    /// The redirect URI isn't `http` on loopback.
    NotLoopback,
    /// Another program has the port.
    PortTaken(u16),
    /// The machine said no.
    Refused(io::Error),
}

/// A callback, and where to say what became of it. The URL holds a code: it doesn't print.
pub struct Arrived {
    /// The whole URL that the browser landed on.
    pub url: Zeroizing<String>,
    /// What the browser shows.
    pub reply: oneshot::Sender<Shown>,
}

/// What the browser shows at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// It worked.
    Connected,
    /// It didn't; the terminal tells why.
    NotConnected,
    /// This answer belongs to no flow that waits here.
    NotOurs,
}

/// Where in the address the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerIn {
    /// In its query.
    Query,
    /// In its fragment.
    Fragment,
}

/// Waits for one flow's callback.
pub struct Listener {
    sockets: Vec<TcpListener>,
    gate: Arc<Gate>,
    arrived: mpsc::Receiver<Arrived>,
    connections: JoinSet<()>,
    /// The same ones, oldest first.
    open: VecDeque<Open>,
}

/// A connection, and whether a request has come on it.
struct Open {
    task: AbortHandle,
    has_asked: Arc<AtomicBool>,
}

/// What a request must be like, and where it goes.
struct Gate {
    authority: String,
    path: String,
    answer: AnswerIn,
    arrivals: mpsc::Sender<Arrived>,
}

/// What a redirect URI asks for.
struct Door {
    addresses: Vec<IpAddr>,
    port: u16,
    authority: String,
    path: String,
}

impl Door {
    /// `None`: it isn't `http` on loopback.
    fn of(redirect_uri: &str) -> Option<Self> {
        let url = Url::parse(redirect_uri).ok().filter(|url| url.scheme() == "http")?;
        let both: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let addresses = match url.host()? {
            url::Host::Ipv4(ip) if ip == Ipv4Addr::LOCALHOST => vec![ip.into()],
            url::Host::Ipv6(ip) if ip == Ipv6Addr::LOCALHOST => vec![ip.into()],
            url::Host::Domain("localhost") => both.to_vec(),
            _ => return None,
        };
        let host = url.host_str()?;
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let port = url.port_or_known_default().unwrap_or(80);
        Some(Self { addresses, port, authority, path: url.path().to_owned() })
    }

    fn gate(self, answer: AnswerIn, arrivals: mpsc::Sender<Arrived>) -> Gate {
        Gate { authority: self.authority, path: self.path, answer, arrivals }
    }
}

impl Listener {
    /// Binds the redirect URI's port on loopback: on `127.0.0.1` or `[::1]` as it says, on both
    /// where it says `localhost`, of which one may be missing on this machine.
    pub fn open(redirect_uri: &str, answer: AnswerIn) -> Result<Self, CannotListen> {
        let door = Door::of(redirect_uri).ok_or(CannotListen::NotLoopback)?;
        let sockets = bind_all(&door.addresses, door.port)?;
        let (arrivals, arrived) = mpsc::channel(ARRIVALS_MAX);
        let gate = Arc::new(door.gate(answer, arrivals));
        Ok(Self { sockets, gate, arrived, connections: JoinSet::new(), open: VecDeque::new() })
    }

    /// The next callback. Requests of any other kind are answered in passing.
    pub async fn next(&mut self) -> Arrived {
        loop {
            let accepted = std::future::poll_fn(|context| {
                let mut ready = self.sockets.iter().map(|socket| socket.poll_accept(context));
                ready.find(Poll::is_ready).unwrap_or(Poll::Pending)
            });
            tokio::select! {
                biased;
                Some(arrived) = self.arrived.recv() => return arrived,
                Some(_) = self.connections.join_next(), if !self.connections.is_empty() => {}
                Ok((stream, _)) = accepted => {
                    self.take(stream);
                }
                // A failed accept (out of descriptors) passes; a busy loop would not help it.
                else => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    /// Serves a connection. Where there are many already, the oldest that has asked for nothing
    /// goes: who holds connections open in silence must not keep the browser out.
    fn take(&mut self, stream: TcpStream) {
        self.open.retain(|open| !open.task.is_finished());
        if self.open.len() >= CONNECTIONS_MAX {
            let silent = self.open.iter().position(|o| !o.has_asked.load(Ordering::Relaxed));
            let Some(open) = silent.and_then(|at| self.open.remove(at)) else { return };
            open.task.abort();
        }
        let has_asked = Arc::new(AtomicBool::new(false));
        let serving = serve(stream, Arc::clone(&self.gate), Arc::clone(&has_asked));
        self.open.push_back(Open { task: self.connections.spawn(serving), has_asked });
    }

    /// Closes the port at once, then lets the answers under way arrive.
    pub async fn close(mut self) {
        self.sockets.clear();
        let answers = async { while self.connections.join_next().await.is_some() {} };
        // A browser's idle connections end with us; only answers are worth the wait.
        let _ = tokio::time::timeout(CLOSE_MAX, answers).await;
    }
}

fn bind_all(addresses: &[IpAddr], port: u16) -> Result<Vec<TcpListener>, CannotListen> {
    let mut sockets = Vec::new();
    let mut missing = None;
    for address in addresses {
        match bind(SocketAddr::new(*address, port)) {
            Ok(socket) => sockets.push(socket),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(CannotListen::PortTaken(port));
            }
            // One of the two families may be switched off on this machine.
            Err(error) => missing = Some(error),
        }
    }
    match (sockets.is_empty(), missing) {
        (true, Some(error)) => Err(CannotListen::Refused(error)),
        _ => Ok(sockets),
    }
}

/// Binds without `SO_REUSEADDR`, which `std` would set: on Linux it would let another program bind
/// beside us (RFC 8252 App. B.5).
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn serve(stream: TcpStream, gate: Arc<Gate>, has_asked: Arc<AtomicBool>) {
    let Some(mut stream) = converse(stream, gate, has_asked).await else { return };
    let closed = async {
        let mut rest = [0_u8; 512];
        while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {}
    };
    if tokio::time::timeout(PEER_CLOSE_MAX, closed).await.is_err() {
        // The answer is long there (loopback); a reset leaves no TIME_WAIT on the port.
        let _ = stream.set_zero_linger();
    }
}

/// Answers one request; `None`: what came was none.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    gate: Arc<Gate>,
    has_asked: Arc<AtomicBool>,
) -> Option<S> {
    let service = service_fn(move |request| {
        has_asked.store(true, Ordering::Relaxed);
        answer(Arc::clone(&gate), request)
    });
    let served = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .without_shutdown()
        .await;
    Some(served.ok()?.io.into_inner())
}

async fn answer(
    gate: Arc<Gate>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let came = match verdict(&gate, &request) {
        Ok(came) => came,
        Err((status, text)) => return Ok(page(status, text)),
    };
    Ok(match came {
        Came::Answer(url) => {
            let (status, text) = arrive(&gate, url).await;
            page(status, text)
        }
        Came::Opened => hand_over(),
        Came::HandedOver => {
            let body = Limited::new(request.into_body(), FRAGMENT_BYTES_MAX).collect();
            let body = match tokio::time::timeout(HEAD_WAIT_MAX, body).await {
                Ok(Ok(body)) => Zeroizing::new(body.to_bytes().to_vec()),
                _ => return Ok(page(StatusCode::BAD_REQUEST, NOT_OURS)),
            };
            let Ok(fragment) = std::str::from_utf8(&body) else {
                return Ok(page(StatusCode::BAD_REQUEST, NOT_OURS));
            };
            let url = format!("http://{}{}#{fragment}", gate.authority, gate.path);
            let (status, text) = arrive(&gate, Zeroizing::new(url)).await;
            plain(status, text)
        }
    })
}

/// Hands an answer on, and waits for what became of it.
async fn arrive(gate: &Gate, url: Zeroizing<String>) -> (StatusCode, &'static str) {
    let (reply, replied) = oneshot::channel();
    let shown = match gate.arrivals.send(Arrived { url, reply }).await {
        Ok(()) => replied.await.unwrap_or(Shown::NotConnected),
        Err(_) => Shown::NotOurs,
    };
    match shown {
        Shown::Connected => (StatusCode::OK, CONNECTED),
        Shown::NotConnected => (StatusCode::OK, NOT_CONNECTED),
        Shown::NotOurs => (StatusCode::BAD_REQUEST, NOT_OURS),
    }
}

/// What came. Outside of tests it doesn't print: it holds a code or a token.
#[cfg_attr(test, derive(Debug))]
#[derive(PartialEq, Eq)]
enum Came {
    /// An answer, as the address that the browser landed on.
    Answer(Zeroizing<String>),
    /// The browser, with an answer that only its own page can see.
    Opened,
    /// That page, with the answer in its body.
    HandedOver,
}

/// What a request is: the callback, or something to be refused.
fn verdict<B>(gate: &Gate, request: &Request<B>) -> Result<Came, (StatusCode, &'static str)> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    let named = request.uri().authority().map_or(host, |authority| Some(authority.as_str()));
    let ours = |name: Option<&str>| name.is_some_and(|n| n.eq_ignore_ascii_case(&gate.authority));
    // A page elsewhere whose name was made to point here (DNS rebinding) shows by its name.
    if !ours(host) || !ours(named) || hosts.next().is_some() {
        return Err((StatusCode::BAD_REQUEST, WRONG_HOST));
    }
    if request.uri().path() != gate.path {
        return Err((StatusCode::NOT_FOUND, NOT_HERE));
    }
    let in_fragment = gate.answer == AnswerIn::Fragment;
    match (request.method(), request.uri().query()) {
        (&Method::GET, None) if in_fragment => Ok(Came::Opened),
        (&Method::GET, query) => {
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            let url = format!("http://{}{}{query}", gate.authority, gate.path);
            Ok(Came::Answer(Zeroizing::new(url)))
        }
        (&Method::POST, None) if in_fragment => {
            let mut origins = request.headers().get_all(header::ORIGIN).iter();
            let own = format!("http://{}", gate.authority);
            let from_us = origins.next().is_some_and(|origin| origin.as_bytes() == own.as_bytes());
            match from_us && origins.next().is_none() {
                true => Ok(Came::HandedOver),
                false => Err((StatusCode::FORBIDDEN, NOT_OURS)),
            }
        }
        _ => Err((StatusCode::METHOD_NOT_ALLOWED, NOT_HERE)),
    }
}

/// The page that takes the answer out of the address before anything else, and posts it back.
fn hand_over() -> Response<Full<Bytes>> {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <script>{HAND_OVER}</script>\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Indicia</title>\n</head>\n\
         <body>\n<main>\n<h1 id=\"said\">Handing the answer over</h1>\n<noscript><p>This page needs \
         scripts for that. Or stop the command, start it with --no-browser, and paste the address \
         into the terminal.</p></noscript>\n<p>You can close this window then and go back to the \
         terminal.</p>\n</main>\n</body>\n</html>\n"
    );
    with_script((StatusCode::OK, html), HAND_OVER, "connect-src 'self'; ")
}

/// A page with one script and no other, by the hash of its text.
fn with_script(
    (status, html): (StatusCode, String),
    script: &str,
    more: &str,
) -> Response<Full<Bytes>> {
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(script));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{hash}'; {more}base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    let mut response = with_headers(status, html);
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// What the page shows then, as text.
fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = with_headers(status, text.to_owned());
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn page(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <script>{WIPE}</script>\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Indicia</title>\n</head>\n\
         <body>\n<main>\n<h1>{text}</h1>\n<p>You can close this window and go back to the \
         terminal.</p>\n</main>\n</body>\n</html>\n"
    );
    let mut response = with_script((status, html), WIPE, "");
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

fn with_headers(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    for (name, value) in HEADERS {
        response.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    response
}

/// For the fuzzer: all that a listener for this redirect URI answers to a peer who says this, waits
/// and hangs up, and the addresses that it handed on. `None`: it doesn't listen there.
pub(crate) async fn heard(
    redirect_uri: &str,
    answer: AnswerIn,
    said: &[u8],
) -> Option<(Vec<u8>, Vec<Zeroizing<String>>)> {
    let (arrivals, mut arrived) = mpsc::channel(ARRIVALS_MAX);
    let gate = Arc::new(Door::of(redirect_uri)?.gate(answer, arrivals));
    let (mut ours, theirs) = tokio::io::duplex(HEAD_BYTES_MAX.max(said.len()));
    ours.write_all(said).await.ok()?;
    let (mut answers, mut urls) = (Vec::new(), Vec::new());
    let caught = async {
        while let Some(Arrived { url, reply }) = arrived.recv().await {
            urls.push(url);
            let _ = reply.send(Shown::Connected);
        }
    };
    let peer = async {
        // Who hangs up at once gets no answer.
        let _ = tokio::time::timeout(2 * HEAD_WAIT_MAX, ours.read_to_end(&mut answers)).await;
        let _ = ours.shutdown().await;
        let _ = ours.read_to_end(&mut answers).await;
    };
    // Its side is dropped as soon as it is done.
    let listener = async { drop(converse(theirs, gate, Arc::default()).await) };
    tokio::join!(peer, listener, caught);
    Some((answers, urls))
}

const HEADERS: &[(&str, &str)] = &[
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    (
        "content-security-policy",
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
];
/// Takes the code out of the address and of the history (RFC 9700 §4.2.4).
const WIPE: &str = "history.replaceState(null, '', location.pathname);";
/// Takes the answer out of the address and of the history, then hands it over.
const HAND_OVER: &str = "\
'use strict';
const answer = location.hash.slice(1);
history.replaceState(null, '', location.pathname);
addEventListener('DOMContentLoaded', () => {
  const said = document.getElementById('said');
  const say = (text) => { said.textContent = text; };
  if (!answer) { say('No answer came with this address'); return; }
  fetch(location.pathname, {
    method: 'POST', body: answer, credentials: 'omit', cache: 'no-store', redirect: 'error',
    referrerPolicy: 'no-referrer', headers: { 'content-type': 'text/plain' },
  }).then((reply) => reply.text()).then(say, () => say('The command does not wait any more'));
});
";
const CONNECTED: &str = "Connected";
const NOT_CONNECTED: &str = "Not connected: the terminal tells why";
const NOT_OURS: &str = "This answer belongs to no connection that is being made here";
const WRONG_HOST: &str = "This is not the host that you asked for";
const NOT_HERE: &str = "There is nothing here";
/// Callbacks that wait to be looked at.
const ARRIVALS_MAX: usize = 4;
/// Connections at once: a browser opens a few ahead of need.
const CONNECTIONS_MAX: usize = 32;
const BACKLOG: u32 = 32;
const FRAGMENT_BYTES_MAX: usize = 64 * 1024;
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEAD_WAIT_MAX: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For how long the browser may take to close after our answer.
const PEER_CLOSE_MAX: Duration = Duration::from_millis(500);
const CLOSE_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gate(answer: AnswerIn) -> Gate {
        let (arrivals, _) = mpsc::channel(1);
        let (authority, path) = ("127.0.0.1:8917".to_owned(), "/oauth/callback/c".to_owned());
        Gate { authority, path, answer, arrivals }
    }

    /// Mostly what is right, else anything.
    fn mostly(right: &'static str, else_: &'static str) -> impl Strategy<Value = String> {
        prop_oneof![3 => Just(right.to_owned()), 1 => else_]
    }

    proptest! {
        /// Whatever comes: it is the callback exactly if method, path and the one name are ours,
        /// and what is handed on begins with our own address.
        #[test]
        fn only_what_our_path_and_name_ask_for_is_the_callback(
            method in mostly("GET", "GE|POST|PUT|HEAD|OPTIONS|get"),
            path in mostly("/oauth/callback/c", "/[a-z/.%]{0,20}"),
            query in "(\\?[a-zA-Z0-9=&%._~+-]{0,40})?",
            hosts in proptest::collection::vec(
                mostly("127.0.0.1:8917", "[a-z0-9.:]{1,20}"), 0..3),
            absolute in proptest::option::of(mostly("127.0.0.1:8917", "[a-z]{1,8}\\.test")),
            origins in proptest::collection::vec(
                mostly("http://127.0.0.1:8917", "null|https?://[a-z0-9.:]{1,20}"), 0..3),
            in_fragment in any::<bool>(),
        ) {
            let origin = absolute.as_ref().map(|host| format!("http://{host}")).unwrap_or_default();
            let mut request = Request::builder();
            request = request.method(method.as_str()).uri(format!("{origin}{path}{query}"));
            for host in &hosts {
                request = request.header(header::HOST, host);
            }
            for origin in &origins {
                request = request.header(header::ORIGIN, origin);
            }
            let Ok(request) = request.body(()) else { return Ok(()) };
            let gate = gate(if in_fragment { AnswerIn::Fragment } else { AnswerIn::Query });
            let here = path == gate.path
                && hosts == [gate.authority.clone()]
                && absolute.is_none_or(|host| host == gate.authority);
            let bare = query.is_empty();
            let ours = here
                && match method.as_str() {
                    "GET" => true,
                    "POST" => {
                        in_fragment && bare && origins == [format!("http://{}", gate.authority)]
                    }
                    _ => false,
                };
            match verdict(&gate, &request) {
                Ok(came) => {
                    prop_assert!(ours);
                    let url = format!("http://{}{}{query}", gate.authority, gate.path);
                    let expected = match (method.as_str(), in_fragment && bare) {
                        ("POST", _) => Came::HandedOver,
                        (_, true) => Came::Opened,
                        (_, false) => Came::Answer(Zeroizing::new(url)),
                    };
                    prop_assert_eq!(came, expected);
                }
                Err((status, _)) => {
                    prop_assert!(!ours);
                    prop_assert!(status.is_client_error());
                }
            }
        }
    }
}
