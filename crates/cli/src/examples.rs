//! The examples at the end of each help text. Services are data, so their names come from the
//! catalogue when help is asked for, and from nowhere else.

use clap::{Command, CommandFactory as _};
use indicia_catalog::{Catalogue, Flow};

use crate::args::Args;
use crate::options::{KEYS, Key};

/// What examples are filled in with.
struct Names {
    /// A service that people connect to in a browser.
    browser: String,
    /// A capability that its catalogue entry maps to scopes.
    capability: String,
    /// A service whose token belongs to the application's own account.
    own: String,
}

impl Names {
    fn of(catalogue: &Catalogue) -> Self {
        let services: Vec<_> =
            catalogue.ids().iter().filter_map(|id| catalogue.service(id)).collect();
        let with = |flow: Flow| services.iter().find(move |s| s.flows.first() == Some(&flow));
        let scoped = services.iter().find(|s| {
            s.flows.first() == Some(&Flow::AuthorizationCode) && !s.scopes.capabilities.is_empty()
        });
        let browser = scoped.or_else(|| with(Flow::AuthorizationCode));
        let capability = browser.and_then(|s| s.scopes.capabilities.keys().next());
        let capability = capability.and_then(|c| serde_json::to_value(c).ok());
        let name = |id: Option<&String>| id.map_or_else(|| "SERVICE".to_owned(), String::clone);
        Self {
            browser: name(browser.map(|s| &s.id)),
            capability: capability
                .and_then(|c| c.as_str().map(str::to_owned))
                .unwrap_or_else(|| "contacts.read".to_owned()),
            own: name(with(Flow::ClientCredentials).map(|s| &s.id)),
        }
    }
}

/// The command line with examples in its help.
pub fn command() -> Command {
    let names = Names::of(&Catalogue::shipped());
    let filled = |line: &&str| {
        let line = line.replace("{browser}", &names.browser).replace("{own}", &names.own);
        format!("\n  {}", line.replace("{capability}", &names.capability))
    };
    let mut command = Args::command();
    for (path, lines) in EXAMPLES {
        let text = lines.iter().map(filled).collect::<String>();
        command = with_example(command, path, &format!("Example:{text}"));
    }
    command
}

/// Keys of the configuration file, for the long help.
fn settings() -> String {
    let mut text = "Settings, in config.toml in the home, or by environment variable:".to_owned();
    for key in KEYS {
        let Key { name, variable, default, help } = key;
        text += &format!("\n  {name} = …  ({variable})\n      {help} [default: {default}]");
    }
    text
}

fn with_example(command: Command, path: &[&str], text: &str) -> Command {
    match path {
        [] => {
            command.after_help(text.to_owned()).after_long_help(format!("{text}\n\n{}", settings()))
        }
        [name, rest @ ..] => command.mut_subcommand(*name, |sub| with_example(sub, rest, text)),
    }
}

/// For each command by its path: lines to type.
const EXAMPLES: &[(&[&str], &[&str])] = &[
    (&[], &["indicia demo", "indicia services show {browser}"]),
    (&["demo"], &["indicia demo"]),
    (&["services"], &["indicia services", "indicia services {browser}"]),
    (&["services", "list"], &["indicia services list --json"]),
    (&["services", "show"], &["indicia services show {browser}"]),
    (&["services", "check"], &["indicia services check mine.toml"]),
    (&["services", "try"], &["indicia services try mine.toml", "indicia services try {browser}"]),
    (&["clients"], &["indicia clients list"]),
    (
        &["clients", "add"],
        &[
            "indicia clients add {browser} --client-id X",
            "indicia clients add {own} --id shop --client-id X --secret-stdin < secret.txt",
        ],
    ),
    (&["clients", "list"], &["indicia clients list"]),
    (&["clients", "show"], &["indicia clients show {browser}"]),
    (&["clients", "remove"], &["indicia clients remove {browser}"]),
    (
        &["clients", "secrets"],
        &["indicia clients secrets {browser} add", "indicia clients secrets {browser} promote 2"],
    ),
    (&["clients", "rotate"], &["indicia clients rotate {browser}"]),
    (&["connect"], &["indicia connect {browser} --can {capability}", "indicia connect {own}"]),
    (
        &["import"],
        &[
            "indicia import {browser} --id acme < token-set.json",
            "indicia import {browser} --jsonl < token-sets.jsonl",
        ],
    ),
    (&["connections"], &["indicia connections --state attention"]),
    (&["connections", "list"], &["indicia connections list --service {browser}"]),
    (&["connections", "show"], &["indicia connections show {browser}"]),
    (&["token"], &["indicia token {browser} --min-valid 5m"]),
    (
        &["exec"],
        &["indicia exec {browser} -- sh -c 'curl -H \"Authorization: Bearer $INDICIA_TOKEN\" \
           $INDICIA_API_BASE_URL'"],
    ),
    (&["refresh"], &["indicia refresh {browser}", "indicia refresh --due"]),
    (&["explain"], &["indicia explain {browser}"]),
    (&["revoke"], &["indicia revoke {browser}", "indicia revoke --leaked < found.txt"]),
    (&["forget"], &["indicia forget {browser} --revoke"]),
    (
        &["scopes"],
        &["indicia scopes {browser} --can {capability}", "indicia scopes --client {browser}"],
    ),
    (&["recover"], &["indicia recover"]),
    (&["forecast"], &["indicia forecast", "indicia forecast --days 400 --ical > indicia.ics"]),
    (
        &["rotate"],
        &[
            "indicia rotate tokens --client {browser}",
            "indicia rotate data-keys",
            "indicia rotate root-key --to file:/media/key/root.key",
        ],
    ),
    (&["rotate", "tokens"], &["indicia rotate tokens --label team=news"]),
    (&["rotate", "data-keys"], &["indicia rotate data-keys"]),
    (
        &["rotate", "root-key"],
        &["indicia rotate root-key", "indicia rotate root-key --to fd:3 3< key"],
    ),
    (&["root-key"], &["indicia root-key check"]),
    (&["root-key", "generate"], &["indicia root-key generate /media/key/root.key"]),
    (&["root-key", "export"], &["indicia root-key export > /media/key/root.key"]),
    (&["root-key", "check"], &["indicia root-key check --root-key file:/media/key/root.key"]),
    (&["takeover"], &["indicia takeover"]),
    (&["setup"], &["indicia setup {browser}"]),
    (&["clients", "set"], &["indicia clients set {browser} token_max_age=30d secret_max_age=90d"]),
    (&["backup"], &["indicia backup /media/disk/indicia.backup --passphrase-file phrase.txt"]),
    (&["restore"], &["indicia restore /media/disk/indicia.backup"]),
    (
        &["sandbox"],
        &[
            "indicia sandbox --life 30s --fault reset-after:1@refresh",
            "curl -H content-type:application/json -d '{\"add\":[\"error-before=503@refresh\"]}' \
             http://127.0.0.1:8918/_sandbox/faults",
        ],
    ),
    (&["doctor"], &["indicia doctor"]),
    (&["man"], &["indicia man connect | man -l -"]),
    (&["completions"], &["indicia completions bash > indicia.bash"]),
];
