//! Form encoding (RFC 6749 App. B): the one alphabet for bodies, queries and Basic credentials.
//!
//! What would surprise: it is the WHATWG set, which leaves `* - . _` as they are. Encoding them too
//! would be legal, but ordinary secrets would then differ from their raw form, and servers that
//! don't decode Basic credentials would refuse them.

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// One name or value, encoded.
pub(crate) fn encode(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(encoded_bytes(text)));
    for piece in form_urlencoded::byte_serialize(text.as_bytes()) {
        out.push_str(piece);
    }
    out
}

/// `name=value&…`, encoded. Room is taken once, so that no copy of a secret is left behind.
pub(crate) fn encode_pairs(pairs: &[(&str, &str)]) -> Zeroizing<String> {
    let room = pairs.iter().map(|(n, v)| encoded_bytes(n) + encoded_bytes(v) + 2).sum();
    let mut out = Zeroizing::new(String::with_capacity(room));
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(&encode(name));
        out.push('=');
        out.push_str(&encode(value));
    }
    out
}

/// The pairs of a query or form body, decoded. Bytes that aren't UTF-8 become U+FFFD, which no
/// exact comparison will match.
pub(crate) fn decode_pairs(
    text: &str,
) -> impl Iterator<Item = (Zeroizing<String>, Zeroizing<String>)> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

fn decode(text: &str) -> Zeroizing<String> {
    let spaced = Zeroizing::new(text.replace('+', " "));
    let bytes = Zeroizing::new(percent_decode_str(&spaced).collect::<Vec<u8>>());
    Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned())
}

fn encoded_bytes(text: &str) -> usize {
    form_urlencoded::byte_serialize(text.as_bytes()).map(str::len).sum()
}
