//! `indicia token` on a store with a valid token, beside a program that prints one word: wall time
//! from start to end, in turn.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, bail};

use crate::figure::{Figure, Goal, Subject, compare, median};
use crate::world::{World, program};

/// Runs of each program in one half of a pair.
const RUNS: usize = 11;

/// `indicia token`.
pub fn figures(world: &World, pairs: usize) -> Result<Vec<Figure>> {
    let (indicia, bare) = (program("indicia")?, program("indicia-bench-bare")?);
    let home = world.home();
    let id = world.ids[0].as_str();
    let subject = Subject {
        what: "`indicia token` on a warm store",
        baseline: "a bare Rust program",
        unit: "ms",
        goal: Goal::MoreByAtMost(10.0),
    };
    let base = || millis(&bare, &home, &[]);
    let ours = || millis(&indicia, &home, &["token", id]);
    // Once, so that both lie in memory.
    base()?;
    ours()?;
    Ok(vec![compare(subject, pairs, base, ours)?])
}

/// Milliseconds that a program takes from start to end, the median of some runs.
pub fn millis(program: &Path, home: &Path, args: &[&str]) -> Result<f64> {
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let mut command = Command::new(program);
        command.args(args).env("INDICIA_HOME", home);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        let status = command.status()?;
        runs.push(started.elapsed().as_secs_f64() * 1e3);
        if !status.success() {
            bail!("{} {args:?} ended with {status}", program.display());
        }
    }
    Ok(median(&runs))
}
