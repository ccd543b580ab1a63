//! A token that is at hand, beside reading a hash map. Measured in CPU time, so that others' load
//! on the machine doesn't show.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use futures_util::FutureExt as _;
use indicia::Broker;

use crate::figure::{Figure, Goal, Subject, compare};
use crate::machine::thread_cpu;
use crate::world::World;

const READS: usize = 400_000;

/// `try_cached` and `token` on a warm cache.
pub fn figures(world: &World, pairs: usize) -> Result<Vec<Figure>> {
    let broker = world.open(world.ports()?, 4 * world.ids.len())?;
    let mut map = HashMap::new();
    for id in &world.ids {
        // The first read fills the cache; the second must find it there.
        map.insert(id.clone(), world.runtime.block_on(broker.token(id, None))?);
        broker.try_cached(id, None).context("the token is cached")?;
    }
    let ids = || world.ids.iter().cycle().take(READS);
    let base = || {
        Ok(nanoseconds(|| {
            for id in ids() {
                black_box(map.get(black_box(id)).map(Arc::clone));
            }
        }))
    };
    let cached = || {
        Ok(nanoseconds(|| {
            for id in ids() {
                black_box(broker.try_cached(black_box(id), None));
            }
        }))
    };
    let token = || {
        Ok(nanoseconds(|| {
            for id in ids() {
                black_box(broker.token(black_box(id), None).now_or_never());
            }
        }))
    };
    let mut first = compare(subject("a warm token, `Broker::try_cached`"), pairs, base, cached)?;
    let mut second = compare(subject("a warm token, `Broker::token`"), pairs, base, token)?;
    first.notes.push(allocations(|id| broker.try_cached(id, None).is_some(), &world.ids)?);
    second.notes.push(allocations(|id| is_given(&broker, id), &world.ids)?);
    Ok(vec![first, second])
}

fn subject(what: &'static str) -> Subject {
    Subject { what, baseline: "`HashMap` read of an `Arc`", unit: "ns", goal: Goal::AtMost(1000.0) }
}

fn is_given(broker: &Arc<Broker>, id: &str) -> bool {
    broker.token(id, None).now_or_never().is_some_and(|given| given.is_ok())
}

fn nanoseconds(work: impl FnOnce()) -> f64 {
    let started = thread_cpu();
    work();
    let spent = thread_cpu() - started;
    spent.as_secs_f64() * 1e9 / READS as f64
}

fn allocations(given: impl Fn(&str) -> bool, ids: &[String]) -> Result<String> {
    let mut all_given = true;
    let counted = allocation_counter::measure(|| {
        for id in ids {
            all_given &= given(id);
        }
    });
    if !all_given {
        bail!("a token was no longer at hand");
    }
    Ok(format!("{} allocations in {} reads", counted.count_total, ids.len()))
}
