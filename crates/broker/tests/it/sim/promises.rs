//! Single promises, staged in the simulated world with nothing left to chance.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use indicia_broker::Force;
use indicia_broker::model::HolderId;
use indicia_broker::revoke::{Selector, Shared};
use indicia_oauth::ClientSecret;

use super::faults::Plan;
use super::run::converge;
use super::services::{KINDS, Kind};
use super::world::{Staged, World};

/// Who asks at once, in each of three processes.
const ASK_AT_ONCE: usize = 64;

fn in_world(plan: Plan, act: impl AsyncFnOnce(&Arc<World>)) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::new(plan, None);
        world.settle_in().await;
        act(&world).await;
        let broken = world.books().violations.clone();
        world.shut();
        assert!(broken.is_empty(), "{}\n{}", broken.join("\n"), world.take_trace().join("\n"));
    });
}

/// One connection; nobody asks but the test.
fn quiet(kind: Kind) -> Plan {
    Plan { hosts: 3, callers: 0, connections: 1, ..Plan::bare(1, kind) }
}

/// All clocks go on by so much: tokens end at once everywhere.
fn let_it_end(world: &World) {
    let life_ms = i64::try_from(world.plan.life_secs * 1000).unwrap();
    world.skews.iter().for_each(|skew| skew.store(life_ms + 1_000, Ordering::Relaxed));
}

// RF-4, DV-35
#[test]
fn rf_4_dv_35_however_many_ask_at_once_one_refresh_arrives() {
    for kind in KINDS {
        in_world(quiet(kind), async |world| {
            let_it_end(world);
            let brokers = world.brokers();
            let id = &world.conns[0].id;
            let all = brokers.iter().flat_map(|b| (0..ASK_AT_ONCE).map(|_| b.token(id, None)));
            let served = join_all(all).await;
            let first = served[0].as_ref().unwrap().access_token.clone();
            for view in &served {
                assert_eq!(*view.as_ref().unwrap().access_token, *first, "{kind:?}");
            }
            assert_eq!(world.books().sent.len(), 1, "{kind:?}: one POST for all");
            let again = brokers[2].token(id, Some(Duration::from_secs(20))).await.unwrap();
            assert_eq!(*again.access_token, *first, "{kind:?}");
            assert_eq!(world.books().sent.len(), 1, "{kind:?}: no other to be safe");
        });
    }
}

/// Calls between the answer's arrival and the commit, in their order, and whether the answer is
/// kept by then.
const STEPS: [(&str, u32, bool); 6] = [
    ("send", 0, true),
    ("answer", 0, false),
    ("keep", 0, false),
    ("kept", 0, true),
    ("commit", 0, true),
    ("commit", 1, true),
];

// RF-5
#[test]
fn rf_5_a_crash_at_any_step_after_an_answer_was_kept_loses_nothing() {
    for (step, calls_before, survives) in STEPS {
        in_world(quiet(Kind::Strict), async |world| {
            let staged = Staged { call: step, passes: calls_before, freeze_secs: None };
            *world.staged.lock().unwrap() = Some(staged);
            let_it_end(world);
            let broker = world.brokers().remove(0);
            let conn = world.conns[0].clone();
            let asked = tokio::time::timeout(Duration::from_secs(90), broker.token(&conn.id, None));
            // The process is gone, and whoever asked it.
            let _ = asked.await;
            converge(world).await;
            let record_alive = {
                let model = world.models[0].lock().unwrap();
                model.record().grants()[0].ended.is_none()
            };
            assert_eq!(record_alive, survives, "a crash at {step} ({calls_before})");
            assert!(world.staged.lock().unwrap().is_none(), "nobody came to {step}");
        });
    }
}

// DV-29
#[test]
fn dv_29_a_late_second_answer_loses_nothing() {
    in_world(quiet(Kind::Grace), async |world| {
        let staged = Staged { call: "answer", passes: 0, freeze_secs: Some(25) };
        *world.staged.lock().unwrap() = Some(staged);
        let_it_end(world);
        let (brokers, conn) = (world.brokers(), world.conns[0].clone());
        // One process stands still with the answer on its way; the next one takes over, asks within
        // the grace, and goes on from what it got.
        let first = brokers[0].token(&conn.id, None);
        let others = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            brokers[1].token(&conn.id, None).await.unwrap();
            world.books().wish_began(&HolderId::new("h1.2").unwrap(), false);
            brokers[1].refresh(&conn.id, Force::No).await.unwrap()
        };
        let (late, newest) = tokio::join!(first, others);
        assert!(late.is_ok(), "it is served what is there");
        let row = world.row(&conn).await.unwrap();
        assert_eq!(row.version, newest.version, "the later token set stays");
        let served = brokers[0].token(&conn.id, None).await.unwrap();
        assert_eq!(*served.access_token, *newest.access_token);
        assert!(world.models[0].lock().unwrap().record().grants()[0].ended.is_none());
    });
}

// RF-6
#[test]
fn rf_6_a_journal_that_cannot_be_read_is_waited_for() {
    in_world(quiet(Kind::Strict), async |world| {
        let staged = Staged { call: "commit", passes: 0, freeze_secs: None };
        *world.staged.lock().unwrap() = Some(staged);
        let_it_end(world);
        let (brokers, conn) = (world.brokers(), world.conns[0].clone());
        let asked = brokers[0].token(&conn.id, None);
        let _ = tokio::time::timeout(Duration::from_secs(5), asked).await;
        // The answer is kept, its process gone, the token ended: and nobody can look into the
        // journal.
        world.disk.lock().unwrap().unreadable = true;
        for _ in 0..12 {
            assert!(brokers[1].token(&conn.id, None).await.is_err());
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        assert_eq!(world.books().sent.len(), 1, "it isn't sent again");
        world.disk.lock().unwrap().unreadable = false;
        converge(world).await;
        assert!(world.models[0].lock().unwrap().record().grants()[0].ended.is_none());
    });
}

// CA-16
#[test]
fn ca_16_a_revocation_that_meets_an_old_secret_goes_on_with_the_next() {
    in_world(quiet(Kind::Strict), async |world| {
        let (broker, conn) = (world.brokers().remove(0), world.conns[0].clone());
        let new = "canary-secret-new";
        world.models[0].lock().unwrap().set_secrets("app-0", vec![new.to_owned()]);
        let client = Kind::Strict.service();
        broker.add_secret(client, ClientSecret::new(new), None, None).await.unwrap();
        broker.revoke(Selector::Connections(vec![conn.id]), Shared::Allow).await.unwrap();
        converge(world).await;
        assert!(world.models[0].lock().unwrap().record().grants()[0].ended.is_some());
    });
}
