//! Each guard is shown to be needed: taken out, with the fault that isolates it, a run fails.
//!
//! Guards cover for one another, so a row takes out the companion too, or chooses the service where
//! the companion isn't in the way.

use indicia_broker::Guards;

use super::bad_days::CONNECTIONS;
use super::faults::{Faults, Plan};
use super::run::run;
use super::services::Kind;

/// Seeds of a row: the mutant must fail in one of them, the whole engine in none.
const SEEDS: u64 = 24;

struct Mutant {
    guard: &'static str,
    out: Guards,
    /// The fault that shows it, and why.
    why: &'static str,
    kind: Kind,
    faults: fn() -> Faults,
    lease_per_host: bool,
    /// Words of the broken promise.
    breaks: &'static [&'static str],
}

const ALL: Guards = Guards::ALL;

const MUTANTS: &[Mutant] = &[
    Mutant {
        guard: "intent",
        out: Guards { intent: false, ..ALL },
        why: "a host crashes between sending and keeping: only the intent tells the next one that \
                  the refresh token may be spent",
        kind: Kind::Strict,
        faults: || Faults { crash: 40, slow: 3_000, ..Faults::default() },
        lease_per_host: false,
        breaks: &["sent a refresh token again"],
    },
    Mutant {
        guard: "recheck",
        out: Guards { recheck: false, ..ALL },
        why: "two hosts find the same token ended; who waited for the lease must look again. At a \
                  service that keeps its refresh token, where the intent doesn't fence",
        kind: Kind::Keeps,
        faults: || Faults { slow: 3_000, ..Faults::default() },
        lease_per_host: false,
        breaks: &["refreshed a token of"],
    },
    Mutant {
        guard: "recheck",
        out: Guards { recheck: false, intent: false, ..ALL },
        why: "the same where the refresh token rotates: the intent, which names the version, would \
                  cover for it, so it is out too",
        kind: Kind::Strict,
        faults: || Faults { slow: 3_000, ..Faults::default() },
        lease_per_host: false,
        breaks: &["that it didn't read under a lease"],
    },
    Mutant {
        guard: "fence",
        out: Guards { fence: false, ..ALL },
        why: "a holder is paused beyond its lease with an answer in hand; another refreshes within \
                  the grace and goes on; the late commit must not overwrite what is newer",
        kind: Kind::Grace,
        faults: || Faults { pause: 40, slow: 2_000, ..Faults::default() },
        lease_per_host: false,
        breaks: &["was replaced by an answer to another"],
    },
    Mutant {
        guard: "deadline",
        out: Guards { deadline: false, ..ALL },
        why: "a holder is paused between intent and request until its lease is another's",
        kind: Kind::Strict,
        faults: || Faults { pause: 60, ..Faults::default() },
        lease_per_host: false,
        breaks: &["wrote a refresh without the lease"],
    },
    Mutant {
        guard: "journal_before_parse",
        out: Guards { journal_before_parse: false, ..ALL },
        why: "a host crashes between the answer and its commit",
        kind: Kind::Strict,
        faults: || Faults { crash: 40, store_before: 300, ..Faults::default() },
        lease_per_host: false,
        breaks: &["dropped an answer that it had", "was given up"],
    },
    Mutant {
        guard: "journal_slot",
        out: Guards { journal_slot: false, ..ALL },
        why: "the disk is full, the spend goes out all the same, and a crash or an outage of the \
                  store finds its answer nowhere",
        kind: Kind::Strict,
        faults: || Faults { disk_full: true, store_outage: true, crash: 30, ..Faults::default() },
        lease_per_host: false,
        breaks: &["dropped an answer that it had", "was given up"],
    },
    Mutant {
        guard: "single_flight",
        out: Guards { single_flight: false, ..ALL },
        why: "callers of one process ask at once, and the lease is the host's: a second claim by the \
                  same holder passes",
        kind: Kind::Strict,
        faults: || Faults { slow: 3_000, ..Faults::default() },
        lease_per_host: true,
        breaks: &["refreshed beside", "sent a refresh token again", "sent a spent token"],
    },
    Mutant {
        guard: "refused_fingerprint",
        out: Guards { refused_fingerprint: false, ..ALL },
        why: "the owner takes the grant back, and callers ask on",
        kind: Kind::Strict,
        faults: || Faults { owner_revokes: true, ..Faults::default() },
        lease_per_host: false,
        breaks: &["sent what was refused"],
    },
    Mutant {
        guard: "held",
        out: Guards { held: false, ..ALL },
        why: "the store is put back to a copy, and nobody has said yet that it may refresh",
        kind: Kind::Strict,
        faults: || Faults { restores: true, ..Faults::default() },
        lease_per_host: false,
        breaks: &["of a store that is held"],
    },
    Mutant {
        guard: "held",
        out: Guards { held: false, ..ALL },
        why: "a copy of the store is opened on another host, beside the original",
        kind: Kind::Strict,
        faults: || Faults { copies: true, ..Faults::default() },
        lease_per_host: false,
        breaks: &["a held copy sends"],
    },
    Mutant {
        guard: "many_refused",
        out: Guards { many_refused: false, ..ALL },
        why: "the service refuses everybody for a while, though every grant lives",
        kind: Kind::Strict,
        faults: || Faults { bad_days: true, ..Faults::default() },
        lease_per_host: false,
        breaks: &["was given up"],
    },
];

impl Mutant {
    fn plan(&self, seed: u64, guards: Guards) -> Plan {
        let faults = (self.faults)();
        let bare = Plan::bare(seed, self.kind);
        let connections = if faults.bad_days { CONNECTIONS } else { bare.connections };
        Plan { faults, connections, lease_per_host: self.lease_per_host, guards, ..bare }
    }

    /// The seed that shows the mutant, and what it broke.
    fn found(&self) -> Option<(u64, String)> {
        (0..SEEDS).find_map(|seed| {
            let story = run(self.plan(seed, self.out), None);
            let meant = |text: &String| self.breaks.iter().any(|words| text.contains(words));
            story.violations.into_iter().find(meant).map(|text| (seed, text))
        })
    }
}

/// All rows, or those of one guard; `say` is told how it goes.
pub fn check(only: Option<&str>, say: fn(&str)) {
    let mut unseen = Vec::new();
    let rows: Vec<&Mutant> =
        MUTANTS.iter().filter(|m| only.is_none_or(|guard| guard == m.guard)).collect();
    assert!(!rows.is_empty(), "there is no guard {only:?}");
    for mutant in rows {
        say(&format!("without {} at {:?}: {}", mutant.guard, mutant.kind, mutant.why));
        match mutant.found() {
            Some((seed, text)) => say(&format!("  seed {seed}: {}", text.trim())),
            None => unseen.push(mutant.guard),
        }
        for seed in 0..SEEDS {
            let whole = run(mutant.plan(seed, ALL), None);
            let broken = whole.violations.first();
            assert_eq!(broken, None, "all guards stand, seed {seed} of {}", mutant.guard);
        }
    }
    assert!(unseen.is_empty(), "nobody notices that these are gone: {}", unseen.join(", "));
}
