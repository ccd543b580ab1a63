//! A proxy on the way to a server: notes what travels, and can lose answers that the server has
//! given, or hold the answers to refreshes back for a while.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request and its answer, as they travelled.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub request: String,
    pub answer: String,
}

impl Exchange {
    /// The body of the answer.
    pub fn body(&self) -> &str {
        self.answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

/// A proxy on a port of its own. Its threads end with the test program.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    to_lose: AtomicUsize,
    hold_ms: AtomicU64,
    seen: Mutex<Vec<Exchange>>,
}

impl Proxy {
    /// In front of `upstream`, an address with a port.
    pub fn to(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            to_lose: AtomicUsize::new(0),
            hold_ms: AtomicU64::new(0),
            seen: Mutex::default(),
        });
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared) = (stream.unwrap(), Arc::clone(&served));
                std::thread::spawn(move || pass(stream, &shared));
            }
        });
        Self { port, shared }
    }

    /// Loses the next answers: the server has processed the requests, and the connection breaks.
    pub fn lose(&self, answers: usize) {
        self.shared.to_lose.store(answers, Ordering::SeqCst);
    }

    /// Holds each answer to a refresh back from now on: the server has processed it.
    pub fn hold_refreshes(&self, time: Duration) {
        self.shared.hold_ms.store(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// What travelled so far, lost answers included.
    pub fn seen(&self) -> Vec<Exchange> {
        self.shared.seen.lock().unwrap().clone()
    }
}

/// One request and its answer; the connection isn't used again.
fn pass(mut client: TcpStream, shared: &Shared) {
    let Some(request) = read_request(&mut client) else { return };
    let mut server = TcpStream::connect(&shared.upstream).unwrap();
    let (line, rest) = request.split_once("\r\n").unwrap();
    let sent = server.write_all(format!("{line}\r\nConnection: close\r\n{rest}").as_bytes());
    let mut answer = Vec::new();
    if sent.and_then(|()| server.read_to_end(&mut answer)).is_err() && answer.is_empty() {
        return;
    }
    if request.contains("grant_type=refresh_token") {
        std::thread::sleep(Duration::from_millis(shared.hold_ms.load(Ordering::SeqCst)));
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    shared.seen.lock().unwrap().push(Exchange { request, answer: text });
    let lost =
        shared.to_lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
    if lost.is_err() {
        let _ = client.write_all(&answer);
    }
    let _ = client.shutdown(Shutdown::Both);
}

/// Head and body, by `Content-Length`.
fn read_request(client: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let read = client.read(&mut part).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        if body.len() >= length.unwrap_or(0) {
            return Some(text.into_owned());
        }
    }
}
