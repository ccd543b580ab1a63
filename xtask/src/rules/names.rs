//! No service's id and no service's host in code: a service is a file in `services/`, and code that
//! names one would have to be changed for the next.
//!
//! Ids and hosts are read from the files themselves, so the rule grows with the catalogue. Tests
//! may name services.

use super::Problem;
use super::lines::is_comment;
use crate::repo::File;
use anyhow::{Context, Result};
use std::collections::BTreeSet;

/// Hosts that stand in service files and belong to no service.
const NOBODYS: [&str; 3] = ["localhost", "127.0.0.1", "example.com"];

/// Looks for ids as whole string literals, and for hosts anywhere in code.
pub fn check(files: &[File]) -> Result<Vec<Problem>> {
    let (ids, hosts) = names(files)?;
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.extension() == "rs") {
        let tests_from = file.tests_from();
        for (index, line) in file.text.lines().enumerate().take(tests_from - 1) {
            if is_comment(file, line) {
                continue;
            }
            let id = ids.iter().find(|id| line.contains(&format!("\"{id}\"")));
            let host = hosts.iter().find(|host| line.contains(host.as_str()));
            if let Some(name) = id.or(host) {
                problems.push(Problem {
                    path: file.path.clone(),
                    line: index + 1,
                    what: format!("code names the service `{name}`"),
                    fix: "make what differs a field of services/*.toml and read that".to_owned(),
                });
            }
        }
    }
    Ok(problems)
}

/// The ids and hosts of all service files.
fn names(files: &[File]) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let (mut ids, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    for file in files {
        let name = file.path.strip_prefix("services/").and_then(|p| p.strip_suffix(".toml"));
        let Some(id) = name else { continue };
        ids.insert(id.to_owned());
        let service: toml::Table =
            toml::from_str(&file.text).with_context(|| format!("reading {}", file.path))?;
        collect_hosts(&toml::Value::Table(service), &mut hosts);
    }
    Ok((ids, hosts))
}

fn collect_hosts(value: &toml::Value, hosts: &mut BTreeSet<String>) {
    match value {
        toml::Value::String(text) => {
            let host = text.strip_prefix("https://").and_then(|rest| rest.split('/').next());
            let plain = |host: &&str| host.contains('.') && !host.contains(['{', '}', ' ', '*']);
            let host = host.filter(plain).filter(|host| !NOBODYS.contains(host));
            hosts.extend(host.map(str::to_owned));
        }
        toml::Value::Array(values) => values.iter().for_each(|value| collect_hosts(value, hosts)),
        toml::Value::Table(table) => table.values().for_each(|value| collect_hosts(value, hosts)),
        _ => {}
    }
}
