//! One run: make the world, let the storm blow, then see that everything that can be well is.

use std::collections::BTreeMap;
use std::time::Duration;

use indicia_broker::model::{ConnectionId, Life};
use tracing::subscriber::with_default;

use super::faults::Plan;
use super::logs::Leaks;
use super::services::Kind;
use super::weather;
use super::world::{Conn, World};

/// Simulated time after the faults in which everything must have come right: a token's end, the
/// longest back-off, and a clock that had jumped.
const CALM_SECS_MAX: u64 = 3_600;

/// What a run showed.
pub struct Story {
    pub seed: u64,
    pub violations: Vec<String>,
    pub trace: Vec<String>,
    pub counts: BTreeMap<&'static str, u64>,
}

/// Runs a plan in a runtime of its own, on this thread. `aloud` hears the story as it happens.
pub fn run(plan: Plan, aloud: Option<fn(&str)>) -> Story {
    let leaks = Leaks::default();
    let seed = plan.seed;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let story = with_default(leaks.clone(), || runtime.block_on(play(plan, aloud)));
    let mut story = story;
    let leaked = leaks.take().into_iter().map(|line| format!("a secret in a log: {line}"));
    story.violations.extend(leaked);
    story.seed = seed;
    story
}

async fn play(plan: Plan, aloud: Option<fn(&str)>) -> Story {
    let world = World::new(plan, aloud);
    world.settle_in().await;
    world.set_settled();
    world.set_stormy(true);
    weather::begin(&world);
    for _ in 0..world.plan.stormy_secs {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if !world.books().violations.is_empty() {
            return end(&world);
        }
    }
    weather::calm(&world);
    converge(&world).await;
    if world.books().violations.is_empty() {
        renew(&world).await;
    }
    world.books().check_nothing_dropped();
    end(&world)
}

/// Every connection whose grant lives at its service comes to a valid token.
pub async fn converge(world: &World) {
    for _ in 0..CALM_SECS_MAX / 5 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        if !world.books().violations.is_empty() {
            return;
        }
        let mut well = world.is_all_up()
            && !world.memory.is_held()
            && world.bad_days.lock().unwrap().is_empty()
            && world.new_secrets.lock().unwrap().is_empty();
        for conn in &world.conns {
            well = well && is_well(world, conn).await;
        }
        if well {
            world.tell("all is well");
            return;
        }
    }
    for conn in &world.conns {
        if !is_well(world, conn).await {
            let row = world.row(conn).await;
            let state = row.map(|row| (row.version, row.state));
            world.books().broken(format!("{} never came right: {state:?}", conn.id));
        }
    }
}

/// Served a token that its API takes; or its grant has ended, at the service or by our revocation.
async fn is_well(world: &World, conn: &Conn) -> bool {
    let Some(row) = world.row(conn).await else { return false };
    let there = world.grant_there(&world.books().tokens, &row);
    let alive = there.is_none_or(|(place, grant)| {
        world.models[place].lock().unwrap().record().grant_alive(grant)
    });
    let believed = row.state.life == Life::Dead && world.books().too_few(conn.place);
    if !alive || believed {
        return true;
    }
    if row.state.life == Life::Revoked {
        // Taken back there too, where there is a call for it and we had what to show.
        let by_hand = world.plan.kinds[conn.place] == Kind::Keeps;
        return by_hand || there.is_some_and(|there| world.books().is_lost(there));
    }
    let Some(broker) = world.some_broker() else { return false };
    match broker.token(&conn.id, None).await {
        Ok(view) => world.lets_in(conn, &view.access_token),
        Err(_) => false,
    }
}

/// Whatever ended is renewed in place by its owner's consent, under the same id.
async fn renew(world: &World) {
    for conn in &world.conns {
        let Some(broker) = world.some_broker() else { continue };
        let served = broker.token(&conn.id, None).await;
        if served.is_ok_and(|view| world.lets_in(conn, &view.access_token)) {
            continue;
        }
        let mut said = None;
        // A secret that was changed is found out by one try, and used by a later one: while
        // somebody else finds it out, this one waits, where the clocks differ up to ten minutes.
        for _ in 0..12 {
            match world.connect(&broker, conn).await {
                Ok(view) if view.id == conn.id => said = None,
                Ok(view) => said = Some(format!("it is {} now", view.id)),
                Err(error) => said = Some(error.to_string()),
            }
            if said.is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(61)).await;
        }
        let served = broker.token(&conn.id, None).await;
        let good = served.is_ok_and(|view| world.lets_in(conn, &view.access_token));
        if said.is_some() || !good {
            world.books().broken(format!("{} couldn't be connected again: {said:?}", conn.id));
        }
    }
}

/// Words of the trace that tell a fault from another: each must come up in many seeds.
const FAULTS: [&str; 34] = [
    "the journal is away",
    "the power is cut",
    "crashes at",
    "stands still",
    "the last look",
    "failed before",
    "failed after",
    "the store is away",
    "journal: the write failed",
    "journal: can't be read",
    "disk is full",
    "s clock is",
    "is the data key,",
    "the root key is another one",
    "a copy of the store is opened",
    "a bad day: Grants",
    "a bad day: Client",
    "is held: true",
    "is held: false",
    "the store is put back",
    "the journals are lost",
    "somebody took over",
    "grant(s) back",
    "revokes c",
    "connects c",
    "adds the new secret",
    "refused by the API",
    "didn't write",
    "LostRequest",
    "ErrorBefore",
    "Truncated",
    "Late → maybe sent",
    "ReplicaLag",
    "Twice",
];

fn end(world: &World) -> Story {
    let trace = world.take_trace();
    let told = |words: &str| trace.iter().filter(|line| line.contains(words)).count() as u64;
    let mut counts: BTreeMap<&'static str, u64> =
        FAULTS.iter().map(|words| (*words, told(words))).collect();
    let books = world.books();
    counts.insert("refreshes sent", books.sent.len() as u64);
    counts.insert("written late", books.sent.iter().filter(|s| s.late).count() as u64);
    counts.insert("answers lost", books.sent.iter().filter(|s| s.lost).count() as u64);
    counts.insert("commits", books.commits.len() as u64);
    let violations = books.violations.clone();
    drop(books);
    world.shut();
    Story { seed: 0, violations, trace, counts }
}

impl World {
    /// A connection's grant as it is stored.
    pub async fn row(&self, conn: &Conn) -> Option<indicia_broker::model::GrantRow> {
        let id = ConnectionId::new(&conn.id).unwrap();
        let found = self.eye.connection(&id).await.expect("the eye sees all");
        found.map(|(_, grant)| grant)
    }
}
