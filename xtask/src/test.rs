//! `cargo xtask test`: the gate. Says what the tests need, installs it after asking, runs them all.

use crate::needs::Needs;
use crate::repo::Repo;
use crate::step::{shown, step};
use crate::{standards, tidy};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::process::{Command, Stdio};

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
    let counts = step("cargo test", || tests(repo))?;
    // The last line, alone, in the form that those who count tests look for.
    println!("\n{} passed, {} failed", counts.passed, counts.failed);
    if counts.failed > 0 || !counts.success {
        bail!("tests failed, see above");
    }
    if counts.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
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

struct Counts {
    passed: u64,
    failed: u64,
    success: bool,
}

/// Runs every test, shows what they print, and adds up what they count.
fn tests(repo: &Repo) -> Result<Counts> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(&repo.root)
        .args(["test", "--workspace", "--no-fail-fast"]);
    println!("$ {}", shown(&cargo));
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo test")?;
    let output = child.stdout.take().context("cargo test has an output")?;
    let mut counts = Counts {
        passed: 0,
        failed: 0,
        success: false,
    };
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        if let Some((passed, failed)) = read_counts(&line) {
            counts.passed += passed;
            counts.failed += failed;
        }
    }
    counts.success = child.wait()?.success();
    Ok(counts)
}

/// Reads `test result: ok. 3 passed; 0 failed; …`.
fn read_counts(line: &str) -> Option<(u64, u64)> {
    let rest = line.strip_prefix("test result: ")?;
    let (_, counts) = rest.split_once(". ")?;
    let mut parts = counts.split("; ");
    let passed = parts.next()?.strip_suffix(" passed")?.parse().ok()?;
    let failed = parts.next()?.strip_suffix(" failed")?.parse().ok()?;
    Some((passed, failed))
}

#[cfg(test)]
mod tests {
    use super::read_counts;

    #[test]
    fn result_lines_are_counted_and_nothing_else() {
        let line = "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(read_counts(line), Some((3, 1)));
        assert_eq!(read_counts("test result is what it is"), None);
        assert_eq!(read_counts("test it::a ... ok"), None);
    }
}
