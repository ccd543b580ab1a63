//! What a file's lines must not be: too many, too wide where they are comment, or one of the
//! patterns of `xtask/tidy.toml`.

use super::{FileRules, LineRule, Problem, Rules, Within};
use crate::repo::File;
use anyhow::{Context, Result};
use regex_lite::Regex;

/// Files that a tool writes, and whose words aren't ours.
const GENERATED: [&str; 3] = ["Cargo.lock", "package-lock.json", "requirements.txt"];

/// Looks at each line of each file.
pub fn check(files: &[File], rules: &Rules) -> Result<Vec<Problem>> {
    let mut patterns = Vec::new();
    for rule in &rules.lines {
        let regex = Regex::new(&rule.regex).with_context(|| format!("the rule `{}`", rule.rule))?;
        patterns.push((rule, regex));
    }
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| !generated(file)) {
        problems.extend(length(file, &rules.files));
        problems.extend(comments(file, &rules.files));
        for (rule, regex) in &patterns {
            problems.extend(matches(file, rule, regex));
        }
    }
    Ok(problems)
}

/// Lines that must stand in a file, and the file with them.
pub fn said(files: &[File], rules: &Rules) -> Vec<Problem> {
    let mut problems = Vec::new();
    for rule in &rules.must_say {
        for path in &rule.files {
            let file = files.iter().find(|file| file.path == *path);
            if file.is_some_and(|file| file.text.lines().any(|line| line == rule.text)) {
                continue;
            }
            problems.push(Problem {
                path: path.clone(),
                line: 1,
                what: format!("lacks `{}`", rule.text),
                fix: rule.fix.clone(),
            });
        }
    }
    problems
}

/// Pages that are named and aren't here.
pub fn pages(files: &[File]) -> Result<Vec<Problem>> {
    let name = Regex::new(r"[A-Za-z0-9_./-]*[A-Za-z0-9_-]\.md\b")?;
    let exists = |page: &str| {
        let page = page.trim_start_matches("./").trim_start_matches("../");
        files.iter().any(|file| file.path == page || file.path.ends_with(&format!("/{page}")))
    };
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| !generated(file)) {
        for (index, line) in file.text.lines().enumerate() {
            let addresses = line.contains("://");
            let mut named = name.find_iter(line).map(|found| found.as_str());
            if let Some(page) = named.find(|page| !addresses && !exists(page)) {
                problems.push(Problem {
                    path: file.path.clone(),
                    line: index + 1,
                    what: format!("names the page `{page}`, which isn't here"),
                    fix: "name one that is, or say here what it would have said".to_owned(),
                });
            }
        }
    }
    Ok(problems)
}

fn generated(file: &File) -> bool {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    GENERATED.contains(&name) || file.path.starts_with("xtask/samples/")
}

fn length(file: &File, rules: &FileRules) -> Option<Problem> {
    let is_list = rules.lists.contains(&file.path);
    let max = if is_list { rules.list_lines_max } else { rules.lines_max };
    let lines = file.text.lines().count();
    let counts = rules.code.iter().any(|extension| extension == file.extension());
    (counts && lines > max).then(|| Problem {
        path: file.path.clone(),
        line: max + 1,
        what: format!("{lines} lines, {max} are allowed"),
        fix: "find its second reason to be and give that a file of its own".to_owned(),
    })
}

/// Comments in Rust, which rustfmt leaves as they are. A line with an address may be longer.
fn comments(file: &File, rules: &FileRules) -> Vec<Problem> {
    let max = rules.comment_columns_max;
    let wide = |line: &str| {
        line.trim_start().starts_with("//") && line.chars().count() > max && !line.contains("://")
    };
    let lines = file.text.lines().enumerate();
    lines
        .filter(|(_, line)| file.extension() == "rs" && wide(line))
        .map(|(index, line)| Problem {
            path: file.path.clone(),
            line: index + 1,
            what: format!("comment of {} columns, {max} are allowed", line.chars().count()),
            fix: "wrap it".to_owned(),
        })
        .collect()
}

fn matches(file: &File, rule: &LineRule, regex: &Regex) -> Vec<Problem> {
    let wanted = rule.files.iter().any(|wanted| wanted == "*" || wanted == file.extension());
    if !wanted {
        return Vec::new();
    }
    let tests_from = file.tests_from();
    let looked_at = |index: usize, line: &str| {
        (rule.tests || index + 1 < tests_from)
            && (rule.within == Within::All || !is_comment(file, line))
    };
    let lines = file.text.lines().enumerate();
    lines
        .filter(|(index, line)| looked_at(*index, line))
        .filter_map(|(index, line)| Some((index, regex.find(line)?)))
        .map(|(index, found)| Problem {
            path: file.path.clone(),
            line: index + 1,
            what: format!("{}: `{}`", rule.rule, found.as_str().trim()),
            fix: rule.fix.clone(),
        })
        .collect()
}

/// Whether a line is wholly comment.
pub(super) fn is_comment(file: &File, line: &str) -> bool {
    let line = line.trim_start();
    match file.extension() {
        "rs" | "mjs" | "js" => line.starts_with("//"),
        "py" | "toml" => line.starts_with('#'),
        _ => false,
    }
}
