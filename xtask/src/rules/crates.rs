//! Who may depend on whom: arrows between our crates, what each must not know, licences, banned
//! packages, where packages come from, and that each crate's `clippy.toml` has its bans.
//!
//! What would surprise: what a crate *reaches* is read from the features that the whole workspace
//! asks for, so a neighbour's feature may bring in something that a crate by itself wouldn't.

use super::{CrateRules, Problem, Rules};
use crate::repo::Repo;
use crate::step::output;
use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId, TargetKind};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

/// Looks at the dependency graph and at each crate's root and `clippy.toml`.
pub fn check(repo: &Repo, rules: &Rules) -> Result<Vec<Problem>> {
    let metadata = MetadataCommand::new()
        .current_dir(&repo.root)
        .other_options(vec!["--locked".to_owned()])
        .exec()
        .context("reading the dependency graph; a stale Cargo.lock is mended by `cargo check`")?;
    let graph = Graph::new(&metadata, &used(repo)?)?;
    let mut problems = Vec::new();
    for package in metadata.workspace_packages() {
        let manifest = Manifest::of(repo, package)?;
        let Some(rule) = rules.crates.get(package.name.as_str()) else {
            problems.push(manifest.problem(
                "name",
                format!("`{}` is a crate that xtask/tidy.toml doesn't know", package.name),
                "say there what it may use; a new crate forbids, isolates or has another audience",
            ));
            continue;
        };
        arrows(&manifest, package, rule, rules, &mut problems);
        reaches(&manifest, &graph, rule, &mut problems);
        roots(repo, package, &mut problems)?;
        bans(repo, &manifest, rule, rules, &mut problems)?;
    }
    outside(&metadata, &graph, rules, &mut problems)?;
    Ok(problems)
}

/// A crate's manifest, with its place from the root.
struct Manifest<'a> {
    package: &'a Package,
    folder: String,
    text: String,
}

impl<'a> Manifest<'a> {
    fn of(repo: &Repo, package: &'a Package) -> Result<Self> {
        let path = package.manifest_path.as_std_path();
        let relative = path.strip_prefix(&repo.root)?.to_string_lossy().replace('\\', "/");
        let folder = relative.trim_end_matches("/Cargo.toml").to_owned();
        Ok(Self { package, folder, text: fs::read_to_string(path)? })
    }

    /// A problem at the first line that begins with this name.
    fn problem(&self, name: &str, what: String, fix: &str) -> Problem {
        let names = |line: &str| {
            let rest = line.trim_start().strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=', ']']))
        };
        let line = self.text.lines().position(names).map_or(1, |index| index + 1);
        Problem { path: format!("{}/Cargo.toml", self.folder), line, what, fix: fix.to_owned() }
    }
}

/// The direct dependencies of one crate.
fn arrows(
    manifest: &Manifest<'_>,
    package: &Package,
    rule: &CrateRules,
    rules: &Rules,
    problems: &mut Vec<Problem>,
) {
    for dependency in &package.dependencies {
        let name = dependency.name.as_str();
        let in_tests = dependency.kind == DependencyKind::Development;
        let listed = |names: &[String]| names.iter().any(|allowed| allowed == name);
        let ours = rules.crates.contains_key(name);
        if ours && !listed(&rule.uses) && !(in_tests && listed(&rule.tests_use)) {
            problems.push(manifest.problem(
                name,
                format!("arrow `{} → {name}` isn't one of the house", package.name),
                "move the code to where the arrows of ARCHITECTURE.md allow it",
            ));
        }
        if !in_tests && (listed(&rule.never_names) || listed(&rule.never_reaches)) {
            problems.push(manifest.problem(
                name,
                format!("`{}` must not know `{name}`", package.name),
                "the crate exists because it doesn't; use a port, or move the code",
            ));
        }
    }
}

/// What one crate must not get by detours.
fn reaches(
    manifest: &Manifest<'_>,
    graph: &Graph<'_>,
    rule: &CrateRules,
    problems: &mut Vec<Problem>,
) {
    let direct: BTreeSet<&str> =
        manifest.package.dependencies.iter().map(|dependency| dependency.name.as_str()).collect();
    for (name, path) in graph.reached_from(&manifest.package.id) {
        let forbidden = rule.never_reaches.iter().any(|never| never == name);
        if forbidden && !direct.contains(name) {
            problems.push(manifest.problem(
                path.first().copied().unwrap_or(name),
                format!("`{}` reaches `{name}` by {}", manifest.package.name, path.join(" → ")),
                "switch off the feature that brings it, or do without the package between",
            ));
        }
    }
}

/// `forbid(unsafe_code)` stands in the root of each library and binary.
fn roots(repo: &Repo, package: &Package, problems: &mut Vec<Problem>) -> Result<()> {
    for target in &package.targets {
        let ours = [TargetKind::Lib, TargetKind::Bin];
        if !target.kind.iter().any(|kind| ours.contains(kind)) {
            continue;
        }
        let path = target.src_path.as_std_path();
        if fs::read_to_string(path)?.lines().any(|line| line == "#![forbid(unsafe_code)]") {
            continue;
        }
        let relative = path.strip_prefix(&repo.root)?.to_string_lossy().replace('\\', "/");
        problems.push(Problem {
            path: relative,
            line: 1,
            what: format!("crate root of `{}` lacks `#![forbid(unsafe_code)]`", target.name),
            fix: "write it in the first line".to_owned(),
        });
    }
    Ok(())
}

/// A crate's `clippy.toml` replaces the root's, so it must repeat that and add its bans.
fn bans(
    repo: &Repo,
    manifest: &Manifest<'_>,
    rule: &CrateRules,
    rules: &Rules,
    problems: &mut Vec<Problem>,
) -> Result<()> {
    if rule.bans.is_empty() {
        return Ok(());
    }
    let path = format!("{}/clippy.toml", manifest.folder);
    let text = fs::read_to_string(repo.path(&path)).unwrap_or_default();
    let own: toml::Table = toml::from_str(&text).with_context(|| format!("reading {path}"))?;
    let root: toml::Table = toml::from_str(&repo.read("clippy.toml")?)?;
    let mut lacking: Vec<String> = root
        .iter()
        .filter(|(key, value)| own.get(*key) != Some(value))
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    let disallowed = disallowed(&own);
    for group in &rule.bans {
        let names = rules.bans.get(group).with_context(|| format!("no bans `{group}`"))?;
        lacking.extend(names.iter().filter(|name| !disallowed.contains(*name)).cloned());
    }
    if !lacking.is_empty() {
        problems.push(Problem {
            path,
            line: 1,
            what: format!("lacks: {}", lacking.join(", ")),
            fix: "repeat the root's settings; name the bans in disallowed-methods, -types, -macros"
                .to_owned(),
        });
    }
    Ok(())
}

/// The paths under `disallowed-methods`, `disallowed-types`, `disallowed-macros`.
fn disallowed(clippy: &toml::Table) -> BTreeSet<String> {
    let kinds = ["disallowed-methods", "disallowed-types", "disallowed-macros"];
    let lists = kinds.iter().filter_map(|kind| clippy.get(*kind)?.as_array());
    let path = |entry: &toml::Value| {
        let path = entry.as_str().or_else(|| entry.get("path")?.as_str());
        path.map(str::to_owned)
    };
    lists.flatten().filter_map(path).collect()
}

/// What others wrote: licences, bans, one source.
fn outside(
    metadata: &Metadata,
    graph: &Graph<'_>,
    rules: &Rules,
    problems: &mut Vec<Problem>,
) -> Result<()> {
    let mut problem = |package: &Package, what: String, fix: &str| {
        let what = format!("`{} {}` {what}", package.name, package.version);
        problems.push(Problem { path: "Cargo.lock".to_owned(), line: 1, what, fix: fix.into() });
    };
    let registry = registry(metadata);
    for package in graph.packages.values().filter(|package| package.source.is_some()) {
        if let Some(reason) = rules.dependencies.banned.get(package.name.as_str()) {
            let fix = "see who brings it: `cargo tree --invert PACKAGE --edges all`";
            problem(package, format!("is banned: {reason}"), fix);
        }
        let source = package.source.as_ref().map(|source| source.repr.as_str());
        if source != registry {
            problem(package, "isn't from the registry".to_owned(), "use a published version");
        }
        let licence = package.license.as_deref().unwrap_or_default();
        if !licence_allowed(licence, &rules.dependencies.licences)? {
            let what = format!("has the licence `{licence}`, which isn't one we take");
            problem(package, what, "do without it, or add the licence to xtask/tidy.toml");
        }
    }
    Ok(())
}

/// The source that most packages share, if it is a registry.
fn registry(metadata: &Metadata) -> Option<&str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for source in metadata.packages.iter().filter_map(|package| package.source.as_ref()) {
        *counts.entry(source.repr.as_str()).or_default() += 1;
    }
    let (source, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    source.starts_with("registry+").then_some(source)
}

/// Whether an SPDX expression can be met with the licences of the list.
pub(super) fn licence_allowed(expression: &str, allowed: &[String]) -> Result<bool> {
    if expression.is_empty() {
        return Ok(false);
    }
    let parsed = spdx::Expression::parse_mode(expression, spdx::ParseMode::LAX)
        .with_context(|| format!("reading the licence `{expression}`"))?;
    Ok(parsed.evaluate(|licence| allowed.iter().any(|name| *name == licence.to_string())))
}

/// Name and version of each package that a build uses, on any system, tests included.
///
/// `cargo metadata` alone says too much: it counts a package that only a weak feature names.
fn used(repo: &Repo) -> Result<BTreeSet<String>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(&repo.root).args(["tree", "--locked", "--workspace", "--target", "all"]);
    cargo.args(["--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}"]);
    let name_and_version = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().take(2).collect();
        words.join(" ")
    };
    Ok(output(&mut cargo)?.lines().map(name_and_version).collect())
}

/// The packages that a build of the workspace uses, tests included.
struct Graph<'a> {
    packages: BTreeMap<&'a PackageId, &'a Package>,
    /// What each needs to run: neither its tests nor its build scripts.
    needs: BTreeMap<&'a PackageId, Vec<&'a PackageId>>,
}

impl<'a> Graph<'a> {
    fn new(metadata: &'a Metadata, used: &BTreeSet<String>) -> Result<Self> {
        let resolve = metadata.resolve.as_ref().context("the graph is resolved")?;
        let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
        let is_used =
            |package: &&Package| used.contains(&format!("{} v{}", package.name, package.version));
        let packages: BTreeMap<_, _> = metadata
            .packages
            .iter()
            .filter(is_used)
            .map(|package| (&package.id, package))
            .collect();
        let mut seen = BTreeSet::new();
        let mut open: Vec<&PackageId> = metadata.workspace_members.iter().collect();
        let mut needs = BTreeMap::new();
        while let Some(id) = open.pop() {
            if !packages.contains_key(id) || !seen.insert(id) {
                continue;
            }
            let node = nodes.get(id).context("each package is in the graph")?;
            open.extend(node.deps.iter().map(|dependency| &dependency.pkg));
            let runs = node.deps.iter().filter(|dependency| {
                dependency.dep_kinds.iter().any(|info| info.kind == DependencyKind::Normal)
            });
            needs.insert(id, runs.map(|dependency| &dependency.pkg).collect());
        }
        let packages = metadata.packages.iter().filter(|package| seen.contains(&package.id));
        Ok(Self { packages: packages.map(|package| (&package.id, package)).collect(), needs })
    }

    /// The names of all packages that this one needs to run, each with the way there.
    fn reached_from(&self, start: &'a PackageId) -> BTreeMap<&'a str, Vec<&'a str>> {
        let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut open = vec![(start, Vec::new())];
        while let Some((id, path)) = open.pop() {
            for next in self.needs.get(id).into_iter().flatten() {
                let Some(package) = self.packages.get(next) else {
                    continue;
                };
                let name = package.name.as_str();
                if found.contains_key(name) {
                    continue;
                }
                let mut way: Vec<&str> = path.clone();
                way.push(name);
                found.insert(name, way.clone());
                open.push((*next, way));
            }
        }
        found
    }
}
