//! `cargo xtask campaign`: what is too slow for the gate. The same tests as there, at greater
//! length: more kills of a refreshing process, more random cases, more seeds of the simulation.

use crate::counted;
use crate::fuzz;
use crate::repo::Repo;
use crate::simulate::simulation;
use crate::step::step;
use anyhow::Result;
use std::process::Command;

#[derive(clap::Args)]
pub struct Args {
    /// How often a process is killed while it refreshes
    #[arg(long, default_value_t = 500)]
    kills: u32,
    /// What decides the moments of the kills
    #[arg(long, default_value_t = 1)]
    kill_seed: u64,
    /// How many random cases each property meets, and SQLite beside the memory store
    #[arg(long, default_value_t = 2_000)]
    cases: u64,
    /// How many seeds the simulation runs, from 0
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// How many seconds each fuzz target runs; 0 leaves them out
    #[arg(long, default_value_t = 20)]
    fuzz_seconds: u32,
}

pub fn run(repo: &Repo, args: &Args) -> Result<()> {
    step(&format!("killing a refreshing process {} times", args.kills), || {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .current_dir(&repo.root)
            .args(["test", "--package", "indicia-cli", "--test", "it"])
            .args(["--", "--nocapture", "killed::"])
            .env("INDICIA_KILL_ROUNDS", args.kills.to_string())
            .env("INDICIA_KILL_SEED", args.kill_seed.to_string());
        counted::run(&mut cargo)
    })?;
    step(&format!("trying {} random cases", args.cases), || {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .current_dir(&repo.root)
            .args(["test", "--profile", "release-fast", "--test", "it", "--no-fail-fast"])
            .args(["--package", "indicia-store", "--package", "indicia-oauth"])
            .args(["--package", "indicia-catalog", "--package", "indicia-sandbox"])
            .env("PROPTEST_CASES", args.cases.to_string());
        counted::run(&mut cargo)
    })?;
    step(&format!("simulating {} seeds", args.seeds), || {
        let seeds = args.seeds.to_string();
        counted::run(simulation(repo, "sim::many_seeds").env("INDICIA_SIM_SEEDS", seeds))
    })?;
    match args.fuzz_seconds {
        0 => Ok(()),
        seconds => fuzz::run(repo, &fuzz::Args { target: None, seconds }),
    }
}
