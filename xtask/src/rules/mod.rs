//! The rules of `xtask/tidy.toml`, and what a breach of one looks like.

pub mod crates;
pub mod lines;
pub mod marks;
pub mod names;
#[cfg(test)]
mod tests;

use crate::repo::Repo;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// A breach of a rule. Sorts by place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, from the root.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}\n    fix: {}", self.path, self.line, self.what, self.fix)
    }
}

/// Everything that `xtask/tidy.toml` says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    pub files: FileRules,
    #[serde(rename = "line")]
    pub lines: Vec<LineRule>,
    #[serde(default)]
    pub must_say: Vec<MustSay>,
    pub dependencies: DependencyRules,
    pub crates: BTreeMap<String, CrateRules>,
    /// Groups of names that clippy must disallow.
    pub bans: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRules {
    pub lines_max: usize,
    pub list_lines_max: usize,
    /// The files that may be as long as `list_lines_max`.
    pub lists: Vec<String>,
    pub comment_columns_max: usize,
    /// The extensions of files whose length counts.
    pub code: Vec<String>,
}

/// A pattern that must not occur.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineRule {
    pub rule: String,
    pub regex: String,
    /// Extensions; `*` is any.
    pub files: Vec<String>,
    pub within: Within,
    /// Whether tests are looked at as well.
    pub tests: bool,
    pub fix: String,
}

/// Which part of a line counts.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Within {
    /// Lines that aren't wholly comment.
    Code,
    /// Any line.
    All,
}

/// A line that must stand in each of these files.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MustSay {
    pub files: Vec<String>,
    pub text: String,
    pub fix: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DependencyRules {
    /// SPDX identifiers, `WITH` exceptions included.
    pub licences: Vec<String>,
    /// Package to reason.
    pub banned: BTreeMap<String, String>,
}

/// What one crate of ours may depend on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrateRules {
    pub uses: Vec<String>,
    #[serde(default)]
    pub tests_use: Vec<String>,
    #[serde(default)]
    pub never_names: Vec<String>,
    #[serde(default)]
    pub never_reaches: Vec<String>,
    pub bans: Vec<String>,
}

impl Rules {
    /// Reads `xtask/tidy.toml`.
    pub fn read(repo: &Repo) -> Result<Self> {
        Self::parse(&repo.read("xtask/tidy.toml")?)
    }

    fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).context("reading xtask/tidy.toml")
    }
}
