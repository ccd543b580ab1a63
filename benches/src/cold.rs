//! A token that isn't cached: read from the store, opened, made ready. The file is warm. Measured
//! in CPU time, as all of it runs on the calling thread and nothing waits for the disk.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::FutureExt as _;
use indicia_broker::model::ConnectionId;

use crate::figure::{Figure, Goal, Subject, compare};
use crate::machine::thread_cpu;
use crate::raw::{Raw, row_bytes, scattered};
use crate::store::filled;
use crate::world::World;

/// Reads in one half of a pair.
const READS: usize = 5_000;

/// Enough that SQLite's own cache of pages can't hold them, neither theirs nor ours.
const CONNECTIONS: usize = 30_000;

/// `Broker::token` without a cache.
pub fn figures(world: &World, pairs: usize) -> Result<Vec<Figure>> {
    let ids: Vec<String> = (0..CONNECTIONS).map(|n| format!("account-{n:05}")).collect();
    let home = world.folder().join("cold-home");
    drop(world.runtime.block_on(filled(world, &home, &ids))?);
    // Before the engine opens it: who closes it last copies all back into the one file.
    let bytes = row_bytes(&home)?;
    // The least that there is: one token in each of its shards, nearly never the one asked for.
    let ports = world.ports_on(&home)?;
    let broker = world.open(ports.clone(), 1)?;
    let raw = Raw::new(world.folder(), &ids, bytes)?;
    let read_some = |first: usize| -> Result<f64> {
        let started = thread_cpu();
        for id in scattered(&ids, first).take(READS) {
            let given = broker.token(id, None).now_or_never();
            std::hint::black_box(given.context("reading waits for nothing")??);
        }
        Ok(READS as f64 / (thread_cpu() - started).as_secs_f64())
    };
    // As in any store that is in use, there is something in its log.
    let one = ConnectionId::new(&ids[0])?;
    let touched = world.runtime.block_on(ports.store.connection(&one))?;
    let (_, grant) = touched.context("it was filled")?;
    world.runtime.block_on(ports.store.claim(&grant.id, Duration::from_secs(1)))?;
    // Once for the connection and its statements.
    read_some(0)?;
    let subject = Subject {
        what: "a cold token, `Broker::token`",
        baseline: "bare SQLite point read and AEAD open of a row as large",
        unit: "reads/s of CPU",
        goal: Goal::RatioAtLeast(0.5, 0.5),
    };
    let (mut ours_first, mut base_first) = (0, 0);
    let base = || {
        base_first += READS;
        raw.reads(base_first, READS)
    };
    let ours = || {
        ours_first += READS;
        read_some(ours_first)
    };
    let mut figure = compare(subject, pairs, base, ours)?;
    figure.notes.push(format!("{CONNECTIONS} rows of {bytes} bytes, the files in memory"));
    let counted = allocation_counter::measure(|| {
        std::hint::black_box(broker.token(&ids[7], None).now_or_never());
    });
    figure.notes.push(format!("{} allocations for a token", counted.count_total));
    Ok(vec![figure])
}
