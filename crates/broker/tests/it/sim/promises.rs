//! Single promises, staged in the simulated world with nothing left to chance.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use indicia_broker::Force;
use indicia_broker::model::{Cause, HolderId, Life};
use indicia_broker::revoke::{Selector, Shared};
use indicia_oauth::ClientSecret;

use super::bad_days::{self, BadDay};
use super::copies::Copied;
use super::faults::Plan;
use super::host::SimRoot;
use super::restores;
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

#[test]
fn a_restored_store_sends_nothing_and_is_repaired_from_the_journal() {
    for kind in KINDS {
        in_world(quiet(kind), async |world| {
            restores::copy(world);
            tokio::time::sleep(Duration::from_secs(200)).await;
            let (conn, sent) = (world.conns[0].clone(), world.books().sent.len());
            assert!(sent > 2, "{kind:?}: the duties refresh it");
            let version = world.row(&conn).await.unwrap().version;
            restores::put_back(world, 0);
            assert_eq!(world.row(&conn).await.unwrap().version, 1, "{kind:?}");
            tokio::time::sleep(Duration::from_secs(100)).await;
            for broker in world.brokers() {
                // What the journal knew, was served until it ended; after that nothing is sent.
                let held = broker.token(&conn.id, None).await.err().unwrap();
                assert_eq!(held.code(), "store_held", "{kind:?}");
                assert!(broker.refresh(&conn.id, Force::Yes).await.is_err(), "{kind:?}");
            }
            assert_eq!(world.books().sent.len(), sent, "{kind:?}: nothing is sent while held");
            restores::take_over(world).await;
            let view = world.brokers()[1].token(&conn.id, None).await.unwrap();
            assert!(world.lets_in(&conn, &view.access_token), "{kind:?}");
            assert!(view.version > if kind == Kind::Keeps { 1 } else { version }, "{kind:?}");
            assert!(world.models[0].lock().unwrap().record().grants()[0].ended.is_none());
        });
    }
}

#[test]
fn a_restored_store_serves_what_is_good_and_spends_it_only_at_its_end() {
    in_world(quiet(Kind::Strict), async |world| {
        restores::copy(world);
        let (conn, broker) = (world.conns[0].clone(), world.brokers().remove(0));
        world.books().wish_began(&HolderId::new("h0.1").unwrap(), true);
        broker.refresh(&conn.id, Force::Yes).await.unwrap();
        world.books().wish_ended(&HolderId::new("h0.1").unwrap(), true);
        world.disk.lock().unwrap().lose();
        restores::put_back(world, 0);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(
            broker.token(&conn.id, None).await.unwrap().version,
            1,
            "it is good, and served"
        );
        restores::take_over(world).await;
        tokio::time::sleep(Duration::from_secs(50)).await;
        assert_eq!(world.books().sent.len(), 1, "it may be spent, so nothing is sent yet");
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(world.books().sent.len(), 2, "it has ended: there is nothing to lose");
        let row = world.row(&conn).await.unwrap();
        assert_eq!(row.state.reason.unwrap().cause, Some(Cause::Replaced));
        world.connect(&broker, &conn).await.unwrap();
        assert!(broker.token(&conn.id, None).await.is_ok(), "renewed in place");
    });
}

/// Enough connections of one client for a bad day to be noticed; nobody asks but the duties.
fn many(kind: Kind) -> Plan {
    Plan { connections: bad_days::CONNECTIONS, ..quiet(kind) }
}

async fn secs(secs: u64) {
    tokio::time::sleep(Duration::from_secs(secs)).await;
}

// proves: one-canary
// proves: taken-up-with-the-others
#[test]
fn a_bad_day_ends_no_grant_and_is_over_by_itself() {
    for kind in KINDS {
        for what in [BadDay::Grants, BadDay::Client] {
            in_world(many(kind), async |world| {
                bad_days::set(world, Some(what));
                secs(2 * 3_600).await;
                let sent = world.books().sent.len();
                // Refused before it was noticed: some, and each twice where that is confirmed. Then
                // one canary each five minutes, with no more than a second secret's try.
                assert!(sent < 60, "{kind:?}, {what:?}: {sent} in two hours");
                for conn in &world.conns {
                    let life = world.row(conn).await.unwrap().state.life;
                    assert_eq!(life, Life::Alive, "{kind:?}, {what:?}: {} is given up", conn.id);
                }
                bad_days::set(world, None);
                converge(world).await;
            });
        }
    }
}

#[test]
fn an_answer_of_before_a_bad_day_doesnt_end_it() {
    in_world(many(Kind::Strict), async |world| {
        // The answer of one is kept, and its process gone, before the day begins.
        let staged = Staged { call: "commit", passes: 0, freeze_secs: None };
        *world.staged.lock().unwrap() = Some(staged);
        let_it_end(world);
        let (brokers, late) = (world.brokers(), world.conns[0].clone());
        let asked = brokers[0].token(&late.id, None);
        let _ = tokio::time::timeout(Duration::from_millis(500), asked).await;
        assert!(world.staged.lock().unwrap().is_none(), "nobody came to the commit");
        bad_days::set(world, Some(BadDay::Grants));
        for conn in &world.conns[1..] {
            assert!(brokers[1].token(&conn.id, None).await.is_err(), "{}", conn.id);
        }
        let client = world.row(&late).await.unwrap().client;
        assert!(brokers[1].token(&late.id, None).await.is_ok(), "what was kept is stored");
        let row = world.eye.client(&client).await.unwrap().unwrap();
        assert!(row.grants_refused.held.is_some(), "the day goes on");
        bad_days::set(world, None);
        converge(world).await;
    });
}

// proves: exchange-noticed
#[test]
fn a_copy_that_lacks_nothing_is_noticed_to_be_one() {
    in_world(quiet(Kind::Strict), async |world| {
        secs(2).await;
        restores::copy(world);
        restores::put_back(world, 0);
        secs(2).await;
        for broker in world.brokers() {
            let held = world.connect(&broker, &world.conns[0]).await.err().unwrap();
            assert_eq!(held.code(), "store_held");
        }
        restores::take_over(world).await;
    });
}

// proves: looked-at-before-a-spend
#[test]
fn nothing_is_spent_in_the_moment_before_a_restore_is_noticed() {
    for kind in KINDS {
        in_world(quiet(kind), async |world| {
            restores::copy(world);
            secs(102).await;
            let (conn, sent) = (world.conns[0].clone(), world.books().sent.len());
            restores::put_back(world, 0);
            let asked = world.brokers()[1].refresh(&conn.id, Force::Yes).await;
            assert_eq!(asked.err().map(|e| e.code()), Some("store_held"), "{kind:?}");
            assert_eq!(world.books().sent.len(), sent, "{kind:?}");
            restores::take_over(world).await;
        });
    }
}

// proves: a-copy-looks-into-the-journal
#[test]
fn what_a_copy_has_of_old_is_looked_for_in_the_journal_first() {
    in_world(quiet(Kind::Strict), async |world| {
        restores::copy(world);
        secs(201).await;
        let conn = world.conns[0].clone();
        let version = world.row(&conn).await.unwrap().version;
        restores::put_back(world, 0);
        // Nobody can look into it while the store is held.
        world.disk.lock().unwrap().unreadable = true;
        secs(100).await;
        assert_eq!(world.row(&conn).await.unwrap().version, 1);
        restores::take_over(world).await;
        world.disk.lock().unwrap().unreadable = false;
        let view = world.brokers()[1].token(&conn.id, None).await.unwrap();
        assert!(view.version >= version);
        assert!(world.lets_in(&conn, &view.access_token));
    });
}

#[test]
fn a_copy_beside_the_original_serves_what_is_good_and_sends_nothing() {
    in_world(quiet(Kind::Strict), async |world| {
        let (copied, id) = (Copied::of(world), &world.conns[0].id);
        let broker = copied.open().await;
        for _ in 0..40 {
            copied.ask(&broker, id).await;
            let _ = broker.run_due().await;
            secs(5).await;
        }
        assert!(broker.token(id, None).await.is_err(), "its token has ended");
        assert!(world.brokers()[0].token(id, None).await.is_ok(), "the original goes on");
    });
}

// proves: a-new-data-key-is-looked-for
#[test]
fn keys_are_rotated_while_everything_goes_on() {
    for kind in KINDS {
        in_world(many(kind), async |world| {
            let_it_end(world);
            let brokers = world.brokers();
            let next = SimRoot { no: Some(1), open: Arc::clone(&world.root_keys) };
            *world.root_keys.lock().unwrap() = [0, 1];
            // Three processes refresh all there is; one of them rotates meanwhile.
            let all = brokers.iter().flat_map(|b| world.conns.iter().map(|c| b.token(&c.id, None)));
            let quiet = |_| {};
            let rotated = async {
                let report = brokers[0].rotate_data_keys(&quiet).await.unwrap();
                brokers[0].rotate_root_key(&next).await.unwrap();
                report
            };
            let (served, report) = tokio::join!(join_all(all), rotated);
            let failed = served.iter().find_map(|view| view.as_ref().err());
            assert!(failed.is_none(), "{kind:?}: {failed:?}");
            assert_eq!(report.data_key, 2, "{kind:?}");
            // From here on the new root key alone opens the store, for who begins now, too.
            *world.root_keys.lock().unwrap() = [1, 1];
            world.crash(0);
            secs(100).await;
            for row in world.memory.grant_rows() {
                assert_eq!(row.tokens.key.0, 2, "{kind:?}: all is sealed with the new key");
            }
            for (broker, conn) in
                world.brokers().iter().flat_map(|b| world.conns.iter().map(move |c| (b, c)))
            {
                let view = broker.token(&conn.id, None).await.unwrap();
                assert!(world.lets_in(conn, &view.access_token), "{kind:?}");
            }
        });
    }
}

// proves: both-gates
#[test]
fn a_client_that_is_refused_on_a_bad_day_for_grants_is_tried_again() {
    in_world(many(Kind::Strict), async |world| {
        bad_days::set(world, Some(BadDay::Grants));
        secs(100).await;
        bad_days::set(world, Some(BadDay::Client));
        secs(1_000).await;
        bad_days::set(world, None);
        converge(world).await;
    });
}

// proves: each-secret-in-turn
#[test]
fn a_new_secret_that_was_added_on_a_bad_day_is_tried_again() {
    in_world(quiet(Kind::Strict), async |world| {
        bad_days::set(world, Some(BadDay::Client));
        secs(100).await;
        let (new, broker) = ("canary-secret-new", world.brokers().remove(0));
        world.models[0].lock().unwrap().set_secrets("app-0", vec![new.to_owned()]);
        let client = Kind::Strict.service();
        broker.add_secret(client, ClientSecret::new(new), None, None).await.unwrap();
        secs(1_000).await;
        bad_days::set(world, None);
        converge(world).await;
    });
}
