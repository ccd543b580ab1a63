//! Runs of `cargo test` that are counted: a filter that matches nothing, or a crate that lost its
//! tests, ends with status 0 there, and is a failure here.

use crate::step::shown;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Runs the tests, shows what they print, adds up what they count, and says it in one last line.
///
/// # Errors
/// When one failed, or none ran.
pub fn run(cargo: &mut Command) -> Result<()> {
    println!("$ {}", shown(cargo));
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("starting cargo")?;
    let output = child.stdout.take().context("cargo has an output")?;
    let (mut passed, mut failed) = (0, 0);
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        if let Some(counts) = read_counts(&line) {
            passed += counts.0;
            failed += counts.1;
        }
    }
    let status = child.wait()?;
    // Alone on its line, in the form that those who count tests look for.
    println!("\n{passed} passed, {failed} failed");
    if failed > 0 || !status.success() {
        bail!("tests failed, see above");
    }
    if passed == 0 {
        bail!("no test ran");
    }
    Ok(())
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
    use super::{read_counts, run};
    use std::process::Command;

    #[test]
    fn result_lines_are_counted_and_nothing_else() {
        let line = "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(read_counts(line), Some((3, 1)));
        assert_eq!(read_counts("test result is what it is"), None);
        assert_eq!(read_counts("test it::a ... ok"), None);
    }

    #[test]
    fn failures_bad_status_and_no_test_are_errors() {
        let said = |text: &str| {
            let script = format!("{text}; exit $STATUS");
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(script);
            shell
        };
        let good = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'";
        let bad = "echo 'test result: FAILED. 2 passed; 1 failed; 0 ignored'";
        let none = "echo 'test result: ok. 0 passed; 0 failed; 0 ignored'";
        for (text, status, fine) in
            [(good, "0", true), (good, "1", false), (bad, "0", false), (none, "0", false)]
        {
            let done = run(said(text).env("STATUS", status));
            assert_eq!(done.is_ok(), fine, "{text}, status {status}");
        }
    }
}
