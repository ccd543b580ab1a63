//! Every guarantee has a mark that one named test proves: `// mark: NAME` stands where the code
//! keeps it, `// proves: NAME` directly above the test that fails without it.
//!
//! Checked both ways: a mark that no test proves, and a proof of nothing.

use super::Problem;
use crate::repo::File;
use anyhow::Result;
use std::collections::BTreeMap;

/// How far below `// proves:` the test's attribute may stand: further proofs and doc comments.
const LINES_TO_TEST_MAX: usize = 16;

/// A mark or proof: its name to file and line.
type Places<'a> = BTreeMap<&'a str, (&'a File, usize)>;

/// Looks at every mark and every proof.
pub fn check(files: &[File]) -> Result<Vec<Problem>> {
    let (mut marks, mut proofs) = (Places::new(), Places::new());
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.extension() == "rs") {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(name) = line.trim().strip_prefix("// mark: ")
                && let Some((other, at)) = marks.insert(name, (file, index + 1))
            {
                let what = format!("mark `{name}` stands at {}:{at} too", other.path);
                problems.push(problem(file, index, what, "give each guarantee one mark"));
            }
            if let Some(name) = line.trim().strip_prefix("// proves: ") {
                proofs.insert(name, (file, index + 1));
                if !test_follows(file, index) {
                    let what = format!("no test follows the proof of `{name}`");
                    problems.push(problem(file, index, what, "write it directly above a test"));
                }
            }
        }
    }
    for (name, (file, line)) in marks.iter().filter(|(name, _)| !proofs.contains_key(*name)) {
        let fix = "write `// proves: NAME` above the test that fails when the guarantee is out";
        problems.push(problem(file, line - 1, format!("no test proves `{name}`"), fix));
    }
    for (name, (file, line)) in proofs.iter().filter(|(name, _)| !marks.contains_key(*name)) {
        let fix = "write `// mark: NAME` where the code keeps the guarantee";
        problems.push(problem(file, line - 1, format!("no code is marked `{name}`"), fix));
    }
    Ok(problems)
}

fn problem(file: &File, index: usize, what: String, fix: &str) -> Problem {
    Problem { path: file.path.clone(), line: index + 1, what, fix: fix.to_owned() }
}

/// Whether a test attribute follows with only comments between.
fn test_follows(file: &File, index: usize) -> bool {
    let below = file.text.lines().skip(index + 1).take(LINES_TO_TEST_MAX);
    let mut rest = below.skip_while(|line| line.trim().starts_with("//"));
    let next = rest.next().unwrap_or_default().trim();
    ["#[test]", "#[tokio::test", "#![proptest", "proptest!"].iter().any(|t| next.starts_with(t))
}
