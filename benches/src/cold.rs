//! A token that isn't cached: read from the store, opened, made ready. The file is warm. Measured in
//! CPU time, as all of it runs on the calling thread and nothing waits for the disk.

use anyhow::{Context as _, Result};
use futures_util::FutureExt as _;

use crate::figure::{Figure, Goal, Subject, compare};
use crate::machine::thread_cpu;
use crate::raw::Raw;
use crate::world::World;

/// `Broker::token` without a cache.
pub fn figures(world: &World, pairs: usize) -> Result<Vec<Figure>> {
    // The least that there is: one token in each of its shards, nearly never the one asked for.
    let broker = world.open(world.ports()?, 1)?;
    let raw = Raw::new(world.folder(), &world.ids, world.row_bytes()?)?;
    let read_all = || -> Result<f64> {
        let started = thread_cpu();
        for id in &world.ids {
            let given = broker.token(id, None).now_or_never();
            std::hint::black_box(given.context("reading waits for nothing")??);
        }
        let spent = thread_cpu() - started;
        Ok(spent.as_secs_f64() * 1e6 / world.ids.len() as f64)
    };
    // Once for the connection and its statements.
    read_all()?;
    let subject = Subject {
        what: "a cold token, `Broker::token`",
        baseline: "bare SQLite point read and AEAD open of a row as large",
        unit: "reads/s of CPU",
        goal: Goal::RatioAtLeast(0.5, 0.5),
    };
    let per_second = |micros: f64| 1e6 / micros;
    let base = || raw.read_and_open().map(per_second);
    let mut figure = compare(subject, pairs, base, || read_all().map(per_second))?;
    figure.notes.push(format!("rows of {} bytes, {} of them", world.row_bytes()?, world.ids.len()));
    Ok(vec![figure])
}
