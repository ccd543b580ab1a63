//! What may go wrong in a run, and how often. Each seed switches about half of it off (a swarm):
//! faults that hide one another in one seed stand alone in another.

#[cfg(feature = "mutants")]
use indicia_broker::Guards;

use super::bad_days::CONNECTIONS;
use super::rng::Rng;
use super::services::{KINDS, Kind};

/// Shares are of ten thousand calls; the port's own faults may come at any call, crash and pause at
/// those on the way of a spend more often.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub crash: u64,
    pub pause: u64,
    pub store_before: u64,
    pub store_after: u64,
    /// Seconds in which the store answers nothing, now and then.
    pub store_outage: bool,
    pub keep_fails: u64,
    pub journal_unreadable: u64,
    /// The journal's disk is full, now and then.
    pub disk_full: bool,
    /// The journal can't be read for a while, now and then.
    pub journal_away: bool,
    /// All hosts end at once, now and then.
    pub power_cuts: bool,
    pub not_sent: u64,
    pub lost_request: u64,
    pub lost_answer: u64,
    pub slow: u64,
    pub late: u64,
    pub duplicate: u64,
    pub error_before: u64,
    pub error_after: u64,
    pub page: u64,
    pub truncated: u64,
    pub throttled: u64,
    /// A service that keeps refuses a living grant once.
    pub replica_lag: u64,
    /// A host stands still between the last look at its lease and the write.
    pub window: u64,
    pub clock_jumps: bool,
    /// A service refuses everybody for a while, now and then. Such a seed has one client with many
    /// connections, and nothing else that ends grants.
    pub bad_days: bool,
    /// The store is put back to a copy of earlier, now and then. Which of two answers is the later
    /// one is told by wall clocks then, so that they don't jump.
    pub restores: bool,
    /// A copy of the store is opened beside it, now and then.
    pub copies: bool,
    /// Data keys and the root key are rotated, now and then.
    pub key_rotations: bool,
    /// And what the journals have is lost with a restore.
    pub journals_lost: bool,
    pub owner_revokes: bool,
    pub we_revoke: bool,
    pub reconnect: bool,
    pub secret_changes: bool,
    pub force: bool,
}

/// All that a seed decides, besides chance itself.
#[derive(Clone)]
pub struct Plan {
    pub seed: u64,
    pub hosts: usize,
    pub callers: usize,
    pub kinds: Vec<Kind>,
    pub connections: usize,
    pub life_secs: u64,
    /// Simulated seconds with faults.
    pub stormy_secs: u64,
    pub faults: Faults,
    #[cfg(feature = "mutants")]
    pub guards: Guards,
    /// A second claim by the same holder passes: what single flight in the process is for.
    pub lease_per_host: bool,
}

/// The usual shares, of which a seed takes some.
const STORM: Faults = Faults {
    crash: 8,
    pause: 8,
    store_before: 60,
    store_after: 60,
    store_outage: true,
    keep_fails: 300,
    journal_unreadable: 100,
    disk_full: true,
    journal_away: true,
    power_cuts: true,
    not_sent: 400,
    lost_request: 400,
    lost_answer: 400,
    slow: 800,
    late: 200,
    duplicate: 300,
    error_before: 400,
    error_after: 300,
    page: 200,
    truncated: 200,
    throttled: 300,
    replica_lag: 500,
    window: 100,
    clock_jumps: true,
    bad_days: true,
    restores: true,
    journals_lost: true,
    copies: true,
    key_rotations: true,
    owner_revokes: true,
    we_revoke: true,
    reconnect: true,
    secret_changes: true,
    force: true,
};

impl Faults {
    /// Each kind of fault by a coin.
    fn swarm(rng: &mut Rng) -> Self {
        let all = STORM;
        let mut share = |share: u64| if rng.chance(5_000) { share } else { 0 };
        let mut faults = Self {
            crash: share(all.crash),
            pause: share(all.pause),
            store_before: share(all.store_before),
            store_after: share(all.store_after),
            keep_fails: share(all.keep_fails),
            journal_unreadable: share(all.journal_unreadable),
            not_sent: share(all.not_sent),
            lost_request: share(all.lost_request),
            lost_answer: share(all.lost_answer),
            slow: share(all.slow),
            late: share(all.late),
            duplicate: share(all.duplicate),
            error_before: share(all.error_before),
            error_after: share(all.error_after),
            page: share(all.page),
            truncated: share(all.truncated),
            throttled: share(all.throttled),
            replica_lag: share(all.replica_lag),
            window: share(all.window),
            ..Self::default()
        };
        faults.store_outage = rng.chance(5_000);
        faults.disk_full = rng.chance(5_000);
        faults.journal_away = rng.chance(4_000);
        faults.power_cuts = rng.chance(3_000);
        faults.clock_jumps = rng.chance(3_000);
        faults.owner_revokes = rng.chance(4_000);
        faults.we_revoke = rng.chance(4_000);
        faults.reconnect = rng.chance(4_000);
        faults.secret_changes = rng.chance(3_000);
        faults.force = rng.chance(4_000);
        faults.bad_days = rng.chance(1_200);
        if faults.bad_days {
            faults.clock_jumps = false;
            faults.owner_revokes = false;
            faults.we_revoke = false;
        }
        faults.restores = rng.chance(2_500) && !faults.clock_jumps && !faults.bad_days;
        faults.copies = rng.chance(2_000);
        faults.key_rotations = rng.chance(3_000);
        faults.journals_lost = faults.restores && rng.chance(3_000);
        faults
    }
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let hosts = usize::try_from(rng.within(2, 3)).unwrap();
        let callers = usize::try_from(rng.within(1, 3)).unwrap();
        let mut kinds: Vec<Kind> = KINDS.into_iter().filter(|_| rng.chance(6_000)).collect();
        if kinds.is_empty() {
            kinds.push(KINDS[usize::try_from(rng.below(4)).unwrap()]);
        }
        let life_secs = [60, 120, 300][usize::try_from(rng.below(3)).unwrap()];
        // One seed in sixteen sees nothing go wrong.
        let faults = if seed % 16 == 15 { Faults::default() } else { Faults::swarm(&mut rng) };
        if faults.bad_days {
            kinds.truncate(1);
        }
        let connections = match faults.bad_days {
            true => CONNECTIONS,
            false => kinds.len() + usize::try_from(rng.below(2)).unwrap(),
        };
        Self {
            seed,
            hosts,
            callers,
            connections,
            kinds,
            life_secs,
            stormy_secs: 4 * life_secs,
            faults,
            #[cfg(feature = "mutants")]
            guards: Guards::ALL,
            lease_per_host: false,
        }
    }

    /// As few things as possible: for a fault that is to stand alone.
    pub fn bare(seed: u64, kind: Kind) -> Self {
        Self {
            hosts: 2,
            callers: 2,
            kinds: vec![kind],
            connections: 2,
            life_secs: 60,
            stormy_secs: 600,
            faults: Faults::default(),
            ..Self::of(seed)
        }
    }
}
