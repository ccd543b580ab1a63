#![forbid(unsafe_code)]
//! All automation of the project, one file a subcommand. No shell script but `.ci/run`.
//!
//! What would surprise: `cargo xtask test` is the whole gate, tidy and standards included; the
//! other subcommands are parts of it, or what is too slow for it.
#![expect(clippy::print_stdout, reason = "a command line tells what it does")]

mod bench;
mod book;
mod campaign;
mod counted;
mod fuzz;
mod mutants;
mod needs;
mod quirks;
mod repo;
mod rules;
mod simulate;
mod standards;
mod step;
mod test;
mod tidy;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Automation of the project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say what the tests need, install what is missing, run them all
    Test(test::Args),
    /// Check the rules of the house: arrows, dependencies, files, words
    Tidy,
    /// Write docs/standards.md, or check that it is fresh and its rows are tested
    Standards(standards::Args),
    /// Write the services' part of docs/quirks.md, or check that it is fresh and its tests exist
    Quirks(quirks::Args),
    /// Build docs/ as a book, into .cache/book
    Book,
    /// Run the simulation with many seeds, or tell the story of one
    Simulate(simulate::Args),
    /// Run what is too slow for the gate: 500 kills, 10,000 seeds
    Campaign(campaign::Args),
    /// Give every parser of outside bytes what nobody thought of
    Fuzz(fuzz::Args),
    /// Take out each guard in turn and see that the simulation fails
    Mutants(mutants::Args),
    /// Measure, beside what the machine can do
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let done = repo::Repo::find().and_then(|repo| match Args::parse().command {
        Command::Test(args) => test::run(&repo, &args),
        Command::Tidy => tidy::run(&repo),
        Command::Standards(args) => standards::run(&repo, &args),
        Command::Quirks(args) => quirks::run(&repo, &args),
        Command::Book => book::build(&repo),
        Command::Simulate(args) => simulate::run(&repo, &args),
        Command::Campaign(args) => campaign::run(&repo, &args),
        Command::Fuzz(args) => fuzz::run(&repo, &args),
        Command::Mutants(args) => mutants::run(&repo, &args),
        Command::Bench(args) => bench::run(&repo, &args),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nfailed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
