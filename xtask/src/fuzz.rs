//! `cargo xtask fuzz`: coverage-guided fuzzing of every parser of outside bytes, on the stable
//! toolchain: the compiler's coverage pass is switched on by hand, and no sanitizer is, since the
//! code that is fuzzed has nothing unsafe.
//!
//! What would surprise: new inputs go to `target/fuzz/corpus/`, not to `fuzz/corpus/`. Into that
//! one only what is worth keeping comes, by hand, since the gate replays it.

use crate::repo::Repo;
use crate::step::{self, step};
use anyhow::{Context, Result, bail};
use std::fs;
use std::process::Command;

#[derive(clap::Args)]
pub struct Args {
    /// Only this target: a folder's name in fuzz/corpus
    pub target: Option<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    pub seconds: u32,
}

/// Coverage as the fuzzer reads it; the rest is the profile `fuzz` of the root's manifest.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Bytes of an input at most: what is longer finds the same and is slower.
const INPUT_BYTES_MAX: u32 = 8192;
/// Seconds that one input may take: the fuzzer waits for everybody else on the machine.
const INPUT_SECONDS_MAX: u32 = 30;
/// What a target may take of the machine's memory.
const MEMORY_MIB_MAX: u32 = 1024;

pub fn run(repo: &Repo, args: &Args) -> Result<()> {
    let targets = targets(repo)?;
    if let Some(wanted) = args.target.as_ref().filter(|wanted| !targets.contains(*wanted)) {
        bail!("no target is called {wanted}; there are {}", targets.join(", "));
    }
    step("building the fuzzer", || build(repo))?;
    for target in targets {
        if args.target.as_ref().is_none_or(|wanted| *wanted == target) {
            step(&format!("fuzzing {target}"), || fuzz(repo, &target, args.seconds))?;
        }
    }
    Ok(())
}

/// Each has a folder of seeds, which the gate sees to.
fn targets(repo: &Repo) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(repo.path("fuzz/corpus")).context("listing fuzz/corpus")? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// For a triple that is named, so that build scripts and macros are built without coverage.
fn build(repo: &Repo) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(&repo.root)
        .args(["build", "--locked", "--package", "indicia-fuzz", "--features", "fuzzer"])
        .args(["--profile", "fuzz", "--target", &triple()?])
        .env("CARGO_TARGET_DIR", repo.path("target/fuzz"))
        .env("RUSTFLAGS", RUSTFLAGS);
    step::run(&mut cargo)
}

fn fuzz(repo: &Repo, target: &str, seconds: u32) -> Result<()> {
    let found = repo.path("target/fuzz/corpus").join(target);
    let broken = repo.path("target/fuzz/broken").join(target);
    for folder in [&found, &broken] {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let program = repo.path("target/fuzz").join(triple()?).join("fuzz/fuzz");
    // Last, where there is one: nobody waits for it.
    let mut fuzzer = Command::new("nice");
    fuzzer
        .args(["-n", "19"])
        .arg(program)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .args(["-verbosity=0", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/", broken.display()))
        .args([&found, &repo.path("fuzz/corpus").join(target)])
        .env("INDICIA_FUZZ_TARGET", target);
    step::run(&mut fuzzer).with_context(|| {
        format!("an input breaks {target}: mend it, and add the input to fuzz/corpus/{target}")
    })
}

fn triple() -> Result<String> {
    let said = step::output(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc doesn't say what it builds for")?.to_owned())
}
