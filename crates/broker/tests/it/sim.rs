//! The engine among everything that goes wrong: brokers, store, journal, network and services in
//! one process and one simulated time, by seed.
//!
//! `INDICIA_SIM_SEEDS` says how many seeds, `INDICIA_SIM_FIRST` from which on, `INDICIA_SIM_SEED`
//! which one is told aloud.

mod bad_days;
mod books;
mod bridge;
mod callers;
mod checkers;
mod copies;
mod disk;
mod faults;
mod gate;
mod host;
mod keys;
mod logs;
#[cfg(feature = "mutants")]
mod mutants;
mod net;
mod promises;
mod restores;
mod rng;
mod run;
mod services;
mod store;
mod weather;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use faults::Plan;
use run::{Story, run};

/// Seeds that are run twice.
const SAME_SEEDS: u64 = 20;

/// As many as the gate has time for.
const SEEDS: u64 = 150;

fn told(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "a test is told by its environment what to run")]
    std::env::var(name).ok()
}

fn asked(name: &str) -> Option<u64> {
    let text = told(name)?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is no number")))
}

/// The first broken promise, and how to hear the whole story.
fn shown(story: &Story) -> String {
    let first: Vec<&str> = story.violations.iter().take(3).map(String::as_str).collect();
    format!(
        "seed {}: {}\n  (cargo xtask simulate --seed {})",
        story.seed,
        first.join("\n  "),
        story.seed
    )
}

#[test]
fn many_seeds() {
    let seeds = asked("INDICIA_SIM_SEEDS").unwrap_or(SEEDS);
    let first = asked("INDICIA_SIM_FIRST").unwrap_or(0);
    let next = AtomicU64::new(first);
    let told = Mutex::new((Vec::new(), BTreeMap::<&str, u64>::new()));
    let tell = |story: &Story| {
        let mut told = told.lock().unwrap();
        for (name, count) in &story.counts {
            *told.1.entry(name).or_default() += count;
        }
        if !story.violations.is_empty() {
            told.0.push(shown(story));
        }
        let done = story.seed - first;
        if done > 0 && done.is_multiple_of(1_000) {
            eprintln!("{done} of {seeds} seeds, {} broken", told.0.len());
        }
    };
    // Each run is a thread's own, so that they don't know of each other.
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    tell(&run(Plan::of(seed), None));
                }
            });
        }
    });
    let (broken, sums) = told.into_inner().unwrap();
    println!("{seeds} seeds: {sums:?}");
    let unseen: Vec<_> = sums.iter().filter(|(_, count)| **count == 0).collect();
    assert!(seeds < SEEDS || unseen.is_empty(), "never happened: {unseen:?}");
    assert!(broken.is_empty(), "{} of {seeds} seeds:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn one_seed() {
    let seed = asked("INDICIA_SIM_SEED");
    let story =
        run(Plan::of(seed.unwrap_or(1)), seed.map(|_| -> fn(&str) { |line| println!("{line}") }));
    assert!(story.violations.is_empty(), "{}", shown(&story));
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in 0..SAME_SEEDS {
        let (one, two) = (run(Plan::of(seed), None), run(Plan::of(seed), None));
        let differ = one.trace.iter().zip(&two.trace).find(|(a, b)| a != b);
        assert_eq!(differ, None, "seed {seed}");
        assert_eq!(one.trace.len(), two.trace.len(), "seed {seed}");
    }
}

// proves: intent-before-spend
// proves: no-slot-no-spend
// proves: deadline-before-write
// proves: kept-before-read
// proves: second-look
// proves: stale-commit-refused
// proves: one-flight
// proves: refused-not-sent-again
// proves: a-copy-is-held
// proves: many-refused-not-believed
#[test]
#[cfg(feature = "mutants")]
fn mutants() {
    mutants::check(told("INDICIA_SIM_MUTANT").as_deref(), |line| println!("{line}"));
}
