//! What the transport's tests share.

use std::time::Duration;

use indicia::transport::{HttpsTransport, Limits, TransportOptions};
use indicia_broker::ports::{Sent, Transport};
use indicia_oauth::{Method, Request};
use zeroize::Zeroizing;

/// A secret that must be found nowhere but in what a server was honestly sent.
pub const CANARY: &str = "canary-refresh-token";

/// A spend: a form with [`CANARY`] in it.
pub fn spend(url: &str) -> Request {
    Request {
        method: Method::Post,
        url: Zeroizing::new(url.to_owned()),
        headers: vec![
            ("content-type".into(), Zeroizing::new("application/x-www-form-urlencoded".into())),
            ("accept-encoding".into(), Zeroizing::new("identity".into())),
            ("authorization".into(), Zeroizing::new("Basic YTpi".into())),
        ],
        body: Zeroizing::new(format!("grant_type=refresh_token&refresh_token={CANARY}").into()),
    }
}

/// Short limits, so that waiting is measured in tenths of seconds.
pub fn quick() -> Limits {
    Limits {
        connect: Duration::from_millis(500),
        tls: Duration::from_millis(500),
        head: Duration::from_millis(400),
        idle: Duration::from_millis(300),
        total: Duration::from_millis(1000),
    }
}

/// A transport with these limits.
pub fn transport(limits: Limits) -> HttpsTransport {
    HttpsTransport::new(TransportOptions { limits, ..TransportOptions::default() })
}

/// Sends one spend with [`quick`] limits; the result as [`words`].
pub async fn send(url: &str) -> String {
    send_by(&transport(quick()), url).await
}

/// Sends one spend; the result as [`words`].
pub async fn send_by(transport: &HttpsTransport, url: &str) -> String {
    words(&transport.send(spend(url), &|| true).await)
}

/// What came of it, in one line. Fails if a secret is in it.
pub fn words(sent: &Sent) -> String {
    let words = match sent {
        Sent::NotSent(why) => format!("not sent: {why}"),
        Sent::MaybeSent(why) => format!("maybe sent: {why}"),
        Sent::Answer(answer) => {
            let complete = if answer.complete { "whole" } else { "cut" };
            let body = String::from_utf8_lossy(&answer.body);
            format!("{} {complete}: {body}", answer.status)
        }
    };
    assert!(!words.contains(CANARY), "a secret in {words}");
    words
}

/// Fails unless `text` begins so.
pub fn begins(text: &str, expected: &str) {
    assert!(text.starts_with(expected), "{text:?} doesn't begin with {expected:?}");
}
