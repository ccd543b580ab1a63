//! What needs no store and no service: help, usage, options, the catalogue.

use crate::stage::{Home, INDICIA};

#[test]
fn help_has_a_summary_and_an_example_for_every_command() {
    let home = Home::new();
    let top = home.run(&["--help"]).ok();
    let commands: Vec<&str> = top
        .stdout
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().next().unwrap())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.contains(&"demo") && commands.len() == 25, "{commands:?}");
    assert!(top.stdout.contains("INDICIA_CALLBACK_PORT"), "{top:?}");
    for command in commands {
        for how in [[command, "--help"], ["help", command]] {
            let help = home.run(&how).ok();
            assert!(help.stdout.contains("Example:\n  indicia "), "{help:?}");
            for place in ["{browser}", "{own}", "{capability}"] {
                assert!(!help.stdout.contains(place), "{help:?}");
            }
        }
    }
    assert!(!home.path().exists(), "help makes no home");
}

#[test]
fn usage_errors_exit_with_2_as_text_and_as_json() {
    let check = |args: &[&str], says: &str| {
        let home = Home::new();
        home.run(args).fails(2, says);
        let error = home.run(&[args, &["--json"]].concat()).fails(2, "").error();
        assert_eq!(error["code"], "usage", "{error}");
        assert!(error["detail"].as_str().unwrap().contains(says), "{error}");
    };
    check(&["tokn"], "unrecognized subcommand");
    check(&["token"], "<ID>");
    check(&["token", "x", "--min-valid", "soon"], "60s");
    check(&["connect", "x", "--label", "=v"], "K=V");
    check(&["revoke"], "required");
    check(&["revoke", "a", "--client", "b"], "cannot be used with");
    check(&["forget", "x"], "--revoke");
    check(&["forget", "x", "--revoke", "--keep-grant"], "cannot be used with");
    check(&["exec", "x"], "<CMD>");
}

#[test]
fn a_home_that_is_not_there_yet_reads_as_empty_and_is_not_made() {
    let home = Home::new();
    let list = home.run(&["connections", "--json"]).ok().json();
    assert_eq!(list, serde_json::json!({ "connections": [], "next": null }));
    let list = home.run(&["clients", "--json"]).ok().json();
    assert_eq!(list, serde_json::json!({ "clients": [] }));
    home.run(&["token", "x"]).fails(3, "there is no connection \"x\"");
    home.run(&["connect", "x"]).fails(3, "there is no client \"x\"");
    home.run(&["exec", "x", "--", "true"]).fails(125, "there is no connection");
    home.run(&["recover"]).ok();
    home.run(&["doctor"]).ok();
    assert!(!home.path().exists());
}

#[test]
fn all_wrong_options_are_told_at_once_with_the_nearest_name() {
    let home = Home::new();
    std::fs::create_dir(home.path()).unwrap();
    let config = "root-kye = \"file:x\"\nmin-valid = \"7w\"\ncallback-port = 0\n";
    std::fs::write(home.path().join("config.toml"), config).unwrap();
    let ran = home.run(&["services", "--root-key", "keyring"]);
    for says in
        ["did you mean root-key?", "min-valid: ", "callback-port: ", "not there in this version"]
    {
        ran.clone().fails(2, says);
    }
    std::fs::write(home.path().join("config.toml"), "min-valid = 7").unwrap();
    home.run(&["services"]).ok();
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let home = Home::new();
    std::fs::create_dir(home.path()).unwrap();
    let uri = |port: Option<&str>| {
        let mut command = home.command(&["services", "show", "mailchimp", "--json"]);
        command.envs(port.map(|port| ("INDICIA_CALLBACK_PORT", port)));
        let output = command.output().unwrap();
        let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        shown["register"]["redirect_uri"].as_str().unwrap().to_owned()
    };
    assert_eq!(uri(None), "http://127.0.0.1:8917/oauth/callback/mailchimp");
    std::fs::write(home.path().join("config.toml"), "callback-port = 1111").unwrap();
    assert_eq!(uri(None), "http://127.0.0.1:1111/oauth/callback/mailchimp");
    assert_eq!(uri(Some("2222")), "http://127.0.0.1:2222/oauth/callback/mailchimp");
}

#[test]
fn an_unknown_service_offers_the_nearest_names() {
    let home = Home::new();
    home.run(&["services", "show", "mailchip"]).fails(3, "did you mean mailchimp?");
    let error = home.run(&["services", "klavio", "--json"]).fails(3, "").error();
    assert_eq!(error["code"], "not_found");
    assert_eq!(error["hint"], "did you mean klaviyo?");
    let add = ["clients", "add", "hubspt", "--client-id", "x", "--secret-stdin"];
    home.run_with(&add, "s").fails(3, "did you mean hubspot?");
}

#[test]
fn a_service_is_shown_in_full() {
    let home = Home::new();
    let shown = home.run(&["services", "klaviyo"]).ok().stdout;
    for part in
        ["how to register a client", "redirect URI: ", "indicia clients add klaviyo", "sources:"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains('\x1b'), "no colour where there is no terminal");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = Home::new();
    let script = format!("{INDICIA} services show klaviyo | true; echo ${{PIPESTATUS[0]}}");
    let mut bash = std::process::Command::new("bash");
    let output = bash.arg("-c").arg(script).env("INDICIA_HOME", home.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((text.trim(), output.stderr.len()), ("0", 0));
}

#[test]
fn each_command_has_a_manual_page() {
    let home = Home::new();
    let page = home.run(&["man"]).ok().stdout;
    assert!(page.starts_with(".") && page.contains("indicia\\-connect(1)"), "{page}");
    let page = home.run(&["man", "clients", "add"]).ok().stdout;
    assert!(page.contains("secret\\-stdin"), "{page}");
    home.run(&["man", "conect"]).fails(2, "did you mean connect?");
}

#[test]
fn completions_know_the_commands() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.run(&["completions", shell]).ok().stdout;
        assert!(script.contains("connections") && script.contains("no-browser"), "{shell}");
    }
}
