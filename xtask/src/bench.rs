//! `cargo xtask bench`: builds the programs as users have them, and measures them on this machine.
//!
//! What would surprise: it fails only where something doesn't work. Whether a figure reaches its
//! goal is printed, for people to judge; on a busy machine no figure says anything.

use crate::repo::Repo;
use crate::step::{self, output, step};
use anyhow::{Context, Result};
use cargo_metadata::MetadataCommand;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const PAGE: &str = "docs/benchmarks.md";

#[derive(clap::Args)]
pub struct Args {
    /// Write docs/benchmarks.md as well
    #[arg(long, conflicts_with = "only")]
    write: bool,
    /// Build with this profile
    #[arg(long, default_value = "release")]
    profile: String,
    /// Only these figures: warm, cold, start, size, journal, store, import, refresh
    only: Vec<String>,
}

pub fn run(repo: &Repo, args: &Args) -> Result<()> {
    step("building", || build(repo, &args.profile))?;
    let programs = programs(repo, &args.profile)?;
    let page = step("measuring", || {
        // What it is at is said there.
        let mut bench = Command::new(programs.join("indicia-bench"));
        output(bench.args(&args.only).stderr(Stdio::inherit()))
    })?;
    println!("\n{page}");
    if args.write {
        std::fs::write(repo.path(PAGE), page + "\n").with_context(|| format!("writing {PAGE}"))?;
        println!("\nwrote {PAGE}");
    }
    Ok(())
}

/// Both at once, so that what they share is built once.
fn build(repo: &Repo, profile: &str) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(&repo.root);
    cargo.args(["build", "--locked", "--profile", profile]);
    step::run(cargo.args(["--package", "indicia-cli", "--package", "indicia-benches"]))
}

fn programs(repo: &Repo, profile: &str) -> Result<PathBuf> {
    let metadata = MetadataCommand::new()
        .current_dir(&repo.root)
        .no_deps()
        .exec()
        .context("asking cargo for its target folder")?;
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(metadata.target_directory.join(folder).into_std_path_buf())
}
