//! Addresses of the protocol: what may be called, and how parameters are appended.
//!
//! What would surprise: the text is kept as configured, byte for byte (an endpoint's own query
//! included); it is parsed only to be judged.

use url::Url;

/// Whether this may be called: an absolute https URL, or http on `127.0.0.1`, with neither
/// fragment nor user name (RFC 6749 §3.1, §3.2; OAuth 2.1 §1.5). Whether loopback is allowed at
/// all is the catalogue's matter.
pub(crate) fn is_endpoint(text: &str) -> bool {
    parse(text).is_some_and(|url| match url.scheme() {
        "https" => true,
        "http" => url.host_str() == Some("127.0.0.1"),
        _ => false,
    })
}

/// Whether a browser may be sent back here: https, or http on loopback (RFC 8252 §7.3; `localhost`
/// too, since some services register nothing else).
pub(crate) fn is_redirect_uri(text: &str) -> bool {
    parse(text).is_some_and(|url| match url.scheme() {
        "https" => true,
        "http" => matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost")),
        _ => false,
    })
}

/// The host that a URL names.
pub(crate) fn host(text: &str) -> Option<String> {
    Url::parse(text).ok()?.host_str().map(str::to_owned)
}

/// The query of a URL, as it stands.
pub(crate) fn query(text: &str) -> &str {
    text.split_once('?').map_or("", |(_, query)| query)
}

/// What stands between a URL and the parameters appended to it.
pub(crate) fn joint(url: &str) -> &'static str {
    match (url.contains('?'), url.ends_with(['?', '&'])) {
        (false, _) => "?",
        (true, true) => "",
        (true, false) => "&",
    }
}

fn parse(text: &str) -> Option<Url> {
    // The parser would drop or encode these silently: what is shown would not be what is called.
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'\\' | b'"'));
    let url = Url::parse(text).ok().filter(|_| plain)?;
    // It also reads `https:host` and `https:///host` as if both slashes were there.
    let rest = text.split_once("://").filter(|(scheme, _)| *scheme == url.scheme());
    let named = rest.is_some_and(|(_, rest)| !rest.is_empty() && !rest.starts_with('/'));
    (named && url.username().is_empty() && url.password().is_none()).then_some(url)
}
