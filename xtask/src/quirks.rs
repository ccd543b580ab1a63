//! `cargo xtask quirks`: the services' part of docs/quirks.md, each quirk with the tests that fail
//! without it.
//!
//! The rows are data, in `crates/catalog/tests/quirks.toml`; a test of the catalogue takes each
//! quirk out and sees that the named tests fail. Here is looked whether those tests exist, since a
//! row may name one of any crate.

use crate::repo::Repo;
use crate::standards::test_names;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

const PAGE: &str = "docs/quirks.md";
const DATA: &str = "crates/catalog/tests/quirks.toml";
const BEGIN: &str = "<!-- made by `cargo xtask quirks` -->\n";
const END: &str = "<!-- end -->\n";

#[derive(clap::Args)]
pub struct Args {
    /// Write nothing; fail when the page is stale or names a test that doesn't exist
    #[arg(long)]
    check: bool,
}

pub fn run(repo: &Repo, args: &Args) -> Result<()> {
    if args.check {
        return check(repo);
    }
    let quirks = Quirks::read(repo)?;
    fs::write(repo.path(PAGE), quirks.page(repo)?).with_context(|| format!("writing {PAGE}"))?;
    println!("wrote {PAGE}: {} quirks", quirks.rows.len());
    for problem in quirks.problems(&test_names(&repo.files()?)?) {
        println!("  {problem}");
    }
    Ok(())
}

/// Fails when the page is stale or a row's test doesn't exist. Part of the gate.
pub fn check(repo: &Repo) -> Result<()> {
    let quirks = Quirks::read(repo)?;
    let mut problems = quirks.problems(&test_names(&repo.files()?)?);
    if repo.read(PAGE)? != quirks.page(repo)? {
        problems.push(format!("{PAGE} is stale; run `cargo xtask quirks`"));
    }
    if !problems.is_empty() {
        bail!("{} problem(s):\n  {}", problems.len(), problems.join("\n  "));
    }
    println!("{} quirks, each with a test", quirks.rows.len());
    Ok(())
}

#[derive(Deserialize)]
struct Quirks {
    #[serde(rename = "quirk")]
    rows: Vec<Quirk>,
}

#[derive(Deserialize)]
struct Quirk {
    services: Vec<String>,
    what: String,
    tests: Vec<String>,
    /// What takes it out of a service's file; where nothing does, the engine minds it.
    #[serde(default)]
    out: Vec<toml::Value>,
}

/// What of a service's file is told here.
#[derive(Deserialize)]
struct Service {
    name: String,
}

impl Quirks {
    fn read(repo: &Repo) -> Result<Self> {
        toml::from_str(&repo.read(DATA)?).with_context(|| format!("reading {DATA}"))
    }

    /// Rows that name no test, or one that there isn't.
    fn problems(&self, known: &BTreeSet<String>) -> Vec<String> {
        let bare = self.rows.iter().filter(|row| row.tests.is_empty());
        let mut problems: Vec<_> =
            bare.map(|row| format!("no test is named for: {}", row.what)).collect();
        for row in &self.rows {
            let missing = row.tests.iter().filter(|test| !known.contains(*test));
            problems.extend(missing.map(|test| format!("no test is called {test}: {}", row.what)));
        }
        problems
    }

    /// The page as it is, with this part made anew.
    fn page(&self, repo: &Repo) -> Result<String> {
        let page = repo.read(PAGE)?;
        let (before, rest) =
            page.split_once(BEGIN).with_context(|| format!("{PAGE}: no {BEGIN}"))?;
        let (_, after) = rest.split_once(END).with_context(|| format!("{PAGE}: no {END}"))?;
        Ok(format!("{before}{BEGIN}{}{END}{after}", self.sections(repo)?))
    }

    fn sections(&self, repo: &Repo) -> Result<String> {
        let ids: BTreeSet<&str> = self.rows.iter().flat_map(|row| row.services()).collect();
        let names = ids.iter().map(|id| {
            let file = format!("services/{id}.toml");
            let service: Service =
                toml::from_str(&repo.read(&file)?).with_context(|| format!("reading {file}"))?;
            Ok((*id, service.name))
        });
        let names = names.collect::<Result<BTreeMap<_, _>>>()?;
        let mut text = "\n## What the engine minds for all of them\n\n\
                        | what they do | at | fails without it |\n|---|---|---|\n"
            .to_owned();
        for row in self.rows.iter().filter(|row| row.is_shared()) {
            let at: Vec<&str> = row.services().map(|id| names[id].as_str()).collect();
            let _ = writeln!(text, "| {} | {} | {} |", row.what, at.join(", "), row.shown_by());
        }
        for (id, name) in &names {
            let own = self.rows.iter().filter(|row| !row.is_shared());
            let mut own = own.filter(|row| row.services().eq([*id])).peekable();
            if own.peek().is_some() {
                let _ = writeln!(
                    text,
                    "\n## [{name}](services/{id}.md)\n\n| what it does | fails without it |\n|---|---|"
                );
            }
            for row in own {
                let _ = writeln!(text, "| {} | {} |", row.what, row.shown_by());
            }
        }
        text.push('\n');
        Ok(text)
    }
}

impl Quirk {
    fn is_shared(&self) -> bool {
        self.out.is_empty()
    }

    fn shown_by(&self) -> String {
        let tests: Vec<_> = self.tests.iter().map(|test| format!("`{test}`")).collect();
        tests.join(", ")
    }

    fn services(&self) -> impl Iterator<Item = &str> {
        self.services.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::{Quirk, Quirks};

    #[test]
    fn a_row_without_test_and_a_test_that_there_is_not_are_problems() {
        let row = |what: &str, tests: &[&str]| Quirk {
            services: vec!["a".to_owned()],
            what: what.to_owned(),
            tests: tests.iter().map(|test| (*test).to_owned()).collect(),
            out: Vec::new(),
        };
        let rows = vec![row("good", &["one"]), row("bare", &[]), row("wrong", &["one", "two"])];
        let known = ["one".to_owned()].into();
        let expected = ["no test is named for: bare", "no test is called two: wrong"];
        assert_eq!(Quirks { rows }.problems(&known), expected);
    }
}
