//! A client's secret is replaced by each of the rules that services have, while processes read and
//! refresh without a pause: the service's own record counts what reached it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use crate::peers;
use crate::processes::rotating;
use crate::stage::{Home, SECRET, Sandbox, until};

const NEW: &str = "the-next-secret-of-the-client-41d0";
const IDS: [&str; 3] = ["one", "two", "three"];

/// What the readers and refreshers have done so far, by connection.
#[derive(Default)]
struct Done {
    reads: [AtomicUsize; IDS.len()],
    tries: [AtomicUsize; IDS.len()],
    /// Refreshes that found the service not to be had just now.
    later: AtomicUsize,
}

impl Done {
    /// Waits until each has ended what it was at, and done another: so every step of a rotation is
    /// met by all, and nobody still has what was true before it.
    fn go_on(&self) {
        let all = || self.reads.iter().chain(&self.tries).map(|n| n.load(Ordering::SeqCst));
        let before: Vec<usize> = all().collect();
        until("more reads and refreshes", || all().zip(&before).all(|(now, then)| now >= then + 2));
    }

    fn later(&self) -> usize {
        self.later.load(Ordering::SeqCst)
    }
}

/// Ends the load also when a step of the rotation panics, so that its message is seen.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Scene {
    home: Home,
    sandbox: Sandbox,
}

impl Scene {
    /// Connections at a service that rotates refresh tokens, and ends a grant when one is reused.
    fn set(more: &[&str]) -> Self {
        let home = Home::new();
        peers::own_file(&home, "klaviyo", &rotating());
        let sandbox = Sandbox::start_in(&home, &[]);
        home.add_client(&sandbox, "klaviyo", more);
        for id in IDS {
            home.connect(&sandbox, &["klaviyo", "--id", id, "--can", "contacts.read"]);
        }
        Self { home, sandbox }
    }

    fn portal(&self, secrets: &[&str]) {
        self.sandbox.secrets("klaviyo", secrets);
    }

    fn add(&self) {
        let args = ["clients", "secrets", "klaviyo", "add", "--secret-stdin"];
        self.home.run_with(&args, NEW).ok();
    }

    fn secret(&self, what: &str, n: &str) {
        self.home.run(&["clients", "secrets", "klaviyo", what, n]).ok();
    }

    /// Rotates under load. Every read must succeed; nothing may be lost at the service.
    fn under_load(&self, rotate: impl FnOnce(&Done)) -> Done {
        let (done, stop) = (Done::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let end = Stop(&stop);
            for n in 0..IDS.len() {
                let (done, stop) = (&done, &stop);
                scope.spawn(move || self.keep_reading(n, done, stop));
                scope.spawn(move || self.keep_refreshing(n, done, stop));
            }
            done.go_on();
            rotate(&done);
            done.go_on();
            drop(end);
        });
        for id in IDS {
            self.home.run(&["refresh", id, "--force"]).ok();
            let shown = self.home.run(&["connections", "show", id, "--json"]).ok().json();
            assert_eq!(shown["state"], "active", "{shown}");
        }
        self.nothing_was_lost();
        done
    }

    fn keep_reading(&self, n: usize, done: &Done, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            self.home.run(&["token", IDS[n]]).ok();
            done.reads[n].fetch_add(1, Ordering::SeqCst);
        }
    }

    fn keep_refreshing(&self, n: usize, done: &Done, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            let ran = self.home.run(&["refresh", IDS[n], "--force"]);
            match ran.status {
                0 => {}
                // The client is refused, or another is its canary: no word against the grant.
                5 => _ = done.later.fetch_add(1, Ordering::SeqCst),
                _ => panic!("{ran:?}"),
            }
            done.tries[n].fetch_add(1, Ordering::SeqCst);
        }
    }

    /// By the service's own record.
    fn nothing_was_lost(&self) {
        let record = self.sandbox.record("klaviyo");
        let grants = record["grants"].as_array().unwrap();
        assert_eq!(grants.len(), IDS.len());
        assert!(grants.iter().all(|grant| grant["alive"] == true), "{record}");
        assert_eq!(record["counters"]["reuse_detected"], Value::Null, "{}", record["counters"]);
    }

    fn states(&self) -> BTreeMap<u64, String> {
        let shown = self.home.run(&["clients", "show", "klaviyo", "--json"]).ok().json();
        let secrets = shown["secrets"].as_array().unwrap().iter();
        let one = |s: &Value| (s["n"].as_u64().unwrap(), s["state"].as_str().unwrap().to_owned());
        secrets.map(one).collect()
    }

    #[track_caller]
    fn new_one_is_current(&self, old: &str) {
        let states = BTreeMap::from([(1, old.to_owned()), (2, "current".to_owned())]);
        assert_eq!(self.states(), states);
    }
}

#[test]
fn two_secrets_that_overlap_are_exchanged_without_one_refused_refresh() {
    let scene = Scene::set(&[]);
    let done = scene.under_load(|done| {
        scene.portal(&[SECRET, NEW]);
        scene.add();
        done.go_on();
        scene.secret("promote", "2");
        done.go_on();
        // Whoever began with the old one has ended, before the portal forgets it.
        scene.secret("retire", "1");
        done.go_on();
        scene.portal(&[NEW]);
    });
    scene.new_one_is_current("retired");
    assert_eq!(done.later(), 0);
}

#[test]
fn a_staged_secret_takes_over_when_it_is_activated_at_the_service() {
    let scene = Scene::set(&[]);
    scene.under_load(|done| {
        scene.add();
        done.go_on();
        scene.portal(&[NEW]);
    });
    scene.new_one_is_current("retiring");
}

#[test]
fn a_swap_refuses_for_a_while_and_costs_nothing() {
    let scene = Scene::set(&[]);
    let done = scene.under_load(|done| {
        scene.portal(&[NEW]);
        until("a refused refresh", || done.later() > 0);
        done.go_on();
        scene.add();
    });
    scene.new_one_is_current("retiring");
    assert!(done.later() > 0);
}

#[test]
fn a_secret_with_a_last_day_is_warned_of_and_replaced_before_it() {
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(10 * 24);
    let day = soon.to_string()[..10].to_owned();
    let scene = Scene::set(&["--secret-expires", &day]);
    let warned = |command: &str| scene.home.run(&[command]).ok().stdout.contains("client secret 1");
    assert!(warned("doctor") && warned("forecast"));
    let done = scene.under_load(|done| {
        scene.portal(&[SECRET, NEW]);
        scene.add();
        scene.secret("promote", "2");
        done.go_on();
        scene.secret("retire", "1");
        done.go_on();
        // Its last day is over.
        scene.portal(&[NEW]);
    });
    assert_eq!(done.later(), 0);
    assert!(!warned("doctor") && !warned("forecast"));
}
