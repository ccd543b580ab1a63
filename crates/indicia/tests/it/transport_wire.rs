//! What goes over the wire, and what odd answers become.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use indicia::transport::Limits;
use indicia_broker::ports::{Sent, Transport as _};
use indicia_oauth::Method;
use tokio::time::Instant;

use crate::hostile::{Act, Hostile, answer, answering};
use crate::support::{MUCH_LATER, SHORT, begins, patient, send, send_by, spend, transport};

/// Plays one answer and compares what the caller gets.
async fn check(bytes: &[u8], expected: &str) {
    let server = Hostile::start(vec![answering(bytes)]);
    let got = send(&server.url("/token")).await;
    assert_eq!(got, expected, "for {:?}", String::from_utf8_lossy(bytes));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn the_request_goes_out_as_given() {
    let server = Hostile::start(vec![answering(answer("200 OK", &[], "{}"))]);
    let got = send(&server.url("/oauth//token?tenant=a%2Fb&x=")).await;
    assert_eq!(got, "200 whole: {}");
    let request = String::from_utf8(server.requests().remove(0)).unwrap();
    let expected = format!(
        "POST /oauth//token?tenant=a%2Fb&x= HTTP/1.1\r\nhost: {}\r\n\
         content-type: application/x-www-form-urlencoded\r\naccept-encoding: identity\r\n\
         authorization: Basic YTpi\r\ncontent-length: 61\r\n\r\n\
         grant_type=refresh_token&refresh_token=canary-refresh-token",
        server.address()
    );
    let expected = expected.replace("length: 61", &format!("length: {}", body_of(&expected).len()));
    assert_eq!(request, expected);
}

fn body_of(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn get_and_delete_go_out_without_a_body() {
    for (method, line) in [(Method::Get, "GET / HTTP/1.1"), (Method::Delete, "DELETE / HTTP/1.1")] {
        let server = Hostile::start(vec![answering(answer("200 OK", &[], "{}"))]);
        let mut request = spend(&server.url(""));
        request.method = method;
        request.body.clear();
        let sent = transport(patient()).send(request, &|| true).await;
        assert!(matches!(sent, Sent::Answer(_)));
        let request = String::from_utf8(server.requests().remove(0)).unwrap();
        begins(&request, line);
        assert!(!request.contains("content-length"), "{request}");
    }
}

#[tokio::test]
async fn headers_are_given_in_lower_case_and_as_ascii() {
    let head = answer("400 Bad", &["Retry-After: 7", "X-Name: J\u{f6}rg"], "{}");
    let server = Hostile::start(vec![answering(head)]);
    let sent = transport(patient()).send(spend(&server.url("/")), &|| true).await;
    let Sent::Answer(answer) = sent else { panic!("no answer") };
    assert_eq!(answer.header("retry-after"), Some("7"));
    assert_eq!(answer.header("x-name"), Some("J??rg"));
}

// DV-13
#[tokio::test]
async fn dv_13_a_lying_content_length_cuts_or_is_obeyed() {
    check(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"a\":1}", "200 cut: {\"a\":1}").await;
    check(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{\"a\":1}", "200 whole: {\"a").await;
    check(b"HTTP/1.1 200 OK\r\n\r\n{\"a\":1}", "200 whole: {\"a\":1}").await;
}

// DV-13
#[tokio::test]
async fn dv_13_chunks_and_their_trailers_are_read() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n";
    let whole = format!("{head}3\r\n{{\"a\r\n4\r\n\":1}}\r\n0\r\nX: y\r\n\r\n");
    check(whole.as_bytes(), "200 whole: {\"a\":1}").await;
    let cut = format!("{head}3\r\n{{\"a\r\n4\r\n\":");
    check(cut.as_bytes(), "200 cut: {\"a\":").await;
    let broken = format!("{head}3\r\n{{\"a\r\nnonsense");
    check(broken.as_bytes(), "200 cut: {\"a").await;
}

/// An answer whose body is in this coding.
fn coded(coding: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Status, coding and body of what such an answer becomes.
async fn decoded(answer: Vec<u8>) -> (bool, Option<String>, Vec<u8>) {
    let server = Hostile::start(vec![answering(answer)]);
    let sent = transport(patient()).send(spend(&server.url("/")), &|| true).await;
    let Sent::Answer(answer) = sent else { panic!("no answer") };
    let coding = answer.header("content-encoding").map(str::to_owned);
    (answer.complete, coding, answer.body.to_vec())
}

// DV-13
#[tokio::test]
async fn dv_13_a_coding_that_was_not_asked_for_is_undone() {
    let plain = br#"{"access_token":"a"}"#;
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(plain).unwrap();
    let zlib = zlib.finish().unwrap();
    for (coding, body) in [("gzip", gzip(plain)), ("X-GZIP", gzip(plain)), ("deflate", zlib)] {
        assert_eq!(decoded(coded(coding, &body)).await, (true, None, plain.to_vec()), "{coding}");
    }
}

// DV-13
#[tokio::test]
async fn dv_13_a_coding_that_cannot_be_undone_stays_as_it_came() {
    let whole = gzip(br#"{"access_token":"a"}"#);
    let cut = whole[..whole.len() - 9].to_vec();
    for (coding, body) in [("gzip", cut), ("gzip", b"{}".to_vec()), ("br", whole.clone())] {
        let expected = (true, Some(coding.to_owned()), body.clone());
        assert_eq!(decoded(coded(coding, &body)).await, expected);
    }
    // Cut on the way: not even tried.
    let mut answer = coded("gzip", &whole);
    answer.truncate(answer.len() - 3);
    let expected = (false, Some("gzip".to_owned()), whole[..whole.len() - 3].to_vec());
    assert_eq!(decoded(answer).await, expected);
}

// DV-13, DV-16
#[tokio::test]
async fn dv_13_dv_16_a_bomb_is_not_blown_up() {
    // 100 KiB that would be 100 MiB.
    let bomb = gzip(&vec![b' '; 100 * MIB]);
    assert!(bomb.len() < 110 * 1024);
    let started = Instant::now();
    assert_eq!(decoded(coded("gzip", &bomb)).await, (true, Some("gzip".to_owned()), bomb));
    assert!(started.elapsed() < MUCH_LATER, "{:?}", started.elapsed());
    // What fits exactly is decoded, one byte more isn't.
    let full = vec![b' '; 256 * 1024];
    assert_eq!(decoded(coded("gzip", &gzip(&full))).await, (true, None, full));
    let more = gzip(&vec![b' '; 256 * 1024 + 1]);
    assert_eq!(decoded(coded("gzip", &more)).await, (true, Some("gzip".to_owned()), more));
}

// TR-14, DV-14, ST-8
#[tokio::test]
async fn tr_14_dv_14_st_8_no_redirect_is_followed() {
    let second = Hostile::start(vec![answering(answer("200 OK", &[], "{}"))]);
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Again", "308 Moved"] {
        let location = format!("Location: {}", second.url("/steal"));
        let first = Hostile::start(vec![answering(answer(status, &[&location], "gone"))]);
        let sent = transport(patient()).send(spend(&first.url("/token")), &|| true).await;
        let Sent::Answer(answer) = sent else { panic!("no answer") };
        assert_eq!(answer.status.to_string(), status[..3]);
        assert_eq!(answer.header("location"), Some(second.url("/steal").as_str()));
    }
    assert_eq!(second.connections(), 0);
}

// DV-16
#[tokio::test]
async fn dv_16_a_body_is_cut_at_the_limit() {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let chunk = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
    let server =
        Hostile::start(vec![vec![Act::ReadRequest, Act::Write(head), Act::Endless(chunk)]]);
    let sent = transport(patient()).send(spend(&server.url("/")), &|| true).await;
    let Sent::Answer(answer) = sent else { panic!("no answer") };
    assert_eq!((answer.body.len(), answer.complete), (256 * 1024, false));
    assert!(answer.body.capacity() <= 1024 * 1024, "memory is bounded too");
}

// DV-16
#[tokio::test]
async fn dv_16_a_head_is_limited_in_bytes_and_count() {
    let large = format!("X-Large: {}", "x".repeat(64 * 1024));
    let many: Vec<String> = (0..200).map(|n| format!("X-{n}: y")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for headers in [vec![large.as_str()], many] {
        let server = Hostile::start(vec![answering(answer("200 OK", &headers, "{}"))]);
        let got = send(&server.url("/")).await;
        begins(&got, "maybe sent: ");
        assert!(got.ends_with("the head of its answer is too large"), "{got}");
    }
    let forever = b"X-Again: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".to_vec();
    let server = Hostile::start(vec![vec![
        Act::ReadRequest,
        Act::Write(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Act::Endless(forever),
    ]]);
    begins(&send(&server.url("/")).await, "maybe sent: ");
}

/// Sends to a server that plays `acts` after the request; what came of it, which must be before
/// [`MUCH_LATER`].
async fn limited(limits: Limits, acts: &[Act]) -> String {
    let server = Hostile::start(vec![[&[Act::ReadRequest], acts].concat()]);
    let started = Instant::now();
    let got = send_by(&transport(limits), &server.url("/")).await;
    let took = started.elapsed();
    assert!(took >= SHORT && took < MUCH_LATER, "{got} after {took:?}");
    got
}

/// One byte every so often, for a minute.
fn drip(byte: u8) -> Act {
    Act::Drip(vec![byte; 1200], Duration::from_millis(50))
}

// DV-17
#[tokio::test]
async fn dv_17_a_drip_ends_at_the_total_limit_and_gives_what_came() {
    let head = Act::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 1200\r\n\r\n".to_vec());
    let got = limited(Limits { total: 3 * SHORT, ..patient() }, &[head, drip(b'x')]).await;
    begins(&got, "200 cut: xxx");
    let head = Act::Write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec());
    let pause = Act::Pause(Duration::from_millis(20));
    let chunks = [Act::Write(b"1\r\ny\r\n".to_vec()), pause].into_iter().cycle().take(2000);
    let acts: Vec<Act> = std::iter::once(head).chain(chunks).collect();
    begins(&limited(Limits { total: 3 * SHORT, ..patient() }, &acts).await, "200 cut: yyy");
}

// DV-17
#[tokio::test]
async fn dv_17_a_stall_after_the_head_ends_at_the_idle_limit() {
    let start = b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"a".to_vec();
    let limits = Limits { idle: SHORT, ..patient() };
    assert_eq!(limited(limits, &[Act::Write(start), Act::Hang]).await, "200 cut: {\"a");
}

// DV-17
#[tokio::test]
async fn dv_17_a_drip_of_the_head_or_silence_ends_at_the_head_limit() {
    for act in [drip(b'H'), Act::Hang] {
        let got = limited(Limits { head: SHORT, ..patient() }, &[act]).await;
        begins(&got, "maybe sent: 127.0.0.1:");
        assert!(got.ends_with(" didn't answer in time"), "{got}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_may_have_been_processed() {
    for bytes in [&b"SSH-2.0-OpenSSH\r\n\r\n"[..], b"", b"HTTP/1.1 2", b"\0\0\0\0\0\0\0\0\r\n\r\n"]
    {
        let server = Hostile::start(vec![answering(bytes)]);
        begins(&send(&server.url("/")).await, "maybe sent: 127.0.0.1:");
    }
}

#[tokio::test]
async fn odd_spelling_of_a_head_does_not_lose_the_answer() {
    check(b"HTTP/1.1 200 \r\nContent-Length : 2\r\n\r\n{}", "200 whole: {}").await;
    check(b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", "200 whole: {}").await;
    check(b"HTTP/1.1 200 OK\r\nB\xc3\xb6d: 1\r\nContent-Length: 2\r\n\r\n{}", "200 whole: {}")
        .await;
    check(b"HTTP/1.0 200 OK\r\n\r\n{}", "200 whole: {}").await;
    let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    check(interim, "200 whole: {}").await;
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_without_its_value() {
    let transport = transport(patient());
    for (url, expected) in [
        ("not a url", "not sent: "),
        ("https://user:secret@host.invalid/", "not sent: a user name in an address is not sent"),
        ("https://127.0.0.1/a b", "not sent: https://127.0.0.1/a b has a character"),
    ] {
        begins(&send_by(&transport, url).await, expected);
    }
    let mut request = spend("https://127.0.0.1/");
    request.headers.push(("x-odd".into(), zeroize::Zeroizing::new("canary\r\nHost: evil".into())));
    let Sent::NotSent(why) = transport.send(request, &|| true).await else { panic!("sent") };
    assert_eq!(why, "the header \"x-odd\" can't be sent");
}

const MIB: usize = 1024 * 1024;
