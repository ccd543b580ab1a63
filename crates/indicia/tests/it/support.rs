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

/// Limits that nothing here reaches, however busy the machine is; a test of one limit shortens that
/// one.
pub fn patient() -> Limits {
    let long = Duration::from_secs(30);
    Limits { connect: long, tls: long, head: long, idle: long, total: long }
}

/// The limit that a test is about.
pub const SHORT: Duration = Duration::from_millis(300);

/// After this another limit than the short one must have ended it.
pub const MUCH_LATER: Duration = Duration::from_secs(15);

/// A transport with these limits.
pub fn transport(limits: Limits) -> HttpsTransport {
    HttpsTransport::new(TransportOptions { limits, ..TransportOptions::default() })
}

/// Sends one spend with [`patient`] limits; the result as [`words`].
pub async fn send(url: &str) -> String {
    send_by(&transport(patient()), url).await
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

/// What this gives, which must not wait for anything.
pub fn at_once<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(act()));
    told.recv_timeout(std::time::Duration::from_secs(20)).unwrap()
}
