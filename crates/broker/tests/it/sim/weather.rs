//! What goes wrong by the hour rather than by the call: outages, full disks, wrong clocks, owners
//! who change their minds, secrets that are changed in the portal.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicia_broker::ports::Clock as _;

use super::bad_days;
use super::copies;
use super::keys;
use super::restores;
use super::world::World;

/// Starts all that this seed has switched on.
pub fn begin(world: &Arc<World>) {
    let faults = &world.plan.faults;
    if faults.store_outage {
        every(world, 20, 120, |world| {
            world.tell("the store is away");
            world.set_store_down(true);
            let secs = world.draw(|rng| rng.within(1, 40));
            later(world, secs, |world| world.set_store_down(false));
        });
    }
    if faults.disk_full {
        every(world, 20, 120, |world| {
            world.tell("the journal's disk is full");
            world.disk.lock().unwrap().full = true;
            let secs = world.draw(|rng| rng.within(1, 90));
            later(world, secs, |world| world.disk.lock().unwrap().full = false);
        });
    }
    if faults.journal_away {
        every(world, 20, 200, |world| {
            world.tell("the journal is away");
            world.disk.lock().unwrap().unreadable = true;
            let secs = world.draw(|rng| rng.within(1, 120));
            later(world, secs, |world| world.disk.lock().unwrap().unreadable = false);
        });
    }
    if faults.power_cuts {
        every(world, 40, 400, |world| {
            world.tell("the power is cut");
            (0..world.plan.hosts).for_each(|n| world.crash(n));
        });
    }
    if faults.clock_jumps {
        every(world, 20, 120, clock_jumps);
    }
    if faults.restores {
        every(world, 5, 60, restores::copy);
        every(world, 60, 400, restores::restore);
    }
    if faults.copies {
        every(world, 20, 400, copies::open);
    }
    if faults.key_rotations {
        every(world, 30, 300, keys::rotate);
    }
    if faults.bad_days {
        every(world, 20, 200, bad_days::begin);
    }
    if faults.owner_revokes {
        every(world, 60, 400, owner_revokes);
    }
    if faults.secret_changes {
        every(world, 60, 400, secret_changes);
    }
}

fn clock_jumps(world: &Arc<World>) {
    let n = usize::try_from(world.draw(|rng| rng.below(world.skews.len() as u64))).unwrap();
    let far = world.draw(|rng| match rng.below(3) {
        0 => 0,
        1 => i64::try_from(rng.within(0, 20_000)).unwrap() - 10_000,
        _ => i64::try_from(rng.within(0, 1_200_000)).unwrap() - 600_000,
    });
    world.tell(&format!("h{n}'s clock is {far} ms ahead"));
    world.skews[n].store(far, Ordering::Relaxed);
}

fn owner_revokes(world: &Arc<World>) {
    let n = usize::try_from(world.draw(|rng| rng.below(world.conns.len() as u64))).unwrap();
    let conn = &world.conns[n];
    let mut model = world.models[conn.place].lock().unwrap();
    let client = format!("app-{}", conn.place);
    let ended = model.owner_revokes(&conn.account, &client, world.clock.now());
    drop(model);
    world.tell(&format!("the owner of {} takes {ended} grant(s) back", conn.id));
}

/// The portal makes a new secret and ends the old; somebody tells us a while later.
fn secret_changes(world: &Arc<World>) {
    let place = usize::try_from(world.draw(|rng| rng.below(world.models.len() as u64))).unwrap();
    let mut waiting = world.new_secrets.lock().unwrap();
    if waiting.contains_key(&place) {
        return;
    }
    let secret = format!("canary-secret-{place}-{}", world.now_ms());
    let told_at = world.now_ms() + world.draw(|rng| rng.within(0, 60_000));
    waiting.insert(place, (told_at, secret.clone()));
    drop(waiting);
    world.models[place].lock().unwrap().set_secrets(&format!("app-{place}"), vec![secret]);
    world.tell(&format!("the client secret at {place} is another one"));
}

fn every(world: &Arc<World>, from: u64, to: u64, act: fn(&Arc<World>)) {
    let world = Arc::clone(world);
    world.clone().background(async move {
        loop {
            let secs = world.draw(|rng| rng.within(from, to));
            tokio::time::sleep(Duration::from_secs(secs)).await;
            if !world.is_stormy() {
                return;
            }
            act(&world);
        }
    });
}

fn later(world: &Arc<World>, secs: u64, act: fn(&Arc<World>)) {
    let world = Arc::clone(world);
    world.clone().background(async move {
        tokio::time::sleep(Duration::from_secs(secs)).await;
        act(&world);
    });
}

/// The sun comes out: everything that is broken is mended, for good.
pub fn calm(world: &Arc<World>) {
    world.tell("no more faults from here on");
    world.set_stormy(false);
    world.set_store_down(false);
    world.disk.lock().unwrap().full = false;
    world.disk.lock().unwrap().unreadable = false;
    world.skews.iter().for_each(|skew| skew.store(0, Ordering::Relaxed));
    world.thaw();
}
