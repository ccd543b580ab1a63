//! `cargo xtask simulate`: the simulation with many seeds, or the story of one.
//!
//! The simulation is a test of the engine's crate; here it is only built with optimisation and told
//! which seeds to run.

use crate::counted;
use crate::repo::Repo;
use crate::step::step;
use anyhow::Result;
use std::process::Command;

#[derive(clap::Args)]
pub struct Args {
    /// How many seeds to run
    #[arg(long, default_value_t = 2000, conflicts_with = "seed")]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0, conflicts_with = "seed")]
    first: u64,
    /// Run this one seed and tell what happened
    #[arg(long)]
    seed: Option<u64>,
}

pub fn run(repo: &Repo, args: &Args) -> Result<()> {
    match args.seed {
        Some(seed) => step(&format!("the story of seed {seed}"), || {
            counted::run(
                simulation(repo, "sim::one_seed").env("INDICIA_SIM_SEED", seed.to_string()),
            )
        }),
        None => step(&format!("simulating {} seeds", args.seeds), || {
            let mut cargo = simulation(repo, "sim::many_seeds");
            cargo.env("INDICIA_SIM_SEEDS", args.seeds.to_string());
            counted::run(cargo.env("INDICIA_SIM_FIRST", args.first.to_string()))
        }),
    }
}

/// One test of the simulation, optimised, with its output shown.
pub fn simulation(repo: &Repo, test: &str) -> Command {
    built(repo, &["--profile", "release-fast"], test)
}

/// The same, built with these arguments for cargo.
pub fn built(repo: &Repo, how: &[&str], test: &str) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(&repo.root);
    cargo.args(["test", "--package", "indicia-broker"]).args(how);
    cargo.args(["--test", "it", "--", "--exact", "--nocapture", test]);
    cargo
}
