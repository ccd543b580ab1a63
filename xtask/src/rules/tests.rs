//! The rules catch what they are for, and nothing beside it: `xtask/samples/*.txt` holds files with
//! the problems that they must give, and a workspace of empty crates is made for the arrows.

use super::crates::{self, licence_allowed};
use super::{Rules, lines, marks, names};
use crate::repo::{File, Repo};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A sample: expected problems, then files, each headed by `--- PATH`.
fn check(sample: &str) {
    let repo = Repo::find().unwrap();
    let text = repo.read(&format!("xtask/samples/{sample}.txt")).unwrap();
    let (head, _) = text.split_once("--- ").unwrap();
    let expected: Vec<&str> = head.lines().filter_map(|l| l.strip_prefix("expect: ")).collect();
    let files: Vec<File> = text[head.len()..]
        .split("--- ")
        .filter_map(|part| part.split_once('\n'))
        .map(|(path, text)| File { path: path.to_owned(), text: text.to_owned() })
        .collect();
    let rules = Rules::read(&repo).unwrap();
    let mut found = lines::check(&files, &rules).unwrap();
    found.extend(lines::pages(&files).unwrap());
    found.extend(names::check(&files).unwrap());
    found.extend(marks::check(&files).unwrap());
    found.sort();
    let found: Vec<String> =
        found.iter().map(|p| format!("{}:{}: {}", p.path, p.line, p.what)).collect();
    assert_eq!(found, expected, "sample {sample}");
}

#[test]
fn patterns_and_wide_comments_are_found() {
    check("lines");
}

#[test]
fn service_names_are_found_outside_tests_and_comments() {
    check("names");
}

#[test]
fn marks_and_proofs_are_matched_both_ways() {
    check("marks");
}

#[test]
fn long_files_are_found_and_lists_may_be_longer() {
    let repo = Repo::find().unwrap();
    let mut rules = Rules::read(&repo).unwrap();
    let file = |path: &str, lines| File { path: path.to_owned(), text: "a\n".repeat(lines) };
    let files = [file("a.rs", 600), file("b.rs", 601), file("c.rs", 800), file("d.txt", 900)];
    rules.files.lists = vec!["c.rs".to_owned()];
    let found = lines::check(&files, &rules).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].path.as_str(), found[0].line), ("b.rs", 601));
}

#[test]
fn a_line_that_must_stand_is_missed() {
    let repo = Repo::find().unwrap();
    let mut rules = Rules::read(&repo).unwrap();
    let file = |text: &str| vec![File { path: "a.rs".to_owned(), text: text.to_owned() }];
    rules.must_say.truncate(1);
    rules.must_say[0].files = vec!["a.rs".to_owned()];
    let text = rules.must_say[0].text.clone();
    assert!(lines::said(&file(&format!("//! x\n{text}\n")), &rules).is_empty());
    assert_eq!(lines::said(&file(&format!("// {text}\n")), &rules).len(), 1);
    assert_eq!(lines::said(&[], &rules).len(), 1);
}

#[test]
fn licences_are_judged_as_expressions() {
    let allowed = ["MIT", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    for (expression, expected) in [
        ("MIT OR GPL-3.0-only", true),
        ("MIT AND GPL-3.0-only", false),
        ("MIT/Apache-2.0", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
        ("", false),
    ] {
        assert_eq!(licence_allowed(expression, &allowed).unwrap(), expected, "{expression}");
    }
}

/// Rules for two crates, `low` and `high`, where `high` may use `low`.
const TWO_CRATES: &str = r#"
line = []
[files]
lines_max = 1
list_lines_max = 1
lists = []
comment_columns_max = 1
code = []
[dependencies]
licences = []
[dependencies.banned]
[crates.low]
uses = []
tests_use = ["high"]
never_reaches = ["outsider"]
bans = ["clock"]
[crates.high]
uses = ["low"]
bans = []
[bans]
clock = ["std::time::SystemTime::now"]
"#;

/// Makes a workspace of empty crates and says what the rules find in it.
fn found_in(crates: &[(&str, &str)], clippy_of_low: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "Cargo.toml",
        "[workspace]\nmembers = [\"low\", \"high\"]\nexclude = [\"outside\"]\nresolver = \"3\"\n",
    );
    write("clippy.toml", "too-many-lines-threshold = 70\n");
    write("low/clippy.toml", clippy_of_low);
    for (name, dependencies) in
        [("outsider", ""), ("between", "[dependencies]\noutsider = { path = \"../outsider\" }")]
    {
        write(&format!("outside/{name}/Cargo.toml"), &manifest(name, dependencies));
        write(&format!("outside/{name}/src/lib.rs"), "");
    }
    write(
        "outside/Cargo.toml",
        "[workspace]\nmembers = [\"outsider\", \"between\"]\nresolver = \"3\"\n",
    );
    for (name, dependencies) in crates {
        write(&format!("{name}/Cargo.toml"), &manifest(name, dependencies));
        write(&format!("{name}/src/lib.rs"), "#![forbid(unsafe_code)]\n");
    }
    lock(folder.path());
    let repo = Repo { root: folder.path().canonicalize().unwrap() };
    let mut found = crates::check(&repo, &Rules::parse(TWO_CRATES).unwrap()).unwrap();
    found.sort();
    found.iter().map(|p| format!("{}:{}: {}", p.path, p.line, p.what)).collect()
}

fn manifest(name: &str, dependencies: &str) -> String {
    format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n{dependencies}\n")
}

fn lock(folder: &Path) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["generate-lockfile", "--offline"]).current_dir(folder);
    assert!(cargo.output().unwrap().status.success());
}

const GOOD_CLIPPY: &str = "too-many-lines-threshold = 70\n\
     disallowed-methods = [{ path = \"std::time::SystemTime::now\", reason = \"ask Clock\" }]\n";

#[test]
fn arrows_downward_are_fine_and_others_are_found() {
    let low = ("low", "");
    let high = ("high", "[dependencies]\nlow = { path = \"../low\" }");
    assert_eq!(found_in(&[low, high], GOOD_CLIPPY), [] as [&str; 0]);

    let low = ("low", "[dependencies]\nhigh = { path = \"../high\" }");
    let found = found_in(&[low, ("high", "")], GOOD_CLIPPY);
    assert_eq!(found, ["low/Cargo.toml:5: arrow `low → high` isn't one of the house"]);

    let low = ("low", "[dev-dependencies]\nhigh = { path = \"../high\" }");
    assert_eq!(found_in(&[low, ("high", "")], GOOD_CLIPPY), [] as [&str; 0]);
}

#[test]
fn what_a_crate_must_not_know_is_found_by_detours_too() {
    let direct = ("low", "[dependencies]\noutsider = { path = \"../outside/outsider\" }");
    let found = found_in(&[direct, ("high", "")], GOOD_CLIPPY);
    assert_eq!(found, ["low/Cargo.toml:5: `low` must not know `outsider`"]);

    let detour = ("low", "[dependencies]\nbetween = { path = \"../outside/between\" }");
    let found = found_in(&[detour, ("high", "")], GOOD_CLIPPY);
    assert_eq!(found, ["low/Cargo.toml:5: `low` reaches `outsider` by between → outsider"]);
}

#[test]
fn a_clippy_file_without_its_bans_is_found() {
    let crates = [("low", ""), ("high", "")];
    let found = found_in(&crates, "too-many-lines-threshold = 90\n");
    let expected = "low/clippy.toml:1: lacks: too-many-lines-threshold = 70, \
                    std::time::SystemTime::now";
    assert_eq!(found, [expected]);
}
