//! Pages of the documentation that are made from what the program itself says. To renew them:
//! `INDICIA_BLESS=1 cargo test -p indicia-cli --test it reference`.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::peers::root;
use crate::stage::Home;

const BLESS: Option<&str> = option_env!("INDICIA_BLESS");

/// Compares a page, or writes it.
fn page(name: &str, text: &str) {
    let path: PathBuf = root().join("docs").join(name);
    if BLESS.is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == text,
        "docs/{name} is out of date: INDICIA_BLESS=1 cargo test -p indicia-cli --test it reference"
    );
}

/// Names of the commands that a help text lists.
fn commands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let named = lines.take_while(|line| line.starts_with("  ")).filter(|l| !l.starts_with("   "));
    let names = named.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn each_command_is_in_the_reference() {
    let home = Home::new();
    let help = |path: &[&str]| home.run(&[path, &["--help"]].concat()).ok().stdout;
    let mut text = "# Commands\n\nThis page is generated from the program's own help; a test \
                    compares the two.\n"
        .to_owned();
    let mut section = |path: &[&str], help: &str| {
        let help = help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        let depth = if path.is_empty() { 2 } else { path.len() + 1 };
        let name = ["indicia"].iter().chain(path).copied().collect::<Vec<_>>().join(" ");
        write!(text, "\n{} `{name}`\n\n```text\n{help}\n```\n", "#".repeat(depth)).unwrap();
    };
    let top = help(&[]);
    section(&[], &top);
    for command in commands(&top) {
        let own = help(&[&command]);
        section(&[&command], &own);
        for sub in commands(&own) {
            let path = [command.as_str(), &sub];
            let own = help(&path);
            section(&path, &own);
            for third in commands(&own) {
                let path = [command.as_str(), &sub, &third];
                section(&path, &help(&path));
            }
        }
    }
    page("reference/commands.md", &text);
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn days(seconds: &Value) -> Option<String> {
    let seconds = seconds.as_u64()?;
    Some(match seconds {
        s if s % 86_400 == 0 => format!("{} days", s / 86_400),
        s if s % 3_600 == 0 => format!("{} h", s / 3_600),
        s => format!("{s} s"),
    })
}

/// A table without the rows that say nothing.
fn facts(out: &mut String, rows: &[(&str, String)]) {
    out.push_str("\n| | |\n|---|---|\n");
    for (name, said) in rows.iter().filter(|(_, said)| !said.is_empty()) {
        writeln!(out, "| {name} | {} |", said.replace('|', "\\|").replace('\n', " ")).unwrap();
    }
}

fn table(out: &mut String, title: &str, head: [&str; 2], rows: Vec<[String; 2]>) {
    if rows.is_empty() {
        return;
    }
    write!(out, "\n## {title}\n\n| {} | {} |\n|---|---|\n", head[0], head[1]).unwrap();
    for [left, right] in rows {
        writeln!(out, "| `{left}` | {} |", right.replace('|', "\\|")).unwrap();
    }
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn registration(out: &mut String, said: &Value) {
    let register = &said["register"];
    write!(out, "\n## Register\n\nAt <{}>:\n\n", text(&register["url"])).unwrap();
    for (n, step) in list(&register["steps"]).iter().enumerate() {
        writeln!(out, "{}. {}", n + 1, text(step)).unwrap();
    }
    if said["api_key"].is_null() {
        write!(out, "\nRedirect URI: `{}`.", text(&register["redirect_uri"])).unwrap();
    }
    writeln!(
        out,
        " {}\n\n`indicia setup {}` goes through it with you.",
        text(&register["note"]),
        text(&said["id"])
    )
    .unwrap();
}

fn sources(out: &mut String, said: &Value) {
    out.push_str("\n## Sources\n\n");
    for source in list(&said["sources"]) {
        let (title, url) = (text(&source["title"]), text(&source["url"]));
        writeln!(out, "- [{title}]({url}), read {}", text(&source["read"])).unwrap();
    }
}

fn service_page(said: &Value) -> String {
    let mut out = format!("# {}\n\n{}.\n", text(&said["name"]), text(&said["surface"]));
    let refresh = &said["refresh"];
    let keys = &said["api_key"];
    let refreshed = match (keys.is_null(), refresh["supported"] == true) {
        (false, _) => String::new(),
        (true, false) => "no refresh tokens".to_owned(),
        (true, true) => match text(&refresh["rotation"]).as_str() {
            "rotates" => "a new refresh token each time".to_owned(),
            "keeps" => "the refresh token stays".to_owned(),
            _ => "the refresh token may change".to_owned(),
        },
    };
    let ends = said["ends"].as_object().into_iter().flatten();
    let ends: Vec<String> = ends.map(|(url, day)| format!("{url}: {}", text(day))).collect();
    let scopes = match said["full_access"] == true {
        true => "none: a token is full access to the account".to_owned(),
        false => String::new(),
    };
    facts(
        &mut out,
        &[
            ("id", format!("`{}`", text(&said["id"]))),
            ("flows", text(&said["flows"])),
            ("clients", if keys.is_null() { text(&said["client_kinds"]) } else { String::new() }),
            ("PKCE", if keys.is_null() { text(&said["pkce"]) } else { String::new() }),
            ("scopes", scopes),
            ("API keys", text(&keys["help"])),
            ("refresh", refreshed),
            (
                "a used refresh token is forgiven for",
                days(&refresh["reuse_grace_s"]).unwrap_or_default(),
            ),
            ("a refresh token lives for", days(&refresh["lifetime_s"]).unwrap_or_default()),
            ("unused it dies after", days(&refresh["idle_s"]).unwrap_or_default()),
            ("revocation", text(&said["revocation"])),
            ("API calls to", text(&said["api_base_url"])),
            ("client secrets", text(&said["secrets"]["note"])),
            ("ends", ends.join("; ")),
            ("not verified", text(&said["unverified"])),
        ],
    );
    registration(&mut out, said);
    let named = |value: &Value, name: &str, more: &str| -> Vec<[String; 2]> {
        list(value).iter().map(|row| [text(&row[name]), text(&row[more])]).collect()
    };
    table(&mut out, "Inputs", ["input", "what it is"], named(&said["inputs"], "name", "help"));
    table(
        &mut out,
        "Settings",
        ["setting", "what it is"],
        named(&said["settings"], "name", "help"),
    );
    table(
        &mut out,
        "Scopes",
        ["scope", "what it allows"],
        named(&said["scopes"], "name", "meaning"),
    );
    let can = said["capabilities"].as_object().into_iter().flatten();
    let can = can.map(|(name, scopes)| [name.clone(), text(scopes)]).collect();
    table(&mut out, "Least scopes", ["`--can`", "asks for"], can);
    sources(&mut out, said);
    out
}

#[test]
fn each_service_has_its_page() {
    let home = Home::new();
    let listed = home.run(&["services", "--json"]).ok().json();
    let services = listed["services"].as_array().unwrap().clone();
    let mut index =
        "# Services\n\nThese pages are generated from the service files; a test compares \
                     the two.\n\n| service | flows | refresh | revocation |\n|---|---|---|---|\n"
            .to_owned();
    for service in &services {
        let id = text(&service["id"]);
        let said = home.run(&["services", "show", &id, "--json"]).ok().json();
        page(&format!("services/{id}.md"), &service_page(&said));
        let refresh = match said["refresh"]["supported"] == true && said["api_key"].is_null() {
            true => text(&said["refresh"]["rotation"]),
            false => "–".to_owned(),
        };
        let revoked = if text(&said["revocation"]).starts_with("this service can't") {
            "by hand"
        } else {
            "by a call"
        };
        let name = text(&said["name"]);
        writeln!(index, "| [{name}]({id}.md) | {} | {refresh} | {revoked} |", text(&said["flows"]))
            .unwrap();
    }
    assert!(services.len() >= 18);
    page("services/index.md", &index);
}

/// Codes that the sources of what users run name, but for the simulated services' own.
fn codes_in_sources() -> std::collections::BTreeSet<String> {
    let mut codes = std::collections::BTreeSet::new();
    for folder in ["broker", "cli", "indicia"] {
        for file in crate::stage::files(&root().join("crates").join(folder).join("src")) {
            let text = fs::read_to_string(file).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for begin in [
                "code: \"",
                "::usage( \"",
                "::usage(\"",
                "::failed( \"",
                "::failed(\"",
                "::home( \"",
                "::home(\"",
            ] {
                for rest in flat.split(begin).skip(1) {
                    let code = rest.split('"').next().unwrap();
                    if code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
                        codes.insert(code.to_owned());
                    }
                }
            }
        }
    }
    codes
}

#[test]
fn each_error_is_in_the_reference() {
    let page = fs::read_to_string(root().join("docs/reference/errors.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let listed: Vec<&str> = rows.collect();
    let codes = codes_in_sources();
    assert!(codes.len() > 70, "{codes:?}");
    let missing: Vec<&String> = codes.iter().filter(|c| !listed.contains(&c.as_str())).collect();
    assert!(missing.is_empty(), "docs/reference/errors.md lacks {missing:?}");
    let mut once = listed.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), listed.len(), "one row each");
    let all: String = ["broker", "cli", "indicia"]
        .iter()
        .flat_map(|folder| crate::stage::files(&root().join("crates").join(folder).join("src")))
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let unknown: Vec<&&str> =
        listed.iter().filter(|code| !all.contains(&format!("\"{code}\""))).collect();
    assert!(unknown.is_empty(), "nobody says {unknown:?}");
}
