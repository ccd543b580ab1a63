//! A bare HTTP client that sees what is on the wire, and a sandbox to point it at.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use indicia_catalog::ClientKind;
use indicia_oauth::Request;
use indicia_sandbox::{Options, Registration, Sandbox, StartOptions};

use crate::driver::{REDIRECT, SECRET, service};

/// What came back, as far as it came.
pub struct Wire {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// All that was promised came.
    pub whole: bool,
    /// The connection was reset.
    pub reset: bool,
}

impl Wire {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

pub fn sandbox(services: &[&str], options: Options) -> Sandbox {
    let sandbox = Sandbox::start_in_thread(StartOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        services: services.iter().map(|id| service(id)).collect(),
        options,
        faults: Vec::new(),
    })
    .unwrap();
    for id in services {
        sandbox.with_model(id, |model| {
            model.register(Registration {
                client_id: "app".to_owned(),
                secrets: vec![SECRET.to_owned()],
                kind: ClientKind::Confidential,
                redirect_uris: vec![REDIRECT.to_owned()],
                inputs: Default::default(),
                settings: Default::default(),
            });
        });
    }
    sandbox
}

/// Sends bytes, reads to the end.
pub fn raw(addr: SocketAddr, bytes: &[u8]) -> Wire {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = stream.write_all(bytes);
    let mut came = Vec::new();
    let mut buffer = [0; 4096];
    let reset = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break false,
            Ok(n) => came.extend_from_slice(&buffer[..n]),
            Err(error) => break error.kind() == ErrorKind::ConnectionReset,
        }
    };
    parsed(&came, reset)
}

fn parsed(came: &[u8], reset: bool) -> Wire {
    let end = came.windows(4).position(|four| four == b"\r\n\r\n");
    let Some(end) = end else {
        return Wire { status: 0, headers: Vec::new(), body: came.to_vec(), whole: false, reset };
    };
    let head = String::from_utf8_lossy(&came[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let body = came[end + 4..].to_vec();
    let length = headers.iter().find(|(n, _)| n == "content-length").map(|(_, v)| v.parse());
    let whole = length.is_none_or(|length| length == Ok(body.len()));
    Wire { status, headers, body, whole, reset }
}

pub fn send(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Wire {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    raw(addr, &[request.as_bytes(), body].concat())
}

pub fn get(addr: SocketAddr, path: &str) -> Wire {
    send(addr, "GET", path, &[], b"")
}

pub fn post_json(addr: SocketAddr, path: &str, body: &str) -> Wire {
    send(addr, "POST", path, &[("content-type", "application/json")], body.as_bytes())
}

pub fn post_form(addr: SocketAddr, path: &str, body: &str) -> Wire {
    let kind = ("content-type", "application/x-www-form-urlencoded");
    send(addr, "POST", path, &[kind], body.as_bytes())
}

/// Sends a request that was built for `https://HOST/PATH`, rewritten.
pub fn send_request(addr: SocketAddr, request: &Request) -> Wire {
    let path = rewritten(&request.url);
    let headers: Vec<(&str, &str)> =
        request.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    send(addr, request.method.as_str(), &path, &headers, &request.body)
}

/// `https://HOST/PATH` → `/HOST/PATH`.
pub fn rewritten(url: &str) -> String {
    url.replacen("https:/", "", 1)
}
