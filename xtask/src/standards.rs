//! `cargo xtask standards`: docs/standards.md, each row of the standards with the tests that show
//! it.
//!
//! The rows are data, in `xtask/standards.toml`. Tests are found by name: a test function carries
//! ids in lower case (`ar_1_…`, `pk_1_pk_2_…`), a vector file in upper case (`DV-7-….json`). They
//! stand as the rows have them too, so that a search finds them: in a comment above the function
//! (`// PK-1, PK-2`), in the file's `rows`.

use crate::repo::{File, Repo};
use anyhow::{Context, Result, bail};
use regex_lite::Regex;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

const PAGE: &str = "docs/standards.md";

/// A function's first line; one that another test runs too is `pub(crate)`.
const FUNCTION: &str = r"^\s*(?:pub\(crate\) )?(?:async )?fn ([a-z0-9_]+)\(";

const HEAD: &str = "\
# What the standards ask, and which test shows it

Made by `cargo xtask standards` from `xtask/standards.toml` and from the names of the tests; the gate
fails when this page is stale, or when a row that is kept has no test. RFC 9700 is the best current
practice for OAuth 2.0 security. A row that waits belongs to something that isn't built yet.
";

#[derive(clap::Args)]
pub struct Args {
    /// Write nothing; fail when the page is stale or a row lacks its test
    #[arg(long)]
    check: bool,
}

pub fn run(repo: &Repo, args: &Args) -> Result<()> {
    if args.check {
        return check(repo);
    }
    let standards = Standards::read(repo)?;
    fs::create_dir_all(repo.path("docs"))?;
    fs::write(repo.path(PAGE), standards.page()).with_context(|| format!("writing {PAGE}"))?;
    println!("wrote {PAGE}: {}", standards.summary());
    for problem in standards.problems() {
        println!("  {problem}");
    }
    Ok(())
}

/// Fails when the page is stale or a row lacks its test. Part of the gate.
pub fn check(repo: &Repo) -> Result<()> {
    let standards = Standards::read(repo)?;
    let mut problems = standards.problems();
    if repo.read(PAGE).unwrap_or_default() != standards.page() {
        problems.push(format!("{PAGE} is stale; run `cargo xtask standards`"));
    }
    if !problems.is_empty() {
        bail!("{} problem(s):\n  {}", problems.len(), problems.join("\n  "));
    }
    println!("{}", standards.summary());
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    #[serde(rename = "group")]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    id: String,
    title: String,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    source: String,
    words: String,
    waits: Option<String>,
    left_out: Option<String>,
}

/// A test, as the page names it: the crate, then the function or file.
type Test = (String, String);

type ByRow = BTreeMap<String, BTreeSet<Test>>;

struct Standards {
    groups: Vec<Group>,
    tests: ByRow,
    /// Tests whose rows don't stand beside them as the rows have them.
    unwritten: Vec<String>,
}

impl Standards {
    fn read(repo: &Repo) -> Result<Self> {
        let text = repo.read("xtask/standards.toml")?;
        let data: Data = toml::from_str(&text).context("reading xtask/standards.toml")?;
        let (tests, unwritten) = tests(&repo.files()?)?;
        Ok(Self { groups: data.groups, tests, unwritten })
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.groups.iter().flat_map(|group| &group.rows)
    }

    fn summary(&self) -> String {
        let count = |keep: fn(&Row) -> bool| self.rows().filter(|row| keep(row)).count();
        let kept = self.rows().filter(|row| row.is_kept());
        let shown = kept.filter(|row| self.tests.contains_key(&row.id)).count();
        format!(
            "{} rows: {} kept, of which {shown} have a test; {} wait, {} are left out",
            self.rows().count(),
            count(Row::is_kept),
            count(|row| row.waits.is_some()),
            count(|row| row.left_out.is_some()),
        )
    }

    /// Rows without their test, tests for rows that don't exist, and tests that a search misses.
    fn problems(&self) -> Vec<String> {
        let kept = self.rows().filter(|row| row.is_kept());
        let bare = kept.filter(|row| !self.tests.contains_key(&row.id));
        let mut problems: Vec<String> =
            bare.map(|row| format!("{} has no test: {}", row.id, row.words)).collect();
        let known: BTreeSet<&str> = self.rows().map(|row| row.id.as_str()).collect();
        for (id, tests) in self.tests.iter().filter(|(id, _)| !known.contains(id.as_str())) {
            let names: Vec<&str> = tests.iter().map(|(_, name)| name.as_str()).collect();
            problems.push(format!("{id} is no row, but is named by {}", names.join(", ")));
        }
        problems.extend(self.unwritten.iter().cloned());
        problems
    }

    fn page(&self) -> String {
        let mut page = format!("{HEAD}\n{}.\n", self.summary());
        for group in &self.groups {
            let _ = writeln!(page, "\n## {} ({})\n", group.title, group.id);
            page.push_str("| row | what we keep | source | shown by |\n|---|---|---|---|\n");
            for row in &group.rows {
                let shown = self.shown_by(row);
                let _ = writeln!(page, "| {} | {} | {} | {shown} |", row.id, row.words, row.source);
            }
        }
        page
    }

    /// The last cell of a row: its tests by crate, and why there may be none.
    fn shown_by(&self, row: &Row) -> String {
        let mut parts = Vec::new();
        parts.extend(row.waits.as_ref().map(|what| format!("waits for: {what}")));
        parts.extend(row.left_out.as_ref().map(|why| format!("left out: {why}")));
        let mut by_crate: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (of, name) in self.tests.get(&row.id).into_iter().flatten() {
            by_crate.entry(of).or_default().push(format!("`{name}`"));
        }
        parts.extend(by_crate.iter().map(|(of, names)| format!("{of}: {}", names.join(", "))));
        if parts.is_empty() { "**no test yet**".to_owned() } else { parts.join("; ") }
    }
}

impl Row {
    fn is_kept(&self) -> bool {
        self.waits.is_none() && self.left_out.is_none()
    }
}

/// Every test that names rows, by row; and what is wrong with how they are written beside it.
fn tests(files: &[File]) -> Result<(ByRow, Vec<String>)> {
    let function = Regex::new(FUNCTION)?;
    let mut found = ByRow::new();
    let mut unwritten = Vec::new();
    for file in files {
        let Some(of) = file.path.strip_prefix("crates/").and_then(|rest| rest.split('/').next())
        else {
            continue;
        };
        for (name, above) in named(file, &function) {
            let ids = ids(&name);
            let written = match file.extension() {
                "rs" => format!("// {}", ids.join(", ")),
                _ => format!("\"rows\": {ids:?}"),
            };
            if !ids.is_empty() && !above.iter().any(|line| line.trim_end_matches(',') == written) {
                unwritten.push(format!("{name} in {} lacks the line `{written}`", file.path));
            }
            for id in ids {
                found.entry(id).or_default().insert((of.to_owned(), name.clone()));
            }
        }
    }
    Ok((found, unwritten))
}

/// The names of all tests of the crates: functions, and vectors by their files.
pub fn test_names(files: &[File]) -> Result<BTreeSet<String>> {
    let function = Regex::new(FUNCTION)?;
    let ours = files.iter().filter(|file| file.path.starts_with("crates/"));
    Ok(ours.flat_map(|file| named(file, &function)).map(|(name, _)| name).collect())
}

/// The test functions of a Rust file, with the lines of comments and attributes above each; or the
/// name of a vector, with its lines.
fn named<'a>(file: &'a File, function: &Regex) -> Vec<(String, Vec<&'a str>)> {
    let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
    if file.path.contains("/tests/vectors/") {
        let name = file.path.rsplit('/').next().unwrap_or_default().to_owned();
        return vec![(name, lines)];
    }
    if file.extension() != "rs" {
        return Vec::new();
    }
    let functions = file.text.lines().enumerate().filter_map(|(index, line)| {
        let name = function.captures(line)?.get(1)?.as_str().to_owned();
        let above = lines[..index].iter().rev().copied();
        let above: Vec<&str> =
            above.take_while(|line| line.starts_with("#[") || line.starts_with("//")).collect();
        let test = |line: &&str| *line == "#[test]" || line.starts_with("#[tokio::test");
        above.iter().any(test).then_some((name, above))
    });
    functions.collect()
}

/// The rows that a test's name carries: `pk_1_pk_2_fresh` is PK-1 and PK-2.
///
/// Ids stand before the words, so that a number within the words is none; before them may stand
/// that of a published vector (`V11-RH-5-issuer.json`).
fn ids(name: &str) -> Vec<String> {
    let published = |part: &&str| {
        let number = part.strip_prefix('V').unwrap_or_default();
        !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
    };
    let mut parts = name.split(['_', '-', '.']).skip_while(published);
    let mut ids = Vec::new();
    while let (Some(group), Some(number)) = (parts.next(), parts.next()) {
        let is_group = group.len() == 2 && group.chars().all(|c| c.is_ascii_alphabetic());
        let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
        if !is_group || !is_number {
            break;
        }
        ids.push(format!("{}-{number}", group.to_ascii_uppercase()));
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::{File, Row, Standards, ids, tests};
    use crate::repo::Repo;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn ids_stand_before_the_words() {
        assert_eq!(ids("pk_1_pk_2_fresh_verifiers"), ["PK-1", "PK-2"]);
        assert_eq!(ids("DV-7-error-with-200.json"), ["DV-7"]);
        assert_eq!(ids("V11-RV-3-RV-8-request.json"), ["RV-3", "RV-8"]);
        assert_eq!(ids("dv_34_retry_after_of_3600"), ["DV-34"]);
        assert!(ids("first_1_then_ar_2").is_empty());
    }

    #[test]
    fn tests_are_found_by_attribute_and_vectors_by_folder() {
        let code = "// AR-1\n#[test]\n// why\nfn ar_1_kept() {}\nfn ar_2_helper() {}\n\
                    #[tokio::test(start_paused = true)]\nasync fn rh_3_once() {}\n";
        let files = [
            file("crates/oauth/tests/it/a.rs", code),
            file("crates/oauth/tests/vectors/rfc6749/DV-7-x.json", "{\n  \"rows\": [\"DV-7\"],\n}"),
            file("crates/oauth/tests/vectors/rfc6749/DV-9-x.json", "{\n  \"rows\": [\"DV-7\"]\n}"),
            file("docs/DV-8-x.json", "{}"),
        ];
        let (found, unwritten) = tests(&files).unwrap();
        let ids: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(ids, ["AR-1", "DV-7", "DV-9", "RH-3"]);
        let expected = [
            "rh_3_once in crates/oauth/tests/it/a.rs lacks the line `// RH-3`",
            "DV-9-x.json in crates/oauth/tests/vectors/rfc6749/DV-9-x.json lacks the line \
             `\"rows\": [\"DV-9\"]`",
        ];
        assert_eq!(unwritten, expected);
    }

    #[test]
    fn a_kept_row_without_test_and_a_test_without_row_are_problems() {
        let row = |id: &str, waits: Option<&str>| Row {
            id: id.to_owned(),
            source: String::new(),
            words: "w".to_owned(),
            waits: waits.map(str::to_owned),
            left_out: None,
        };
        let rows = vec![row("AR-1", None), row("AR-2", None), row("AR-3", Some("server"))];
        let group = super::Group { id: "AR".to_owned(), title: String::new(), rows };
        let code = "// AR-1, AR-9\n#[test]\nfn ar_1_ar_9_x() {}\n";
        let (tests, unwritten) = tests(&[file("crates/oauth/tests/it/a.rs", code)]).unwrap();
        let standards = Standards { groups: vec![group], tests, unwritten };
        let expected = ["AR-2 has no test: w", "AR-9 is no row, but is named by ar_1_ar_9_x"];
        assert_eq!(standards.problems(), expected);
    }

    #[test]
    fn row_ids_are_of_their_group_and_stand_once() {
        let standards = Standards::read(&Repo::find().unwrap()).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for group in &standards.groups {
            for row in &group.rows {
                assert!(row.id.starts_with(&format!("{}-", group.id)), "{}", row.id);
                assert!(seen.insert(&row.id), "{} stands twice", row.id);
            }
        }
    }
}
