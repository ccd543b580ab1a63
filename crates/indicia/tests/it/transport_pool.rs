//! Idle connections: used again when they are surely open, never when that could send twice.

use std::time::Duration;

use indicia::transport::Limits;

use crate::hostile::{Act, Hostile, answer, answering};
use crate::support::{SHORT, begins, patient, send_by, transport};

fn ok() -> Vec<u8> {
    answer("200 OK", &[], "{}")
}

/// Answers, then does `then`, then would answer again.
fn answering_then(then: Vec<Act>) -> Vec<Act> {
    let again = answering(ok());
    [answering(ok()), then, again].concat()
}

#[tokio::test]
async fn an_idle_connection_is_used_again() {
    let server = Hostile::start(vec![answering_then(vec![])]);
    let transport = transport(patient());
    for _ in 0..2 {
        assert_eq!(send_by(&transport, &server.url("/")).await, "200 whole: {}");
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 2));
}

// DV-18
#[tokio::test]
async fn dv_18_an_idle_connection_that_was_closed_is_not_written_to() {
    for end in [vec![], vec![Act::Reset]] {
        let server = Hostile::start(vec![[answering(ok()), end].concat(), answering(ok())]);
        let transport = transport(patient());
        assert_eq!(send_by(&transport, &server.url("/")).await, "200 whole: {}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(send_by(&transport, &server.url("/")).await, "200 whole: {}");
        assert_eq!((server.connections(), server.requests().len()), (2, 2));
    }
}

// DV-18
#[tokio::test]
async fn dv_18_closed_at_the_moment_of_reuse_shows_one_post() {
    // It reads the second request and closes without an answer, as a server does whose keep-alive
    // ends while the request is on its way. Nobody may send that request again.
    let script = [answering(ok()), vec![Act::ReadRequest]].concat();
    let server = Hostile::start(vec![script, answering(ok())]);
    let transport = transport(patient());
    assert_eq!(send_by(&transport, &server.url("/first")).await, "200 whole: {}");
    begins(&send_by(&transport, &server.url("/second")).await, "maybe sent: ");
    let seen = server.requests().iter().filter(|r| r.starts_with(b"POST /second")).count();
    assert_eq!((server.connections(), seen), (1, 1));
}

// DV-18
#[tokio::test]
async fn dv_18_reset_in_the_middle_of_the_second_request_shows_one_post() {
    let script = [answering(ok()), vec![Act::ReadBytes(1), Act::Reset]].concat();
    let server = Hostile::start(vec![script, answering(ok())]);
    let transport = transport(patient());
    assert_eq!(send_by(&transport, &server.url("/first")).await, "200 whole: {}");
    begins(&send_by(&transport, &server.url("/second")).await, "maybe sent: ");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn what_is_left_over_from_an_answer_is_never_taken_for_the_next() {
    // The first answer says that it is shorter than it is; the rest would read as an answer.
    let mut lie = answer("200 OK", &[], "{}");
    lie.extend(answer("200 OK", &[], "{\"access_token\":\"planted\"}"));
    let late = [answering(ok()), vec![Act::Write(answer("200 OK", &[], "planted"))]].concat();
    for script in [answering(lie), late] {
        let server = Hostile::start(vec![[script, vec![Act::Hang]].concat(), answering(ok())]);
        let transport = transport(patient());
        assert_eq!(send_by(&transport, &server.url("/")).await, "200 whole: {}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(send_by(&transport, &server.url("/")).await, "200 whole: {}");
        assert_eq!(server.connections(), 2);
    }
}

#[tokio::test]
async fn what_the_server_says_of_keeping_alive_is_believed() {
    for header in ["Connection: close", "Keep-Alive: timeout=1, max=5"] {
        let script = [answering(answer("200 OK", &[header], "{}")), vec![Act::Hang]].concat();
        let server = Hostile::start(vec![script.clone(), script]);
        let transport = transport(patient());
        for _ in 0..2 {
            assert_eq!(send_by(&transport, &server.url("/")).await, "200 whole: {}");
        }
        assert_eq!(server.connections(), 2, "with {header}");
    }
}

#[tokio::test]
async fn a_cut_answer_ends_its_connection() {
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}".to_vec();
    let server = Hostile::start(vec![[answering(cut), vec![Act::Hang]].concat(), answering(ok())]);
    let transport = transport(Limits { idle: SHORT, ..patient() });
    assert_eq!(send_by(&transport, &server.url("/")).await, "200 cut: {}");
    assert_eq!(send_by(&transport, &server.url("/")).await, "200 whole: {}");
    assert_eq!(server.connections(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_each_have_a_connection_of_their_own() {
    let server = Hostile::start(vec![answering_then(vec![])]);
    let transport = transport(patient());
    let url = server.url("/");
    let sends = (0..32).map(|_| send_by(&transport, &url));
    for got in futures_util::future::join_all(sends).await {
        assert_eq!(got, "200 whole: {}");
    }
    assert_eq!((server.connections(), server.requests().len()), (32, 32));
}
