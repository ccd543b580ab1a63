//! `cargo xtask mutants`: takes out each guard in turn, with the fault that isolates it, and sees
//! that the simulation fails. A guard whose removal nobody notices is not guarded.

use crate::counted;
use crate::repo::Repo;
use crate::simulate::built;
use crate::step::step;
use anyhow::Result;

#[derive(clap::Args, Default)]
pub struct Args {
    /// Take out only this guard
    #[arg(long)]
    guard: Option<String>,
}

pub fn run(repo: &Repo, args: &Args) -> Result<()> {
    step("taking out guards", || {
        // As the gate's tests are built: little is built twice for it, and it runs for seconds.
        let mut cargo = built(repo, &["--features", "mutants"], "sim::mutants");
        if let Some(guard) = &args.guard {
            cargo.env("INDICIA_SIM_MUTANT", guard);
        }
        counted::run(&mut cargo)
    })
}
