//! `cargo xtask tidy`: the rules of the house that no compiler checks.
//!
//! The rules themselves are data, in `xtask/tidy.toml`; how they are checked is in `rules/`.

use crate::repo::Repo;
use crate::rules::{self, Rules};
use anyhow::{Result, bail};

pub fn run(repo: &Repo) -> Result<()> {
    let rules = Rules::read(repo)?;
    let files = repo.files()?;
    let mut problems = rules::crates::check(repo, &rules)?;
    problems.extend(rules::lines::check(&files, &rules)?);
    problems.extend(rules::lines::said(&files, &rules));
    problems.extend(rules::lines::pages(&files)?);
    problems.extend(rules::names::check(&files)?);
    problems.extend(rules::marks::check(&files)?);
    problems.sort();
    for problem in &problems {
        println!("{problem}\n");
    }
    if !problems.is_empty() {
        bail!("{} problem(s); each names its place and its fix", problems.len());
    }
    println!("{} files are tidy", files.len());
    Ok(())
}
