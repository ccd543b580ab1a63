//! What must not grow with the number of connections stored: what is due, a token, a page of
//! connections, each in a large store beside a small one.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicia::ROOT_KEY_FILE;
use indicia_broker::ports::Store;
use indicia_oauth::Timestamp;

use crate::figure::{Figure, Goal, Subject, compare};
use crate::start::millis;
use crate::store::filled;
use crate::world::{World, program};

/// Connections of the small store.
const FEW: usize = 1_000;
/// As many as one look takes.
const DUE_AT_ONCE: usize = 256;
/// Looks that are timed together.
const LOOKS: u32 = 200;

/// All of them.
pub fn figures(world: &World, pairs: usize) -> Result<Vec<Figure>> {
    let few: Vec<String> = world.stored_ids().into_iter().take(FEW).collect();
    let home = world.folder().join("small-home");
    let small = world.runtime.block_on(filled(world, &home, &few))?;
    std::fs::copy(world.home().join(ROOT_KEY_FILE), home.join(ROOT_KEY_FILE))?;
    let large = world.ports()?.store;
    let subject = |what, unit, goal| Subject { what, baseline: "1000 stored", unit, goal };
    let due = subject("what is due, 256 of all", "looks/s", Goal::RatioAtLeast(0.5, 0.5));
    let mut figures = vec![compare(
        due,
        pairs,
        || looks(world, &(Arc::clone(&small) as Arc<dyn Store>)),
        || looks(world, &large),
    )?];
    let indicia = program("indicia")?;
    let page = ["connections", "--limit", "100"];
    for (what, here, there) in [
        ("`indicia token`", &["token", &few[0]][..], &["token", &world.ids[0]][..]),
        ("`indicia connections`, a page of 100", &page, &page),
    ] {
        let runs = |home: &Path, args: &[&str]| Ok(1e3 / millis(&indicia, home, args)?);
        let goal = Goal::RatioAtLeast(0.8, 0.8);
        let (small, large) = (|| runs(&home, here), || runs(&world.home(), there));
        figures.push(compare(subject(what, "runs/s", goal), pairs, small, large)?);
    }
    for figure in &mut figures {
        figure.notes.push(format!("{} connections are stored", world.stored));
    }
    Ok(figures)
}

/// Looks a second at what is due, when all of it is.
fn looks(world: &World, store: &Arc<dyn Store>) -> Result<f64> {
    let late = Timestamp::from_millis(i64::MAX / 2);
    let started = Instant::now();
    for _ in 0..LOOKS {
        let due = world.runtime.block_on(store.due(late, DUE_AT_ONCE))?;
        if due.len() != DUE_AT_ONCE {
            bail!("{} are due", due.len());
        }
    }
    Ok(f64::from(LOOKS) / started.elapsed().max(Duration::from_nanos(1)).as_secs_f64())
}
