//! `cargo xtask test`: the gate. Says what the tests need, installs it after asking, sees that each
//! guard of the engine is needed, and runs them all.

use crate::needs::Needs;
use crate::repo::Repo;
use crate::step::step;
use crate::{book, counted, mutants, quirks, standards, tidy};
use anyhow::{Result, bail};
use std::io::{IsTerminal, Write};
use std::process::Command;

#[derive(clap::Args)]
pub struct Args {
    /// Install what is missing without asking (CI=true does the same)
    #[arg(long, short)]
    yes: bool,
}

pub fn run(repo: &Repo, args: &Args) -> Result<()> {
    let needs = Needs::look(repo)?;
    println!("{needs}");
    if needs.missing() {
        agree(args)?;
        needs.install(repo)?;
    }
    step("tidy", || tidy::run(repo))?;
    step("standards", || standards::check(repo))?;
    step("quirks", || quirks::check(repo))?;
    step("the book", || book::build(repo))?;
    step("build of the tests", || build(repo))?;
    mutants::run(repo, &mutants::Args::default())?;
    // Last, so that its counts are what the run closes with.
    println!("\n=== tests");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(&repo.root).args(["test", "--workspace", "--no-fail-fast"]);
    // The same cases each time: the gate tells what a change broke, the campaign finds new cases.
    cargo.env("PROPTEST_RNG_SEED", "1");
    counted::run(&mut cargo)
}

/// Apart from the run, so that a person sees what takes the time.
fn build(repo: &Repo) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    crate::step::run(cargo.current_dir(&repo.root).args(["test", "--workspace", "--no-run"]))
}

/// Goes on with `--yes` or in CI, asks on a terminal, else refuses.
fn agree(args: &Args) -> Result<()> {
    if args.yes || std::env::var_os("CI").is_some_and(|ci| ci == "true" || ci == "1") {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        bail!("something is missing and nobody is there to ask; run `cargo xtask test --yes`");
    }
    print!("Install what is missing? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => bail!("nothing was installed; `cargo test --workspace` needs what is missing"),
    }
}
