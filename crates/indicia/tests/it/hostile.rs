//! A hostile server, byte by byte: it plays a script on each connection and keeps what it was sent.
//!
//! What would surprise: it is plain threads and blocking sockets, on purpose. What it does to a
//! peer must not depend on the runtime that the peer runs on, and any crate's tests can take this
//! file (it needs `rustls` and `rustix` with `net`, nothing of ours).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// One act.
#[derive(Clone, Debug)]
pub enum Act {
    /// Reads a whole request (head, and as much body as its `Content-Length` says) and records it.
    ReadRequest,
    /// Reads up to so many bytes, as they come, without understanding them.
    ReadBytes(usize),
    /// Writes bytes.
    Write(Vec<u8>),
    /// Writes bytes one at a time, with a pause after each.
    Drip(Vec<u8>, Duration),
    /// Writes the same bytes until the other side is gone.
    Endless(Vec<u8>),
    /// Does nothing for so long.
    Pause(Duration),
    /// Keeps the connection until the other side closes it.
    Hang,
    /// Resets the connection (RST) and ends the script. Without it, a script ends with a closing.
    Reset,
}

/// `ReadRequest`, then `Write`.
pub fn answering(answer: impl Into<Vec<u8>>) -> Vec<Act> {
    vec![Act::ReadRequest, Act::Write(answer.into())]
}

/// An answer of JSON with this status line's rest (`200 OK`), more header lines, and body.
pub fn answer(status: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n");
    for header in headers {
        out += &format!("{header}\r\n");
    }
    out += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    out.into_bytes()
}

/// What was seen, in order.
#[derive(Default)]
struct Record {
    connections: usize,
    requests: Vec<Vec<u8>>,
    bytes: Vec<u8>,
}

/// A running server. Stops accepting when dropped.
pub struct Hostile {
    address: SocketAddr,
    record: Arc<Mutex<Record>>,
    over: Arc<AtomicBool>,
}

impl Hostile {
    /// Plays the scripts, one a connection; the last one again for all further connections.
    pub fn start(scripts: Vec<Vec<Act>>) -> Self {
        Self::listen(None, scripts)
    }

    /// The same behind TLS; what is recorded is what came through it.
    pub fn start_tls(config: rustls::ServerConfig, scripts: Vec<Vec<Act>>) -> Self {
        Self::listen(Some(Arc::new(config)), scripts)
    }

    fn listen(tls: Option<Arc<rustls::ServerConfig>>, scripts: Vec<Vec<Act>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let record = Arc::new(Mutex::new(Record::default()));
        let over = Arc::new(AtomicBool::new(false));
        let server = Self { address, record: Arc::clone(&record), over: Arc::clone(&over) };
        thread::spawn(move || {
            for (n, stream) in listener.incoming().enumerate() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let script = scripts[n.min(scripts.len() - 1)].clone();
                let (record, tls) = (Arc::clone(&record), tls.clone());
                record.lock().unwrap().connections += 1;
                thread::spawn(move || serve(stream.unwrap(), tls, &script, &record));
            }
        });
        server
    }

    /// `127.0.0.1` and its port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its plain address with this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Connections accepted.
    pub fn connections(&self) -> usize {
        self.record.lock().unwrap().connections
    }

    /// Requests read whole, as they came.
    pub fn requests(&self) -> Vec<Vec<u8>> {
        self.record.lock().unwrap().requests.clone()
    }

    /// Every byte read, of whatever kind (behind TLS: what came through).
    pub fn bytes(&self) -> Vec<u8> {
        self.record.lock().unwrap().bytes.clone()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    script: &[Act],
    record: &Mutex<Record>,
) {
    let raw = stream.try_clone().unwrap();
    let mut wire: Box<dyn Wire> = match tls {
        None => Box::new(stream),
        Some(config) => {
            let mut stream =
                rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), stream);
            while stream.conn.is_handshaking() {
                if stream.conn.complete_io(&mut stream.sock).is_err() {
                    return;
                }
            }
            Box::new(stream)
        }
    };
    for act in script {
        // A peer that has gone ends the script, as it would end a server's work.
        if play(act, wire.as_mut(), &raw, record).is_err() {
            return;
        }
    }
}

fn play(act: &Act, wire: &mut dyn Wire, raw: &TcpStream, record: &Mutex<Record>) -> io::Result<()> {
    match act {
        Act::ReadRequest => {
            let request = read_request(wire, record)?;
            record.lock().unwrap().requests.push(request);
        }
        Act::ReadBytes(count) => {
            let mut buffer = vec![0; *count];
            let read = wire.read(&mut buffer)?;
            record.lock().unwrap().bytes.extend_from_slice(&buffer[..read]);
        }
        Act::Write(bytes) => {
            wire.write_all(bytes)?;
            wire.flush()?;
        }
        Act::Drip(bytes, pause) => {
            for byte in bytes {
                wire.write_all(&[*byte])?;
                wire.flush()?;
                thread::sleep(*pause);
            }
        }
        Act::Endless(bytes) => loop {
            wire.write_all(bytes)?;
        },
        Act::Pause(pause) => thread::sleep(*pause),
        Act::Hang => while read_some(wire, record)? > 0 {},
        Act::Reset => {
            let linger = Some(Duration::ZERO);
            rustix::net::sockopt::set_socket_linger(raw, linger)?;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
    }
    Ok(())
}

fn read_some(wire: &mut dyn Wire, record: &Mutex<Record>) -> io::Result<usize> {
    let mut buffer = [0; 4096];
    let read = wire.read(&mut buffer)?;
    record.lock().unwrap().bytes.extend_from_slice(&buffer[..read]);
    Ok(read)
}

fn read_request(wire: &mut dyn Wire, record: &Mutex<Record>) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        let mut byte = [0];
        wire.read_exact(&mut byte)?;
        record.lock().unwrap().bytes.push(byte[0]);
        request.push(byte[0]);
        if request.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![0; length.map_or(0, |text| text.trim().parse().unwrap())];
    wire.read_exact(&mut body)?;
    record.lock().unwrap().bytes.extend_from_slice(&body);
    request.extend_from_slice(&body);
    Ok(request)
}
