//! What came back from a service: status, headers, body, and whether all of it arrived.

use zeroize::Zeroizing;

/// An HTTP answer as data. It may hold tokens, so it does not print.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Header names in lower case, values as text (bytes outside ASCII replaced).
    pub headers: Vec<(String, String)>,
    /// Body as received, at most the transport's limit.
    pub body: Zeroizing<Vec<u8>>,
    /// False when the body was cut: by the peer, by a time-out, or at the size limit.
    pub complete: bool,
}

impl Answer {
    /// First value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}
