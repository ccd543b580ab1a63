//! SQLite against memory: the same random operations through both, the same answers and the same
//! rows. Either alone might keep the suite's promises and still do something nobody wrote down.

use std::sync::Arc;
use std::time::Duration;

use indicia_broker::model::{
    ConnectionRow, Event, EventKind, FlowRow, GrantId, GrantState, Life, RevocationRow,
};
use indicia_broker::ports::{ConnectionFilter, Store, TakenFlows};
use indicia_store::conformance::ManualClock;
use indicia_store::conformance::rows::{
    at, client, client_id, connection, connection_id, event, fingerprint, flow, grant, grant_id,
    intent, journal_id, one, revocation, settlement, state, tokens,
};
use indicia_store::{Memory, Sqlite};
use proptest::prelude::*;
use tempfile::TempDir;

use super::support::{open_at, wait};

/// Which operation, and three choices in it.
type Step = (u8, u8, u8, u8);

struct Pair {
    folder: TempDir,
    clock: Arc<ManualClock>,
    memory: Memory,
    /// Two holders, each through both stores.
    holders: Vec<(Arc<Sqlite>, Arc<dyn Store>)>,
}

impl Pair {
    fn new() -> Self {
        let clock = ManualClock::new();
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(Arc::clone(&clock) as _);
        let mut pair = Self { folder, clock, memory, holders: vec![] };
        pair.holders = vec![pair.holder(), pair.holder()];
        pair
    }

    fn holder(&self) -> (Arc<Sqlite>, Arc<dyn Store>) {
        let home = self.folder.path().join("home");
        let sqlite = open_at(&home, true, Arc::clone(&self.clock)).unwrap();
        let memory = self.memory.handle(sqlite.holder());
        (sqlite, memory)
    }

    async fn step(&mut self, step: Step) {
        let (kind, a, b, c) = step;
        let who = usize::from(c % 2);
        match kind % KINDS {
            0 => self.clock.advance(Duration::from_secs(u64::from(a % 40))),
            1 => {
                let new = self.holder();
                let (_, dead) = std::mem::replace(&mut self.holders[who], new);
                self.memory.kill(&dead.holder());
            }
            _ => {
                let rows = self.memory.grant_rows();
                let aim = Aim::new(rows.get(usize::from(a) % rows.len().max(1)), b, c);
                let (sqlite, memory) = &self.holders[who];
                let expected = act(&**memory, step, &aim).await;
                assert_eq!(act(&**sqlite, step, &aim).await, expected, "{step:?}");
            }
        }
    }

    async fn check(&self) {
        let (sqlite, memory) = &self.holders[0];
        for (found, expected) in dump(&**sqlite).await.iter().zip(dump(&**memory).await) {
            assert_eq!(*found, expected);
        }
    }
}

/// A grant, and numbers of it that are mostly right and sometimes stale.
struct Aim {
    grant: GrantId,
    version: u64,
    lease_no: u64,
}

impl Aim {
    fn new(row: Option<&indicia_broker::model::GrantRow>, b: u8, c: u8) -> Self {
        let stale =
            |number: u64, chance: u8| if chance.is_multiple_of(5) { number ^ 1 } else { number };
        let lease = row.and_then(|row| row.lease.as_ref());
        Self {
            grant: row.map_or(grant_id("g0"), |row| row.id.clone()),
            version: stale(row.map_or(1, |row| row.version), b),
            lease_no: stale(lease.map_or(1, |lease| lease.no), c),
        }
    }
}

/// What one operation gives, as text.
async fn act(store: &dyn Store, step: Step, aim: &Aim) -> String {
    let (kind, a, b, c) = step;
    let name = |n: u8| format!("c{}", n % 3);
    let x = connection(&format!("x{}", a % 6), &name(b), &format!("g{}", b % 6));
    let told = vec![event(EventKind::Attention, &format!("x{}", a % 6))];
    let flow_of = c.is_multiple_of(2).then(|| format!("f{}", a % 4));
    let id = &aim.grant;
    match kind % KINDS {
        2 => debug(store.add_client(client(&name(a)), told).await),
        3 => {
            let mut row = client(&name(a));
            row.revision = 1 + u64::from(b % 4);
            debug(store.update_client(row, told).await)
        }
        4 => debug(store.remove_client(&client_id(&name(a)), told).await),
        5 | 6 => {
            let new = grant(&format!("g{}", b % 6), &name(b));
            debug(store.connect(x, new, flow_of.as_deref(), told).await)
        }
        7 => debug(store.join(x, flow_of.as_deref(), told).await),
        8 => {
            let row = ConnectionRow { labels: one("team", &name(c)), updated_at: at(50), ..x };
            debug(store.label(row).await)
        }
        9 => {
            let new = grant(&format!("n{}", c % 6), &name(b));
            debug(store.reconnect(x, new, flow_of.as_deref(), told).await)
        }
        10 => {
            let taken = if c < 128 { TakenFlows::End } else { TakenFlows::Revoke };
            debug(store.forget(&x.id, &x.grant, taken, told).await)
        }
        11..=19 => act_on_grant(store, step, aim, flow_of, told).await,
        20 => {
            let next_at = (!a.is_multiple_of(3)).then(|| at(u64::from(c)));
            let row = revocation(&format!("r{}", b % 5), id.as_str(), next_at);
            let off = GrantState { life: Life::Revoked, ..state(Life::Alive) };
            debug(store.revoke(&[id.clone(), grant_id("g1")], off, row, told).await)
        }
        21 => {
            let next_at = (a.is_multiple_of(2)).then(|| at(u64::from(c)));
            let row = revocation(&format!("r{}", b % 5), id.as_str(), next_at);
            let row = RevocationRow { revision: 1 + u64::from(a % 4), ..row };
            debug(store.update_revocation(row, told).await)
        }
        22 => {
            let row = flow(&format!("f{}", a % 4), &name(b));
            let connection = connection_id(&format!("x{}", c % 2));
            debug(store.add_flow(FlowRow { connection, ..row }).await)
        }
        23 => {
            let taker = journal_id(&name(b));
            debug(store.take_flow(&format!("f{}", a % 4), &taker, at(u64::from(c) * 4)).await)
        }
        24 => debug(store.remove_flow(&format!("f{}", a % 4)).await),
        other => unreachable!("no operation {other}"),
    }
}

/// What happens to a grant that is there: leases, intents, token sets.
async fn act_on_grant(
    store: &dyn Store,
    step: Step,
    aim: &Aim,
    flow_of: Option<String>,
    told: Vec<Event>,
) -> String {
    let (kind, a, b, c) = step;
    let id = &aim.grant;
    match kind % KINDS {
        11 | 12 => debug(store.claim(id, Duration::from_secs(u64::from(b % 60))).await),
        13 => debug(store.renew(id, aim.lease_no, Duration::from_secs(30)).await),
        14 => {
            let spend = intent(id.as_str(), aim.version, aim.lease_no);
            debug(store.begin(id, spend).await)
        }
        15 | 16 => {
            let mut new = tokens(id.as_str(), aim.version + 1);
            if b.is_multiple_of(3) {
                new.facts.refresh = Some(fingerprint("kept"));
            }
            new.flow = flow_of;
            new.facts.rotated = c.is_multiple_of(3);
            new.account = new.account.filter(|_| !a.is_multiple_of(4));
            let lease_no = (!b.is_multiple_of(4)).then_some(aim.lease_no);
            debug(store.commit(id, aim.version, lease_no, new, told).await)
        }
        17 => {
            let mut change = settlement(b.is_multiple_of(2));
            if c.is_multiple_of(3) {
                change.state = state(Life::Dead);
                change.next_at = None;
            }
            debug(store.settle(id, aim.lease_no, aim.version, change, told).await)
        }
        18 => debug(store.reject(id, aim.version, at(u64::from(c)), told).await),
        19 => debug(store.release(id, aim.lease_no).await),
        other => unreachable!("no operation {other}"),
    }
}

/// All that can be read, as text.
async fn dump(store: &dyn Store) -> Vec<String> {
    let mut all = vec![
        debug(store.clients().await),
        debug(store.events(0, 1000).await),
        debug(store.last_event().await),
        debug(store.open_intents(3).await),
        debug(store.revocations_due(at(100), 3).await),
    ];
    for label in [None, Some(("team".to_owned(), "c1".to_owned()))] {
        for only in [None, Some(client_id("c1"))] {
            let filter =
                ConnectionFilter { label: label.clone(), client: only, ..Default::default() };
            all.push(debug(store.connections(&filter, Some(&connection_id("x0")), 3).await));
            all.push(debug(store.connections(&filter, None, 100).await));
        }
    }
    for seconds in [0, 500, 1002, 100_000] {
        all.push(debug(store.due(at(seconds), 4).await));
    }
    for n in 0..6 {
        all.push(debug(store.revocation(&format!("r{n}")).await));
        all.push(debug(store.flow(&format!("f{n}")).await));
        for kind in ["g", "n"] {
            let name = format!("{kind}{n}");
            all.push(debug(store.grant(&grant_id(&name)).await));
            all.push(debug(store.revoked_item(&grant_id(&name)).await));
            let account = format!("account of {name}");
            all.push(debug(store.grant_of_account(&client_id("c1"), &account).await));
            for version in 1..4 {
                let sought = fingerprint(&format!("{name} refresh {version}"));
                all.push(debug(store.grants_by_fingerprint(&sought).await));
                let client = client_id("c1");
                all.push(debug(store.grant_of_refresh_token(&client, &sought).await));
            }
        }
    }
    all.push(debug(store.grants_by_fingerprint(&fingerprint("kept")).await));
    for who in ["c0", "c1", "c2"] {
        let expired = (at(0), at(10_000));
        all.push(debug(store.stale_flows(&journal_id(who), expired, 3).await));
    }
    all
}

fn debug<T: std::fmt::Debug>(value: T) -> String {
    format!("{value:?}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_does_what_memory_does(steps in prop::collection::vec(any::<Step>(), 1..120)) {
        wait(async {
            let mut pair = Pair::new();
            // So that most operations find something.
            for step in [(2, 0, 0, 0), (2, 1, 0, 0), (5, 0, 0, 0), (5, 1, 1, 0)] {
                pair.step(step).await;
            }
            for (n, step) in steps.into_iter().enumerate() {
                pair.step(step).await;
                if n % 16 == 15 {
                    pair.check().await;
                }
            }
            pair.check().await;
        });
    }
}

const KINDS: u8 = 25;
