//! HTTP by hand, so that a test can send what no client library would.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Sends bytes as they are, and reads one answer: to its length, as a browser does, which then
/// closes.
pub fn raw(address: &str, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let (mut bytes, mut is_over) = (Vec::new(), false);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            let answer = Answer { status, head: head.to_owned(), body: body.to_owned() };
            let length = answer.header("content-length").map(|l| l.parse::<usize>().unwrap());
            if length.is_some_and(|length| body.len() >= length) || (is_over && length.is_none()) {
                return answer;
            }
        }
        let mut more = [0; 4096];
        match stream.read(&mut more).unwrap() {
            0 if !is_over => is_over = true,
            0 => panic!("the answer broke off: {text:?}"),
            n => bytes.extend(&more[..n]),
        }
    }
}

/// Splits `http://ADDRESS/PATH`.
pub fn split(url: &str) -> (&str, String) {
    let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("not http: {url}"));
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    (address, format!("/{path}"))
}

pub fn get(url: &str) -> Answer {
    get_with(url, &[])
}

pub fn get_with(url: &str, headers: &[(String, String)]) -> Answer {
    let (address, path) = split(url);
    let more: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    raw(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{more}\r\n"),
    )
}

pub fn post(url: &str, body: &Value) -> Answer {
    let (address, path) = split(url);
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    raw(address, &(head + &body))
}
