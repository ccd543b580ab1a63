//! docs/reference/json.md beside the documents that the commands print, and
//! docs/reference/settings.md beside the settings that the help names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::peers::root;
use crate::stage::{Home, Ran, Sandbox};

/// Members whose own members are names of the user's or the service's.
const MAPS: &[&str] = &["headers", "inputs", "labels", "settings"];

/// What documents hold: each member's path, and whether something was seen inside it.
fn members(document: &Value, path: &str, found: &mut BTreeMap<String, bool>) {
    match document {
        Value::Object(inner) if !MAPS.contains(&path) => {
            found.entry(path.to_owned()).and_modify(|seen| *seen = true).or_insert(true);
            let dot = if path.is_empty() { "" } else { "." };
            inner
                .iter()
                .for_each(|(name, value)| members(value, &format!("{path}{dot}{name}"), found));
        }
        Value::Array(rows) => {
            found.entry(path.to_owned()).or_insert(false);
            for row in rows.iter().filter(|row| row.is_object()) {
                members(row, &format!("{path}[]"), found);
            }
        }
        Value::Null | Value::Object(_) => {
            found.entry(path.to_owned()).or_insert(false);
        }
        _ => {
            found.insert(path.to_owned(), true);
        }
    }
}

/// The members that the page's section of this title names.
fn told(page: &str, title: &str) -> BTreeSet<String> {
    let mut parts = page.split("\n## ").filter(|part| part.starts_with(title));
    let section = parts.next().unwrap_or_else(|| panic!("no section {title}"));
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    rows.map(str::to_owned).collect()
}

#[track_caller]
fn check(title: &str, documents: &[Value]) {
    let page = fs::read_to_string(root().join("docs/reference/json.md")).unwrap();
    let told = told(&page, title);
    let mut found = BTreeMap::new();
    documents.iter().for_each(|document| members(document, "", &mut found));
    let is_row = |path: &&String| !path.is_empty() && !path.ends_with("[]");
    let missing: Vec<_> = found.keys().filter(is_row).filter(|p| !told.contains(*p)).collect();
    assert!(missing.is_empty(), "docs/reference/json.md, {title}: lacks {missing:?}");
    // What is inside a null or an empty list can't be seen; all else that the page tells is there.
    let unseen = |path: &&String| {
        let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
        let hidden = found.get(parent.trim_end_matches("[]")) == Some(&false)
            || (parent.ends_with("[]") && !found.contains_key(parent));
        !found.contains_key(*path) && !hidden
    };
    let extra: Vec<_> = told.iter().filter(unseen).collect();
    assert!(extra.is_empty(), "docs/reference/json.md, {title}: nobody prints {extra:?}");
}

#[test]
fn each_member_of_each_document_is_in_the_reference() {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    let run = |args: &[&str]| home.run(&[args, &["--json"]].concat());
    let json = |args: &[&str]| run(args).ok().json();
    let import = |args: &[&str], lines: &str| -> Ran {
        home.run_with(&[&["import", "klaviyo", "--json"], args].concat(), lines)
    };
    let client = home.add_client(&sandbox, "klaviyo", &[]);
    check("A client:", &[client, json(&["clients", "show", "klaviyo"])]);
    let connection = home.connect(&sandbox, &["klaviyo", "--can", "contacts.read"]);
    let short = "{\"access_token\":\"a\",\"expires_in\":3600}";
    let imported = import(&["--id", "short"], short).ok().json();
    check("A token:", &[json(&["token", "klaviyo"]), json(&["token", "short"])]);
    check("What will end:", &[json(&["forecast"])]);
    let many = "{\"id\":\"two\",\"access_token\":\"b\"}\n{}\n";
    check("Many imports:", &[import(&["--jsonl"], many).json()]);
    check("All that was due:", &[json(&["refresh", "--due"])]);
    let full = json(&["scopes", "--client", "klaviyo", "--can", "lists.read"]);
    check("Scopes:", &[full, json(&["scopes", "klaviyo"])]);
    check("A receipt:", &[json(&["revoke", "klaviyo"])]);
    let revoked = json(&["connections", "show", "klaviyo"]);
    check("A connection:", &[connection, imported, revoked]);
    check("An explanation:", &[json(&["explain", "klaviyo"]), json(&["explain", "short"])]);
    check("Health:", &[json(&["doctor", "--offline"])]);
    check("The list of services:", &[json(&["services"])]);
    check("An error", &[run(&["token", "nobody"]).error()]);
}

#[test]
fn each_setting_is_in_the_reference() {
    let help = Home::new().run(&["token", "--help"]).ok().stdout;
    let settings = help.split("Settings, in config.toml").nth(1).unwrap();
    let flat = settings.split_whitespace().collect::<Vec<_>>().join(" ");
    let page = fs::read_to_string(root().join("docs/reference/settings.md")).unwrap();
    let mut count = 0;
    for setting in settings.lines().filter_map(|line| line.trim().split_once(" = …  (")) {
        let (name, variable) = (setting.0, setting.1.trim_end_matches(')'));
        let after = flat.split(&format!("({variable}) ")).nth(1).unwrap();
        let (means, rest) = after.split_once(" [default: ").unwrap();
        let default = rest.split(']').next().unwrap();
        let row = format!("| `{name}` | `{variable}` | {default} | {means} |");
        assert!(page.contains(&row), "docs/reference/settings.md lacks this row:\n{row}");
        count += 1;
    }
    let rows = page.lines().filter(|line| line.starts_with("| `") && line.contains("` | `"));
    assert_eq!((count > 0, rows.count()), (true, count), "a row for each setting");
    // The variables that aren't settings stand there too.
    for file in crate::stage::files(&root().join("crates/cli/src")) {
        let source = fs::read_to_string(file).unwrap();
        for rest in source.split("INDICIA_").skip(1) {
            let end =
                rest.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(rest.len());
            let name = format!("INDICIA_{}", &rest[..end]);
            assert!(page.contains(&name), "docs/reference/settings.md lacks {name}");
        }
    }
}
