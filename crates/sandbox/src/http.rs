//! The simulated services over real HTTP, on this machine only.
//!
//! `https://HOST/PATH` is served at `http://127.0.0.1:PORT/HOST/PATH`. Models and faults are behind
//! plain mutexes that are never held across an await; the one real clock of this crate is here.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming as HyperBody;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use indicia_catalog::Service;
use indicia_oauth::{Answer, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::control;
use crate::faults::{Decision, Fault, Faults, Kind};
use crate::model::{Model, Options};
use crate::pace::Paced;
use crate::wire::{self, Incoming};

/// Bytes of a request's body at most.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a request's head at most.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Headers of a request at most.
pub const HEADERS_MAX: usize = 100;
/// How long a request's head may take.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a request's body may take.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// How a sandbox is started.
pub struct StartOptions {
    /// Where to listen; a loopback address. Port 0: any free one.
    pub listen: SocketAddr,
    /// The services to play.
    pub services: Vec<Arc<Service>>,
    /// How each is set up.
    pub options: Options,
    /// Faults from the start.
    pub faults: Vec<Fault>,
}

/// A running sandbox. Stops when it is dropped.
pub struct Sandbox {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

/// What every connection sees.
pub(crate) struct Shared {
    pub addr: SocketAddr,
    models: BTreeMap<String, Mutex<Model>>,
    pub faults: Mutex<Faults>,
    clock_ahead_millis: AtomicI64,
}

impl Sandbox {
    /// Starts to listen and serve, in the runtime that calls.
    ///
    /// # Errors
    /// When the address isn't a loopback one, or can't be listened on.
    pub async fn start(options: StartOptions) -> io::Result<Self> {
        if !options.listen.ip().is_loopback() {
            let problem = "a sandbox listens on a loopback address only, such as 127.0.0.1:0";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        let listener = TcpListener::bind(options.listen).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared::new(addr, options));
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(accept(listener, shared.clone(), stopped));
        Ok(Self { addr, shared, stop })
    }

    /// Starts in a thread of its own, for callers without a runtime.
    ///
    /// # Errors
    /// As [`Self::start`], and when no thread can be had.
    pub fn start_in_thread(options: StartOptions) -> io::Result<Self> {
        let (tell, told) = std::sync::mpsc::channel();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return tell.send(Err(error)).unwrap_or_default(),
            };
            runtime.block_on(async {
                let started = Self::start(options).await;
                let stopped = started.as_ref().ok().map(|sandbox| sandbox.stop.subscribe());
                let _ = tell.send(started);
                if let Some(mut stopped) = stopped {
                    let _ = stopped.wait_for(|stop| *stop).await;
                }
            });
        };
        std::thread::Builder::new().name("sandbox".to_owned()).spawn(serve)?;
        told.recv().unwrap_or_else(|_| Err(io::Error::other("the sandbox's thread has ended")))
    }

    /// The sandbox's time.
    pub fn now(&self) -> Timestamp {
        self.shared.now()
    }

    /// Moves the sandbox's clock.
    pub fn advance(&self, seconds: i64) {
        self.shared.advance(seconds);
    }

    /// Works on one service's model; `None`: no such service here.
    pub fn with_model<T>(&self, service: &str, work: impl FnOnce(&mut Model) -> T) -> Option<T> {
        self.shared.model(service).map(|mut model| work(&mut model))
    }

    /// Adds a fault.
    pub fn add_fault(&self, fault: Fault) {
        locked(&self.shared.faults).add(fault);
        self.shared.apply_skews();
    }

    /// Takes all faults back.
    pub fn clear_faults(&self) {
        locked(&self.shared.faults).clear();
        self.shared.apply_skews();
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Shared {
    pub fn new(addr: SocketAddr, options: StartOptions) -> Self {
        let mut faults = Faults::new(options.options.seed);
        options.faults.into_iter().for_each(|fault| {
            faults.add(fault);
        });
        let model = |service: Arc<Service>| {
            let model = Model::new(service.clone(), options.options.clone());
            (service.id.clone(), Mutex::new(model))
        };
        let shared = Self {
            addr,
            models: options.services.into_iter().map(model).collect(),
            faults: Mutex::new(faults),
            clock_ahead_millis: AtomicI64::new(0),
        };
        shared.apply_skews();
        shared
    }

    pub fn model(&self, service: &str) -> Option<MutexGuard<'_, Model>> {
        self.models.get(service).map(locked)
    }

    pub fn services(&self) -> impl Iterator<Item = &String> {
        self.models.keys()
    }

    /// The service whose address this is.
    pub fn service_at(&self, request: &Incoming) -> Option<(&str, &'static str)> {
        self.models.iter().find_map(|(id, model)| {
            let endpoint = locked(model).endpoint_of(request)?;
            Some((id.as_str(), endpoint))
        })
    }

    pub fn now(&self) -> Timestamp {
        let ahead = self.clock_ahead_millis.load(Ordering::Relaxed);
        Timestamp::from_millis(real_millis().saturating_add(ahead))
    }

    pub fn advance(&self, seconds: i64) {
        let millis = seconds.saturating_mul(1000);
        self.clock_ahead_millis.fetch_add(millis, Ordering::Relaxed);
    }

    /// Sets each service's clock as the faults in force say.
    pub fn apply_skews(&self) {
        for (id, model) in &self.models {
            let secs = locked(&self.faults).skew_secs(id);
            locked(model).set_clock_ahead(secs);
        }
    }
}

/// A panic while a lock was held leaves data that is still good enough to look at.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "the one real clock; models are handed its time")]
fn real_millis() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stopped: watch::Receiver<bool>) {
    let mut ended = stopped.clone();
    let accepting = async {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(until_stopped(connection(stream, shared.clone()), stopped.clone()));
            } else {
                // Out of file descriptors: others may close some.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    until_stopped(accepting, ended.clone()).await;
    let _ = ended.wait_for(|stop| *stop).await;
}

async fn until_stopped(work: impl Future<Output = ()>, mut stopped: watch::Receiver<bool>) {
    let mut work = std::pin::pin!(work);
    let mut stop = std::pin::pin!(stopped.wait_for(|stop| *stop));
    std::future::poll_fn(|cx| {
        if stop.as_mut().poll(cx).is_ready() {
            return std::task::Poll::Ready(());
        }
        work.as_mut().poll(cx)
    })
    .await;
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // A second handle on the socket, to turn its end into a reset.
    let Ok(handle) = stream.as_fd().try_clone_to_owned() else {
        return;
    };
    converse(stream, shared, Some(handle)).await;
}

/// Answers what comes on a connection, to its end; without a handle no end is a reset.
pub(crate) async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: Arc<Shared>,
    handle: Option<OwnedFd>,
) {
    let handle = Arc::new(handle);
    let service = service_fn(move |request| {
        let (shared, handle) = (shared.clone(), handle.clone());
        async move { answered(request, &shared, handle.as_ref().as_ref()).await }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    builder.max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
    // A peer that goes away is its own affair.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answered(
    request: Request<HyperBody>,
    shared: &Shared,
    handle: Option<&OwnedFd>,
) -> io::Result<Response<Paced>> {
    let (mut incoming, own_host) = match read(request, shared).await {
        Ok(read) => read,
        Err(answer) => return Ok(response(answer, Decision::default())),
    };
    if incoming.path == "/" || incoming.path.starts_with("/_sandbox") {
        let answer = control::answer(shared, &incoming, own_host);
        return Ok(response(answer, Decision::default()));
    }
    incoming.read_back();
    let Some((service, endpoint)) = shared.service_at(&incoming) else {
        let detail = "no service is served at this address; / lists those that are";
        return Ok(response(control::problem(404, "not_served", detail), Decision::default()));
    };
    let decision = locked(&shared.faults).decide(service, endpoint);
    if let Some(latency) = decision.latency {
        tokio::time::sleep(latency).await;
    }
    if decision.kind == Some(Kind::ResetBefore) {
        return Err(reset(handle));
    }
    if let Some(answer) = unprocessed(decision.kind) {
        return Ok(response(answer, decision));
    }
    let now = shared.now();
    let answer = shared.model(service).map(|mut model| match decision.kind {
        Some(Kind::Refuse(refused)) => model.refuse(refused, endpoint, now),
        _ => model.handle(&incoming, now),
    });
    let answer = answer.unwrap_or_else(|| control::problem(404, "not_served", "no such service"));
    match decision.kind {
        Some(Kind::ResetAfter) => Err(reset(handle)),
        kind => Ok(response(processed(answer, kind), decision)),
    }
}

/// The request with its body; the flag: it was sent to this machine by a name of its own.
async fn read(request: Request<HyperBody>, shared: &Shared) -> Result<(Incoming, OwnHost), Answer> {
    let (parts, body) = request.into_parts();
    let body = tokio::time::timeout(BODY_TIME_MAX, Limited::new(body, BODY_BYTES_MAX).collect());
    let body = match body.await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let detail = format!("a body has at most {} KiB here", BODY_BYTES_MAX / 1024);
            return Err(control::problem(413, "too_large", &detail));
        }
        Ok(Err(_)) => return Err(control::problem(400, "bad_request", "the body broke off")),
        Err(_) => return Err(control::problem(408, "too_slow", "the body took too long")),
    };
    let text =
        |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers: Vec<(String, String)> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_ascii_lowercase(), text(value)))
        .collect();
    let host = headers.iter().find(|(n, _)| n == "host").map_or("", |(_, v)| v.as_str());
    let port = shared.addr.port();
    let ours = [format!("127.0.0.1:{port}"), format!("localhost:{port}"), shared.addr.to_string()];
    let own_host = if ours.iter().any(|own| own == host) { OwnHost::Yes } else { OwnHost::No };
    let incoming = Incoming {
        method: parts.method.as_str().to_owned(),
        host: host.to_ascii_lowercase(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers,
        body: body.to_vec(),
    };
    Ok((incoming, own_host))
}

/// Whether a request's `Host` is this machine's: a page from elsewhere whose name was pointed here
/// (DNS rebinding) has another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnHost {
    Yes,
    No,
}

/// Makes the connection's end a reset: nothing more is sent, and the peer reads an error.
fn reset(handle: Option<&OwnedFd>) -> io::Error {
    let now = Some(Duration::ZERO);
    if let Some(handle) = handle {
        let _ = rustix::net::sockopt::set_socket_linger(handle, now);
    }
    io::Error::from(io::ErrorKind::ConnectionReset)
}

/// Answers that come instead of processing.
fn unprocessed(kind: Option<Kind>) -> Option<Answer> {
    match kind? {
        Kind::Throttle(secs) => {
            let mut answer = wire::answer(429, "application/json", r#"{"error":"slow_down"}"#);
            answer.headers.push(("retry-after".to_owned(), secs.to_string()));
            Some(answer)
        }
        Kind::ErrorBefore(status) => Some(wire::answer(status, "text/plain", "try again later\n")),
        Kind::Html => Some(wire::page(200, PORTAL_PAGE.to_owned())),
        _ => None,
    }
}

/// What becomes of an answer after processing.
fn processed(mut answer: Answer, kind: Option<Kind>) -> Answer {
    match kind {
        Some(Kind::ErrorAfter(status)) => wire::answer(status, "text/plain", "internal error\n"),
        Some(Kind::Html502) => wire::page(502, GATEWAY_PAGE.to_owned()),
        Some(Kind::WrongType) => {
            for (name, value) in &mut answer.headers {
                if name == "content-type" {
                    "text/html".clone_into(value);
                }
            }
            answer
        }
        _ => answer,
    }
}

fn response(mut answer: Answer, decision: Decision) -> Response<Paced> {
    let body = Bytes::from(std::mem::take(&mut *answer.body));
    let cut = (decision.kind == Some(Kind::Truncate)).then_some(body.len() / 2);
    let mut response = Response::new(Paced::new(body, decision.drip, cut));
    *response.status_mut() = answer.status.try_into().unwrap_or_default();
    for (name, value) in answer.headers {
        let name = hyper::header::HeaderName::try_from(name);
        let value = hyper::header::HeaderValue::try_from(value);
        if let (Ok(name), Ok(value)) = (name, value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

const PORTAL_PAGE: &str = "<!doctype html><title>Welcome</title><p>Please accept our terms.</p>";
const GATEWAY_PAGE: &str = "<!doctype html><title>502 Bad Gateway</title><h1>502 Bad Gateway</h1>";
