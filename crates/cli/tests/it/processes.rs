//! Many processes with many threads ask for one connection whose token has ended: the service sees
//! one refresh, and all get its token.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::peers::{self, Peer};
use crate::peers_proxy::Proxy;
use crate::stage::{Home, Sandbox, until, wait_for_the_end};
use crate::worker::Worker;

/// The shipped file of a service, told that it rotates and kills on reuse for certain.
pub fn rotating() -> String {
    let text = include_str!("../../../../services/klaviyo.toml");
    let text = text
        .replace("\"refresh.rotation\" = \"unverified\"", "\"refresh.rotation\" = \"verified\"")
        .replace("rotation = \"may\"", "rotation = \"rotates\"")
        .replace("rotation_variants = [\"keeps\", \"rotates\"]\n", "");
    assert!(text.contains("reuse_kills = true") && text.contains("rotation = \"rotates\""));
    text
}

/// So many processes of so many threads ask at once, when the token has ended; what they were told.
fn ask(home: &Home, connection: &Value, processes: usize, threads: usize) -> Vec<String> {
    let id = connection["id"].as_str().unwrap();
    let what = format!("ask {id} {threads}");
    let notes = |n: usize| home.beside(&format!("notes-{n}"));
    let start = |n| Worker::start(&home.path(), &notes(n), &what);
    let mut workers: Vec<Worker> = (0..processes).map(start).collect();
    wait_for_the_end(connection);
    workers.iter_mut().for_each(Worker::go);
    workers.into_iter().for_each(Worker::done);
    let read = |n| std::fs::read_to_string(notes(n).with_extension("told")).unwrap();
    let told: String = (0..processes).map(read).collect();
    let told: Vec<String> = told.lines().map(str::to_owned).collect();
    assert_eq!(told.len(), processes * threads, "{told:?}");
    told
}

/// All were told the same token, of this version.
#[track_caller]
fn all_have(told: &[String], version: &str) -> String {
    let first = told[0].clone();
    assert!(first.starts_with(version), "{first}");
    for line in told {
        assert_eq!(*line, first);
    }
    first[version.len()..].to_owned()
}

// RF-4
#[test]
fn rf_4_eight_processes_of_64_threads_send_one_refresh() {
    let home = Home::new();
    peers::own_file(&home, "klaviyo", &rotating());
    // Long enough for a laden machine to answer all within half of it.
    let sandbox = Sandbox::start_in(&home, &["--life", "12s"]);
    home.add_client(&sandbox, "klaviyo", &[]);
    let connection = home.connect(&sandbox, &["klaviyo", "--can", "contacts.read"]);
    let told = ask(&home, &connection, 8, 64);
    all_have(&told, "2 ");
    let record = sandbox.record("klaviyo");
    assert_eq!(record["counters"]["refresh"], 1, "{record}");
    assert_eq!(record["grants"][0]["alive"], true);
    left_nothing_behind(&home.path());
}

// RF-4
#[test]
fn rf_4_two_processes_of_64_threads_send_one_refresh_to_a_server_that_kills_on_reuse() {
    let (home, peer) = (Home::new(), Peer::oidc(&["--access-ttl", "12"]));
    peers::add(&home, &peer, "conf", &[]);
    let connection = peers::connect(&home, &peer, "conf");
    let told = ask(&home, &connection, 2, 64);
    let token = all_have(&told, "2 ");
    assert_eq!(peer.answers("refresh_token", 200), 1);
    assert_eq!(peer.count(&[("event", "refresh_token.consumed")]), 1);
    assert_eq!(peer.count(&[("event", "grant.revoked")]), 0, "{:?}", peer.events());
    assert_eq!(peer.whoami(&token).status, 200);
}

// DV-29
#[test]
fn dv_29_the_late_answer_of_a_process_that_slept_does_not_replace_the_later_token() {
    let (home, peer) = (Home::new(), Peer::django(&["--rotate", "off", "--access-ttl", "600"]));
    let proxy = Proxy::to(&format!("127.0.0.1:{}", peer.port));
    let url = format!("http://127.0.0.1:{}/o/token/", proxy.port);
    let text = format!("{}\n[token.refresh-token]\nurl = {url:?}\n", peers::DJANGO_FILE);
    peers::own_file(&home, "django", &text);
    peers::add(&home, &peer, "conf", &["--set", "rotation=keeps"]);
    peers::connect(&home, &peer, "conf");

    // Its answer is on the way when it falls asleep; its lease ends, and somebody else refreshes.
    proxy.hold_refreshes(Duration::from_secs(1));
    let mut sleeper = Worker::start(&home.path(), &home.beside("sleeper"), "once conf");
    sleeper.go();
    until("the server has answered", || peer.answers("refresh_token", 200) == 1);
    sleeper.signal(Signal::STOP);
    proxy.hold_refreshes(Duration::ZERO);
    let refreshed = home.run(&["refresh", "conf", "--json"]).ok().json();
    assert_eq!(refreshed["version"], 2);
    let later = peers::token(&home, "conf");

    sleeper.signal(Signal::CONT);
    sleeper.done();
    assert_eq!(peer.answers("refresh_token", 200), 2);
    assert_eq!(peers::token(&home, "conf"), later);
    assert_eq!(home.run(&["connections", "show", "conf", "--json"]).ok().json()["version"], 2);
    // The earlier of the two tokens is dead there.
    assert_eq!(peer.whoami(&later).status, 200);
}

/// No process left a lock or a lease that the next would wait for.
fn left_nothing_behind(home: &Path) {
    let run = home.join("run");
    let left = std::fs::read_dir(&run).map(|entries| entries.count()).unwrap_or(0);
    assert!(left <= 1, "{left} files in {}", run.display());
}
