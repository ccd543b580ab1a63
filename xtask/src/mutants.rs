//! `cargo xtask mutants`: takes out each guard in turn, with the fault that isolates it, and sees
//! that the simulation fails. A guard whose removal nobody notices is not guarded.

use crate::counted;
use crate::repo::Repo;
use crate::simulate::simulation;
use crate::step::step;
use anyhow::Result;

#[derive(clap::Args)]
pub struct Args {
    /// Take out only this guard
    #[arg(long)]
    guard: Option<String>,
}

pub fn run(repo: &Repo, args: &Args) -> Result<()> {
    step("taking out guards", || {
        let mut cargo = simulation(repo, "sim::mutants", &["--features", "mutants"]);
        if let Some(guard) = &args.guard {
            cargo.env("INDICIA_SIM_MUTANT", guard);
        }
        counted::run(&mut cargo)
    })
}
