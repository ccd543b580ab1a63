//! What came back from a service: status, headers, body, and whether all of it arrived.
//!
//! What would surprise: its bytes are of a format of our own, not HTTP's, since a journal entry is
//! written before anybody has looked at the answer, and must give back exactly what came.

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

    /// Bytes to seal: format, status, whether it is complete, headers, body.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let headers: usize = self.headers.iter().map(|(n, v)| n.len() + v.len() + 8).sum();
        // Room is taken once, so that no half-written copy of a token is left behind.
        let mut out = Zeroizing::new(Vec::with_capacity(12 + headers + self.body.len()));
        out.extend([FORMAT, u8::from(self.complete)]);
        out.extend(self.status.to_be_bytes());
        out.extend(length(self.headers.len()));
        for (name, value) in &self.headers {
            for text in [name, value] {
                out.extend(length(text.len()));
                out.extend(text.bytes());
            }
        }
        out.extend(length(self.body.len()));
        out.extend(self.body.iter());
        out
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` when it is not that.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = Bytes(bytes);
        let [FORMAT, complete @ (0 | 1)] = rest.array()? else {
            return None;
        };
        let status = u16::from_be_bytes(rest.array()?);
        let mut headers = Vec::new();
        for _ in 0..u32::from_be_bytes(rest.array()?) {
            headers.push((rest.text()?, rest.text()?));
        }
        let body = Zeroizing::new(rest.counted()?.to_vec());
        rest.0.is_empty().then_some(Self { status, headers, body, complete: complete == 1 })
    }
}

/// First byte of [`Answer::to_bytes`].
const FORMAT: u8 = 1;

/// A length on the wire. No transport lets anything near 4 GiB in.
fn length(count: usize) -> [u8; 4] {
    u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes()
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(u32::from_be_bytes(self.array()?)).ok()?;
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn text(&mut self) -> Option<String> {
        Some(std::str::from_utf8(self.counted()?).ok()?.to_owned())
    }
}
