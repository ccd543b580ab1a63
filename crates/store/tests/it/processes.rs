//! Several processes on one store: the test program runs itself as the other one, and kills it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use indicia_broker::model::EventKind;
use indicia_broker::ports::{ClaimOutcome, CommitOutcome, Store};
use indicia_store::chain;
use indicia_store::conformance::ManualClock;
use indicia_store::conformance::rows::{
    client, connect, event, grant_id, intent, settlement, tokens,
};
use rustix::process::{Pid, Signal, kill_process};

use super::support::{open, open_at, place, raw, wait};

/// Another process on the store in `home`, that does what it is told on standard input.
struct Other {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Other {
    fn start(home: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::other", "--nocapture", "--quiet"])
            .env(HOME, home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut other = Self { child, orders, answers };
        while other.line().unwrap() != "ready" {}
        other
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line).unwrap();
        // A line that was cut by death says nothing.
        (read > 0 && line.ends_with('\n')).then(|| line.trim_end().to_owned())
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Kills it as `kill -9` does; what it had still said.
    fn kill(mut self) -> Vec<String> {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
        std::iter::from_fn(|| self.line()).collect()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The other process. Run with all the tests, without an order, it does nothing.
#[test]
#[expect(clippy::disallowed_methods, reason = "how a test tells its own child what to do")]
fn other() {
    let Some(home) = std::env::var_os(HOME).map(PathBuf::from) else { return };
    let store = open(&home);
    println!("\nready");
    for order in std::io::stdin().lines() {
        match order.unwrap().as_str() {
            "write" => wait(write_without_end(&store)),
            "claim" => {
                let outcome = wait(store.claim(&grant_id("x"), LEASE)).unwrap();
                assert!(matches!(outcome, ClaimOutcome::Claimed(_)));
                println!("claimed");
            }
            "begin" => {
                println!("{}", wait(store.begin(&grant_id("x"), intent("x", 1, 1))).unwrap());
            }
            "add" => {
                wait(store.add_client(client("added"), vec![])).unwrap();
                println!("added");
            }
            other => panic!("unknown order {other}"),
        }
    }
}

/// Refreshes eight grants at once, again and again, and says each commit once it was answered.
async fn write_without_end(store: &Arc<impl Store + 'static>) {
    let mut tasks = tokio::task::JoinSet::new();
    for name in GRANTS {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            let id = grant_id(name);
            loop {
                let ClaimOutcome::Claimed(claim) = store.claim(&id, LEASE).await.unwrap() else {
                    panic!("nobody else is there")
                };
                let (version, no) = (claim.grant.version, claim.lease_no);
                assert!(store.begin(&id, intent(name, version, no)).await.unwrap());
                let told = vec![event(EventKind::Refreshed, name)];
                let new = tokens(name, version + 1);
                let done = store.commit(&id, version, Some(no), new, told).await.unwrap();
                assert!(matches!(done, CommitOutcome::Done));
                println!("{name} {}", version + 1);
            }
        });
    }
    let ended = tasks.join_next().await;
    panic!("one ended: {ended:?}");
}

#[test]
fn what_was_answered_survives_a_kill() {
    let (_folder, home) = place();
    wait(async { connect(&*open(&home), &GRANTS).await });
    let mut answered = 0;
    for round in 0..12_u64 {
        let mut other = Other::start(&home);
        other.order("write");
        let mut said = vec![];
        while said.len() < 20 {
            said.push(other.line().unwrap());
        }
        std::thread::sleep(Duration::from_micros(round * 1_700));
        said.extend(other.kill());
        answered += said.len();
        wait(check_survivors(&home, &said));
    }
    println!("{answered} commits were answered before a kill");
}

async fn check_survivors(home: &Path, said: &[String]) {
    let store = open(home);
    for name in GRANTS {
        let row = store.grant(&grant_id(name)).await.unwrap().unwrap();
        let last = said.iter().filter_map(|line| line.strip_prefix(name)).next_back();
        let last = last.map_or(1, |version| version.trim().parse::<u64>().unwrap());
        assert!(row.version >= last, "{name}: {last} was answered, {} is there", row.version);
        let kept = &tokens(name, row.version).tokens;
        assert!(row.version == 1 || row.tokens == *kept, "{name}: tokens are of their version");
        // Its lease ended with it, however long it was.
        let ClaimOutcome::Claimed(claim) = store.claim(&grant_id(name), LEASE).await.unwrap()
        else {
            panic!("{name} is still held by the dead")
        };
        let (no, version) = (claim.lease_no, row.version);
        let settled = store.settle(&row.id, no, version, settlement(true), vec![]).await.unwrap();
        assert!(settled);
    }
    let events = store.events(0, usize::MAX >> 1).await.unwrap();
    assert_eq!(chain::verify(chain::GENESIS, &events), Ok(()));
    let whole: String =
        raw(home).query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
    let run = std::fs::read_dir(home.join("run")).unwrap().count();
    assert_eq!(run, 1, "what dead holders left is swept");
}

#[test]
fn a_paused_holders_lease_ends_by_time() {
    let (_folder, home) = place();
    let clock = ManualClock::new();
    let store = open_at(&home, true, Arc::clone(&clock)).unwrap();
    wait(async { connect(&*store, &["x"]).await });
    let mut other = Other::start(&home);
    other.order("claim");
    assert_eq!(other.line().unwrap(), "claimed");
    other.signal(Signal::STOP);
    let busy = || matches!(wait(store.claim(&grant_id("x"), LEASE)), Ok(ClaimOutcome::Busy { .. }));
    assert!(busy());
    clock.advance(LEASE - Duration::from_millis(1));
    assert!(busy());
    clock.advance(Duration::from_millis(1));
    assert!(!busy(), "it can be taken over");
    other.signal(Signal::CONT);
    other.order("begin");
    assert_eq!(other.line().unwrap(), "false", "who wakes up late has lost it");
}

#[test]
fn a_change_by_another_process_is_seen() {
    let (_folder, home) = place();
    let store = open(&home);
    let mut other = Other::start(&home);
    let before = wait(store.change_number()).unwrap();
    other.order("add");
    assert_eq!(other.line().unwrap(), "added");
    // Not within a second: by the next read.
    assert!(wait(store.change_number()).unwrap() > before);
    assert_eq!(wait(store.clients()).unwrap().len(), 1);
}

const LEASE: Duration = Duration::from_secs(30);
const GRANTS: [&str; 8] = ["x", "b", "c", "d", "e", "f", "g", "h"];
const HOME: &str = "INDICIA_STORE_TEST_HOME";
