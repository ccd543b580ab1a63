//! docs/reference/json.md beside the documents that the commands print, and
//! docs/reference/settings.md beside the settings that the help names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::peers::root;
use crate::stage::{Home, Ran, Sandbox, on_terminal};

/// Members whose own members are names of the user's or the service's.
const MAPS: &[&str] = &[
    "body",
    "capabilities",
    "ends",
    "headers",
    "inputs",
    "labels",
    "query",
    "secrets[].key.jwk",
    "settings",
];

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

/// Sees that a section tells what these documents hold, and nothing else.
#[track_caller]
pub fn check(title: &str, documents: &[Value]) {
    let told = told(&page(), title);
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

fn page() -> String {
    fs::read_to_string(root().join("docs/reference/json.md")).unwrap()
}

/// What was compared, by section.
#[derive(Default)]
struct Seen(BTreeSet<String>);

impl Seen {
    #[track_caller]
    fn see(&mut self, title: &str, documents: &[Value]) {
        check(title, documents);
        self.0.insert(title.to_owned());
    }
}

/// A list out of a document, which stays with an empty one.
fn taken(document: &mut Value, list: &str) -> Vec<Value> {
    std::mem::take(document[list].as_array_mut().unwrap())
}

#[test]
fn each_member_of_each_document_is_in_the_reference() {
    let mut seen = Seen::default();
    let (mut rows, mut tokens) = connections(&mut seen);
    let (row, token) = own_service(&mut seen);
    rows.push(row);
    tokens.push(token);
    seen.see("A connection:", &rows);
    seen.see("A token:", &tokens);
    services(&mut seen);
    keys_and_copies(&mut seen);
    // A test of its own compares the demo's, which takes a while.
    seen.0.insert("The demo:".to_owned());
    let page = page();
    let titles = page.lines().filter_map(|line| line.strip_prefix("## "));
    let titles: BTreeSet<String> =
        titles.map(|title| title.split(": ").next().unwrap().to_owned()).collect();
    let compared = seen.0.iter().map(|title| title.trim_end_matches(':').to_owned()).collect();
    assert_eq!(
        titles, compared,
        "docs/reference/json.md: each section is compared with a document"
    );
}

/// What is done with connections; gives some, and their tokens.
fn connections(seen: &mut Seen) -> (Vec<Value>, Vec<Value>) {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    let run = |args: &[&str]| home.run(&[args, &["--json"]].concat());
    let json = |args: &[&str]| run(args).ok().json();
    let import = |args: &[&str], lines: &str| -> Ran {
        home.run_with(&[&["import", "klaviyo", "--json"], args].concat(), lines)
    };
    seen.see("A sandbox that listens:", std::slice::from_ref(&sandbox.told));
    home.add_client(&sandbox, "klaviyo", &[]);
    let connection = home.connect(&sandbox, &["klaviyo", "--can", "contacts.read"]);
    let short = "{\"access_token\":\"a\",\"expires_in\":3600}";
    let imported = import(&["--id", "short"], short).ok().json();
    let tokens = vec![json(&["token", "klaviyo"]), json(&["token", "short"])];
    seen.see("What will end:", &[json(&["forecast"])]);
    let many = "{\"id\":\"two\",\"access_token\":\"b\"}\n{}\n";
    seen.see("Many imports:", &[import(&["--jsonl"], many).json()]);
    seen.see("All that was due:", &[json(&["refresh", "--due"])]);
    let shown = on_terminal(home.command(&["setup", "klaviyo", "--json"]), "", "");
    let document = &shown[shown.find('{').unwrap()..=shown.rfind('}').unwrap()];
    let mut first: Value = serde_json::from_str(document).unwrap();
    let set_up = first["connection"].take();
    seen.see("The first token:", &[first]);
    let full = json(&["scopes", "--client", "klaviyo", "--can", "lists.read"]);
    seen.see("Scopes:", &[full, json(&["scopes", "klaviyo"])]);
    seen.see("Replaced tokens:", &[json(&["rotate", "tokens"])]);
    seen.see("A receipt:", &[json(&["revoke", "klaviyo"])]);
    let mut all = json(&["connections"]);
    let mut rows = taken(&mut all, "connections");
    rows.extend([connection, imported, set_up, json(&["connections", "show", "klaviyo"])]);
    seen.see("A page of connections:", &[all]);
    seen.see("An explanation:", &[json(&["explain", "klaviyo"]), json(&["explain", "short"])]);
    seen.see("What was left undone:", &[json(&["recover"])]);
    let mut forgotten = json(&["forget", "short", "--revoke"]);
    check("A receipt:", &[forgotten["receipt"].take()]);
    seen.see("A connection that is forgotten:", &[forgotten]);
    seen.see("Health:", &[json(&["doctor", "--offline"])]);
    seen.see("An error", &[run(&["token", "nobody"]).error()]);
    (rows, tokens)
}

/// What only a service of one's own has: keys that sign, credentials in places of their own. Gives
/// a connection and its token.
fn own_service(seen: &mut Seen) -> (Value, Value) {
    let home = Home::new();
    let folder = home.path().join("services");
    fs::create_dir_all(&folder).unwrap();
    for folder in [&home.path(), &folder] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let shipped = fs::read_to_string(root().join("services/klaviyo.toml")).unwrap();
    let api = "query = { key = \"{token}\" }\nbody = { key = \"{token}\" }\nheaders = {";
    let own = shipped.replace("headers = {", api)
        + "\n[client_keys]\nalgorithms = [\"ES256\"]\naudience = \"token-endpoint\"\n";
    fs::write(folder.join("klaviyo.toml"), own).unwrap();
    let sandbox = Sandbox::start_in(&home, &[]);
    let json = |args: &[&str]| home.run(&[args, &["--json"]].concat()).ok().json();
    let add = ["clients", "add", "klaviyo", "--client-id", "app", "--sandbox", &sandbox.address];
    let client = json(&[&add[..], &["--generate-key"]].concat());
    assert!(client["overridden"].is_string() && client["secrets"][0]["key"].is_object());
    let shown = json(&["clients", "show", "klaviyo"]);
    let set = json(&["clients", "set", "klaviyo", "token_max_age=20d"]);
    let secrets = json(&["clients", "secrets", "klaviyo", "list"]);
    let mut all = json(&["clients"]);
    let mut rows = taken(&mut all, "clients");
    rows.extend([client, shown, set, secrets]);
    seen.see("A client:", &rows);
    seen.see("All clients:", &[all]);
    let token = "{\"access_token\":\"a\",\"expires_in\":3600}";
    let import = ["import", "klaviyo", "--id", "short", "--json"];
    let connection = home.run_with(&import, token).ok().json();
    assert!(connection["overridden"].is_string(), "{connection}");
    let token = json(&["token", "short"]);
    json(&["forget", "short", "--keep-grant"]);
    seen.see("A client that is removed:", &[json(&["clients", "remove", "klaviyo"])]);
    check("A service:", &[json(&["services", "show", "klaviyo"])]);
    check("The list of services:", &[json(&["services"])]);
    (connection, token)
}

/// What is told of services.
fn services(seen: &mut Seen) {
    let home = Home::new();
    let json = |args: &[&str]| home.run(&[args, &["--json"]].concat()).json();
    let show = |id: &str| json(&["services", "show", id]);
    let shown = ["constant-contact", "hubspot", "mailjet", "zoho-campaigns"].map(show);
    seen.see("A service:", &shown);
    seen.see("The list of services:", &[json(&["services"])]);
    let file = home.beside("mine.toml");
    let shipped = fs::read_to_string(root().join("services/keap.toml")).unwrap();
    fs::write(&file, shipped.replace("pkce = ", "pcke = ")).unwrap();
    seen.see("A service file's problems:", &[json(&["services", "check", file.to_str().unwrap()])]);
    seen.see("A life that was played:", &[json(&["services", "try", "keap"])]);
}

/// Keys, backups, and a home that was copied.
fn keys_and_copies(seen: &mut Seen) {
    let (home, sandbox) = (Home::new(), Sandbox::start(&[]));
    let json = |args: &[&str]| home.run(&[args, &["--json"]].concat()).ok().json();
    home.add_client(&sandbox, "klaviyo", &[]);
    let file = home.beside("backup");
    let file = file.to_str().unwrap();
    let fed = |args: &[&str]| {
        let args = [args, &["--passphrase-stdin", "--json"]].concat();
        home.run_with(&args, "correct horse").ok().json()
    };
    seen.see("A backup:", &[fed(&["backup", file])]);
    seen.see("What was put back:", &[fed(&["restore", file, "--force"])]);
    seen.see("A home that is taken over:", &[json(&["takeover"])]);
    seen.see("A new data key:", &[json(&["rotate", "data-keys"])]);
    let key = home.beside("another.key");
    let made = json(&["root-key", "generate", key.to_str().unwrap()]);
    let keys = [made, json(&["root-key", "generate"]), json(&["root-key", "export"])];
    seen.see("A root key:", &keys);
    seen.see("A root key that fits:", &[json(&["root-key", "check"])]);
    seen.see("Another root key:", &[json(&["rotate", "root-key"])]);
}

#[test]
fn each_command_has_its_document_or_is_said_to_have_none() {
    let page = page();
    let none = page.lines().find(|line| line.contains("print no document")).unwrap();
    let titles = page.lines().filter(|line| line.starts_with("## ")).chain([none]);
    let told: BTreeSet<&str> =
        titles.flat_map(|line| line.split('`').skip(1).step_by(2)).map(bare).collect();
    let commands = fs::read_to_string(root().join("docs/reference/commands.md")).unwrap();
    let heads =
        commands.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(" `indicia "));
    let heads: Vec<&str> = heads.map(|head| head.trim_end_matches('`')).collect();
    // Two show only their help; what is done with secrets prints the client, each time.
    let is_leaf = |head: &&&str| {
        !["rotate", "root-key"].contains(*head) && !head.starts_with("clients secrets ")
    };
    let leaves = heads.iter().filter(is_leaf);
    assert_eq!(told, leaves.copied().collect(), "docs/reference/json.md beside commands.md");
}

/// A command without its options.
fn bare(command: &str) -> &str {
    command.split(" --").next().unwrap()
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
