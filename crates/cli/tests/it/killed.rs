//! `kill -9` at random moments of a process that refreshes without end, at a service that replaces
//! its refresh token each time and kills the grant when an old one comes again.
//!
//! Surprise: a lost answer is no failure here. The crash between the service's processing and our
//! fsync loses it, and nothing can be done about that; what must hold is that no kept answer is
//! lost, and that each lost one is known, explained and left alone until the token's end.

use std::sync::Arc;
use std::time::Duration;

use indicia::{Broker, Error};
use indicia_broker::Force;
use indicia_broker::connect::{ConnectRequest, ConnectStep};
use indicia_broker::model::{Cause, ReasonCode};
use serde_json::Value;

use crate::http;
use crate::peers;
use crate::peers_proxy::Proxy;
use crate::processes::rotating;
use crate::stage::{Home, SECRET, Sandbox, has_ended, wait_for_the_end};
use crate::worker::{With, Worker, open};

/// What a kill left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// An intent whose request the service never saw.
    NotProcessed,
    /// An intent whose answer was lost on the way.
    AnswerLost,
}

/// What the next start finds.
enum Looked {
    /// Nothing to do.
    Whole,
    /// An answer in the journal alone, which is stored now.
    Recovered,
    /// An open spend.
    Open(Open),
    /// An open spend whose token ended before all was looked at: it may well be sent again by now.
    TooLate,
}

/// A round whose spend is open: what was left, and the connection as it was.
struct Open {
    id: String,
    left: Left,
    connection: Value,
}

// RF-5
#[test]
fn rf_5_no_kept_answer_is_lost_by_a_kill_and_each_lost_one_is_explained() {
    let rounds = rounds();
    let (home, mut chance) = (Home::new(), Chance(seed()));
    peers::own_file(&home, "klaviyo", &rotating());
    let sandbox = Sandbox::start_in(&home, &["--life", LIFE]);
    let proxy = Proxy::to(&sandbox.address);
    let address = format!("127.0.0.1:{}", proxy.port);
    let args = ["clients", "add", "klaviyo", "--client-id", "app", "--sandbox", &address];
    home.run_with(&[&args[..], &["--secret-stdin"]].concat(), SECRET).ok();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (mut open_ones, mut whole, mut recovered) = (Vec::new(), 0, 0);
    let (mut refreshes, mut windows, mut too_late) = (0, Vec::new(), 0);
    for n in 0..rounds {
        // By turns: as fast as it goes; an answer that is long on its way is lost more often; one
        // that waits between journal and store must be found in the journal more often.
        let (hold, linger) = [(0, 0), (SLOW_MS, 0), (0, SLOW_MS)][n % 3];
        proxy.hold_refreshes(Duration::from_millis(hold));
        let round = Round { home: &home, sandbox: &sandbox, n, id: format!("round-{n}") };
        runtime.block_on(round.connect());
        let kept = round.kill(Duration::from_micros(chance.below(KILL_WITHIN_US)), linger);
        refreshes += kept.len();
        windows.extend(kept.iter().map(|(_, window)| *window));
        let newest_kept = kept.last().map_or(1, |(spent_from, _)| spent_from + 1);
        match runtime.block_on(round.look(newest_kept)) {
            Looked::Whole => whole += 1,
            Looked::Recovered => recovered += 1,
            Looked::Open(open) => open_ones.push(open),
            Looked::TooLate => too_late += 1,
        }
        if (n + 1) % TELL_EVERY == 0 {
            println!("{} of {rounds} kills, {refreshes} refreshes", n + 1);
        }
    }
    proxy.hold_refreshes(Duration::ZERO);
    let lost = open_ones.iter().filter(|open| open.left == Left::AnswerLost).count();
    println!(
        "seed {}: {rounds} kills in {refreshes} refreshes: {whole} with nothing open, {recovered} found \
         in the journal, {} before the service saw the request, {lost} with the answer lost; none kept \
         was lost",
        seed(),
        open_ones.len() - lost
    );
    // Else it looks at nothing any more.
    assert!(too_late * 10 <= rounds, "{too_late} tokens ended before they were looked at");
    println!("from the answer's arrival to its fsync: {}", histogram(windows));
    if let Some(last) = open_ones.last() {
        wait_for_the_end(&last.connection);
    }
    for open in open_ones {
        runtime.block_on(at_the_end(&home, &sandbox, &open));
    }
}

struct Round<'a> {
    home: &'a Home,
    sandbox: &'a Sandbox,
    n: usize,
    id: String,
}

impl Round<'_> {
    async fn connect(&self) {
        let broker = open(&self.home.path(), With::Nothing).await;
        let request = ConnectRequest {
            client: "klaviyo".to_owned(),
            id: Some(self.id.clone()),
            capabilities: vec!["contacts.read".parse().unwrap()],
            ..ConnectRequest::default()
        };
        let ConnectStep::Browser(step) = broker.connect(request).await.unwrap() else {
            panic!("no browser is needed?")
        };
        broker.finish(&self.sandbox.approve(&step.authorize_url)).await.unwrap();
        broker.drain().await;
    }

    /// Refreshes in another process, and kills it; which versions were spent and their answers
    /// kept, and how long the keeping took in µs.
    fn kill(&self, after: Duration, linger_ms: u64) -> Vec<(u64, u64)> {
        let notes = self.home.beside(&self.id);
        let what = format!("refresh {} {linger_ms}", self.id);
        let mut worker = Worker::start(&self.home.path(), &notes, &what);
        worker.go();
        std::thread::sleep(after);
        worker.kill();
        let text = std::fs::read_to_string(&notes).unwrap();
        let read = |line: &str| {
            let mut words = line.strip_prefix("kept ")?.split(' ');
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        };
        text.lines().filter_map(read).collect()
    }

    fn grant(&self) -> Value {
        self.sandbox.record("klaviyo")["grants"][self.n].clone()
    }

    /// The service's newest token set of this grant; counts as our versions do.
    fn newest_there(&self) -> u64 {
        self.grant()["generations"].as_array().unwrap().last().unwrap()["n"].as_u64().unwrap()
    }

    /// The next start after the kill.
    async fn look(&self, newest_kept: u64) -> Looked {
        let broker = open(&self.home.path(), With::Nothing).await;
        let report = broker.recover().await.unwrap();
        assert!(report.unreadable.is_empty(), "{}: {report:?}", self.id);
        let (ours, theirs) = (self.version(&broker).await, self.newest_there());
        assert!(ours >= newest_kept, "{}: {newest_kept} was kept, and we have {ours}", self.id);
        if !report.open.contains(&self.id) {
            assert_eq!(ours, theirs, "{}: lost without a word", self.id);
            self.works(&broker).await;
            let is_recovered = report.recovered.contains(&self.id);
            return if is_recovered { Looked::Recovered } else { Looked::Whole };
        }
        let left = match theirs - ours {
            0 => Left::NotProcessed,
            1 => Left::AnswerLost,
            n => panic!("{}: {n} answers behind the service", self.id),
        };
        match self.left_alone(&broker, theirs).await {
            Some(connection) => Looked::Open(Open { id: self.id.clone(), left, connection }),
            None => Looked::TooLate,
        }
    }

    async fn version(&self, broker: &Broker) -> u64 {
        broker.connection(&self.id).await.unwrap().version
    }

    /// The token is good, and a refresh goes through.
    async fn works(&self, broker: &Arc<Broker>) {
        let refreshed = broker.refresh(&self.id, Force::No).await.unwrap();
        assert_eq!(call_api(&refreshed.headers, refreshed.api_base_url.as_deref()), 200);
        assert_eq!(self.grant()["alive"], true, "{}", self.id);
        broker.drain().await;
    }

    /// The loss is explained, the token is served, and nothing is sent, whoever asks. `None`: the
    /// token ended meanwhile.
    async fn left_alone(&self, broker: &Arc<Broker>, theirs: u64) -> Option<Value> {
        let calls = self.calls();
        let served = broker.token(&self.id, None).await;
        let status = served
            .as_ref()
            .map(|served| call_api(&served.headers, served.api_base_url.as_deref()))
            .map_err(Error::to_string);
        for force in [Force::No, Force::Yes] {
            // Served or told why not: either is right, as long as nothing goes out.
            let _ = broker.refresh(&self.id, force).await;
        }
        broker.run_due().await.unwrap();
        broker.drain().await;
        let told = broker.explain(&self.id).await.unwrap();
        let connection = broker.connection(&self.id).await.unwrap();
        let (calls_then, newest) = (self.calls(), self.newest_there());
        let connection = serde_json::to_value(connection).unwrap();
        if has_ended(&connection) {
            return None;
        }
        assert_eq!(status, Ok(200), "{}", self.id);
        assert_eq!(told.code, Some(ReasonCode::AnswerLost), "{}: {told:?}", self.id);
        assert_eq!(calls_then, calls, "{}: something was sent before the token's end", self.id);
        assert_eq!(newest, theirs);
        Some(connection)
    }

    /// What shows a refresh of this grant, granted or not: an old refresh token would end it.
    fn calls(&self) -> (Value, Value) {
        let grant = self.grant();
        (grant["refreshes"].clone(), grant["ended"].clone())
    }
}

/// Once the token has ended it is sent again: who lost nothing has a token, who lost an answer is
/// told so, and the service's own record shows the reuse.
async fn at_the_end(home: &Home, sandbox: &Sandbox, lost: &Open) {
    let broker = open(&home.path(), With::Nothing).await;
    let got = broker.token(&lost.id, None).await;
    broker.drain().await;
    let n: usize = lost.id.trim_start_matches("round-").parse().unwrap();
    let grant = &sandbox.record("klaviyo")["grants"][n];
    match lost.left {
        Left::AnswerLost => {
            assert!(matches!(got, Err(Error::Reauthorization { .. })), "{}", lost.id);
            let told = broker.explain(&lost.id).await.unwrap();
            assert_eq!(told.cause, Some(Cause::AnswerLost), "{}: {told:?}", lost.id);
            assert_eq!(grant["ended"][0], "reuse", "{grant}");
        }
        Left::NotProcessed => {
            let before = lost.connection["version"].as_u64().unwrap();
            assert!(got.unwrap().version > before, "{}", lost.id);
            assert_eq!(grant["alive"], true, "{grant}");
        }
    }
}

fn call_api(headers: &[(String, zeroize::Zeroizing<String>)], base: Option<&str>) -> u16 {
    let headers: Vec<(String, String)> =
        headers.iter().map(|(name, value)| (name.clone(), value.as_str().to_owned())).collect();
    http::get_with(&format!("{}/accounts/", base.unwrap()), &headers).status
}

fn histogram(mut windows: Vec<u64>) -> String {
    windows.sort_unstable();
    let Some(last) = windows.len().checked_sub(1) else { return "nothing was kept".to_owned() };
    let at = |part: usize| windows[last * part / 1000];
    format!(
        "{} answers; median {} µs, 90 % within {}, 99 % within {}, longest {}",
        windows.len(),
        at(500),
        at(900),
        at(990),
        at(1000)
    )
}

/// SplitMix64, Steele and others 2014: when to kill. The rest of a round is the machine's chance.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % end
    }
}

fn rounds() -> usize {
    std::env::var("INDICIA_KILL_ROUNDS").map_or(20, |rounds| rounds.parse().unwrap())
}

fn seed() -> u64 {
    std::env::var("INDICIA_KILL_SEED").map_or(1, |seed| seed.parse().unwrap())
}

/// After so many kills a long run says how far it is.
const TELL_EVERY: usize = 25;
/// A kill comes within this of the first refresh: time for a few.
const KILL_WITHIN_US: u64 = 120_000;
/// How long that is.
const SLOW_MS: u64 = 12;
/// Long enough for a laden machine to look at a round before its token ends.
const LIFE: &str = "30s";
