//! Whether a byte left: the difference between "not sent" and "maybe sent" decides about grants.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indicia_broker::ports::{Sent, Transport as _};

use crate::hostile::{Act, Hostile, answer, answering};
use crate::support::{begins, patient, send, spend, transport, words};

#[tokio::test]
async fn nobody_there_is_not_sent() {
    let server = Hostile::start(vec![vec![]]);
    let url = server.url("/token?secret=canary");
    drop(server);
    // The listener has gone once a connection is refused.
    while std::net::TcpStream::connect(url[7..].split('/').next().unwrap()).is_ok() {}
    let got = send(&url).await;
    begins(&got, "not sent: can't connect to 127.0.0.1:");
    assert!(!got.contains("canary"), "{got}");
}

#[tokio::test]
async fn a_name_that_is_not_there_is_not_sent() {
    let got = send("https://no-such-host.invalid/token").await;
    begins(&got, "not sent: the name no-such-host.invalid");
}

// DV-18
#[tokio::test]
async fn dv_18_reset_before_reading_is_maybe_sent_once() {
    let server = Hostile::start(vec![vec![Act::Reset]]);
    let got = send(&server.url("/token")).await;
    // The reset may arrive before our first byte was written: then it is provably not sent.
    assert!(got.starts_with("maybe sent: ") || got.starts_with("not sent: "), "{got}");
    assert_eq!(server.connections(), 1);
}

// DV-18
#[tokio::test]
async fn dv_18_reset_after_reading_is_maybe_sent_once() {
    let server = Hostile::start(vec![vec![Act::ReadRequest, Act::Reset]]);
    begins(&send(&server.url("/token")).await, "maybe sent: 127.0.0.1:");
    assert_eq!((server.connections(), server.requests().len()), (1, 1));
}

// DV-18
#[tokio::test]
async fn dv_18_closing_after_reading_is_maybe_sent_once() {
    let server = Hostile::start(vec![vec![Act::ReadRequest]]);
    let got = send(&server.url("/token")).await;
    begins(&got, "maybe sent: 127.0.0.1:");
    assert!(got.ends_with("it closed the connection without an answer"), "{got}");
    assert_eq!((server.connections(), server.requests().len()), (1, 1));
}

// DV-18
#[tokio::test]
async fn dv_18_a_reset_within_the_body_gives_what_came() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"access_token\":".to_vec();
    let pause = Act::Pause(Duration::from_millis(100));
    let server = Hostile::start(vec![vec![Act::ReadRequest, Act::Write(head), pause, Act::Reset]]);
    assert_eq!(send(&server.url("/token")).await, "200 cut: {\"access_token\":");
}

#[tokio::test]
async fn the_deadline_is_looked_at_on_the_open_connection_and_stops_the_write() {
    let server = Hostile::start(vec![answering(answer("200 OK", &[], "{}"))]);
    let transport = transport(patient());
    let asked = AtomicUsize::new(0);
    let no = || {
        asked.fetch_add(1, Ordering::SeqCst);
        // The server counts a moment after it was connected to; were the question asked before, it
        // would never count.
        let counted = || server.connections() == 1;
        assert!((0..100).any(|_| counted() || pause()), "asked before it was connected");
        false
    };
    let sent = transport.send(spend(&server.url("/token")), &no).await;
    begins(&words(&sent), "not sent: the time for this request was over");
    assert_eq!((asked.into_inner(), server.bytes().len()), (1, 0));
    // The connection, unused, serves the next request.
    let sent = transport.send(spend(&server.url("/token")), &|| true).await;
    assert!(matches!(sent, Sent::Answer(_)));
    assert_eq!(server.connections(), 1);
}

/// Waits a little; `false`.
fn pause() -> bool {
    std::thread::sleep(Duration::from_millis(10));
    false
}

#[tokio::test]
async fn a_caller_who_gives_up_closes_the_connection() {
    let server = Hostile::start(vec![vec![Act::ReadRequest, Act::Hang, Act::Write(vec![b'x'])]]);
    let transport = transport(patient());
    let send = transport.send(spend(&server.url("/token")), &|| true);
    let given_up = tokio::time::timeout(Duration::from_millis(100), send).await;
    assert!(given_up.is_err());
    assert_eq!((server.connections(), server.requests().len()), (1, 1));
}
