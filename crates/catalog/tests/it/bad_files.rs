//! What is wrong in a file is said with file, line, problem and fix, all at once.

use indicia_catalog::Catalogue;
use indicia_catalog::check::check;
use indicia_catalog::read::{FILE_BYTES_MAX, read};
use proptest::prelude::*;

const GOOD: &str = r#"schema = 1
id = "vendor"
name = "Vendor"
surface = "API"
flows = ["authorization-code"]
pkce = "supported"

[portal]
url = "https://vendor.example/apps"
steps = ["Register an application."]

[redirect]
loopback_ip = true

[[sources]]
title = "OAuth"
url = "https://vendor.example/docs"
read = "2026-11-24"

[facts]
flows = "verified"
pkce = "verified"
"token.auth" = "verified"
expiry = "verified"
"refresh.rotation" = "verified"
revocation = "verified"
scopes = "verified"
grant = "verified"
redirect = "verified"
secrets = "verified"

[[inputs]]
name = "shop"
level = "connection"
pattern = '[a-z]{3,9}'
example = "acme"
help = "The shop's name."

[authorize]
url = "https://{shop}.vendor.example/authorize"

[token]
url = "https://{shop}.vendor.example/token"

[revocation]
by_hand = "The owner removes the app."

[scopes]
always = ["me"]
known = { me = "who", contacts = "contacts" }
capabilities = { "contacts.read" = ["contacts"] }

[refresh]
rotation = "keeps"

[[errors]]
verdict = "grant_refused"
fields = { error = "gone" }
meaning = "it is gone"
example = { status = 400, body = '{"error":"gone"}' }

[api]
base = "https://api.vendor.example"
"#;

/// Replaces one line's text and compares all messages.
fn check_line(old: &str, new: &str, expected: &[&str]) {
    assert!(GOOD.contains(old), "{old}");
    let text = GOOD.replacen(old, new, 1);
    let found: Vec<String> = check("v.toml", &text).iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_good_file_is_good() {
    check_line("Vendor", "Vendor", &[]);
}

#[test]
fn unknown_keys_are_told_with_the_nearest_all_at_once() {
    check_line(
        "surface = \"API\"\nflows",
        "surfcae = \"API\"\nflow",
        &[
            "v.toml:1: `surface` is missing; add it: text",
            "v.toml:1: `flows` is missing; add it: list of: `authorization-code`, \
             `client-credentials`, `implicit`, `device`, `import`, `api-key`",
            "v.toml:4: unknown key `surfcae`; did you mean `surface`?",
            "v.toml:5: unknown key `flow`; did you mean `flows`?",
        ],
    );
    check_line(
        "by_hand =",
        "zzz =",
        &[
            "v.toml:46: unknown key `revocation.zzz`; known here: by_hand, url, method, codec, auth, \
           public_auth, headers, params, token_param, tokens, hint, kills",
        ],
    );
}

#[test]
fn wrong_kinds_of_values_are_told() {
    check_line(
        "pkce = \"supported\"",
        "pkce = \"suported\"",
        &["v.toml:6: `pkce` can't be \"suported\"; did you mean \"supported\"?"],
    );
    check_line(
        "loopback_ip = true",
        "loopback_ip = \"yes\"",
        &[
            "v.toml:13: `redirect.loopback_ip` has the wrong kind of value; write: `true` or `false`",
        ],
    );
    check_line(
        "rotation = \"keeps\"",
        "rotation = \"keeps\"\nidle = \"a while\"\nlifetime = 45",
        &[
            "v.toml:55: `refresh.idle` has the wrong kind of value; write a whole number and a \
             unit, such as 30s, 5m, 24h or 45d",
            "v.toml:56: `refresh.lifetime` has the wrong kind of value; write a whole number and a \
             unit, such as 30s, 5m, 24h or 45d",
        ],
    );
    check_line(
        "verdict = \"grant_refused\"",
        "verdict = \"granted\"",
        &[
            "v.toml:57: `errors.verdict` can't be \"granted\"; write one of: throttled, unavailable, \
           ambiguous, grant_refused, client_refused, misconfigured, nonsense",
        ],
    );
}

#[test]
fn what_isnt_toml_is_told() {
    check_line(
        "name = \"Vendor\"",
        "name = Vendor",
        &[
            "v.toml:3: this is not TOML: string values must be quoted, expected literal string; see \
           https://toml.io for how to write it",
        ],
    );
}

#[test]
fn ids_are_safe_to_type() {
    check_line(
        "id = \"vendor\"",
        "id = \"Ven dor\"",
        &[
            "v.toml:2: id \"Ven dor\" can't be typed safely; use 1 to 64 lower-case letters, digits \
           and `-`",
        ],
    );
    check_line(
        "id = \"vendor\"",
        "id = \"show\"",
        &["v.toml:2: id \"show\" is a word of the command line; choose another than list, show, \
           check, try"],
    );
    check_line(
        "schema = 1",
        "schema = 2",
        &["v.toml:1: schema 2 is not known; write schema = 1; a newer file needs a newer Indicia"],
    );
}

#[test]
fn templates_name_declared_inputs_and_https() {
    check_line(
        "https://{shop}.vendor.example/token",
        "https://{shp}.vendor.example/token",
        &["v.toml:43: there is no input \"shp\"; did you mean {shop}?"],
    );
    check_line(
        "https://{shop}.vendor.example/token",
        "http://vendor.example/token",
        &["v.toml:43: \"http://vendor.example/token\" is not an https address; write https://; \
           http:// is for 127.0.0.1 in a file with loopback_http = true"],
    );
    check_line(
        "https://{shop}.vendor.example/token",
        "https://{shop.host}/token",
        &["v.toml:43: not every row of \"shop\" has \"host\"; add it to each row of the input's \
           table"],
    );
    check_line(
        "surface = \"API\"",
        "surface = \"API\"\nloopback_http = true\nends = { \"http://x\" = \"2026-02-30\" }",
        &["v.toml:6: \"2026-02-30\" is not a day; write a day as YYYY-MM-DD"],
    );
}

#[test]
fn a_stranger_cant_choose_a_host() {
    let rule = "let it be followed by a domain written out (`.example.com`), take it from a table, \
                or have it typed in for the client";
    let told = format!("v.toml:43: input \"shop\" could send this to any host; {rule}");
    for host in [
        "{shop}",
        "login.{shop}",
        "{shop}.com",
        "{shop}.com.",
        "{shop}vendor.example",
        "{shop}:443",
    ] {
        check_line(
            "https://{shop}.vendor.example/token",
            &format!("https://{host}/token"),
            &[&told],
        );
    }
}

#[test]
fn a_base_from_an_answer_names_its_domain() {
    let told = |api: &str| {
        let text = GOOD.replace("base = \"https://api.vendor.example\"\n", api);
        let errors = read("v.toml", &text).err().unwrap_or_default();
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let whole = |domain: &str, pattern: &str| {
        format!("base_member = \"url\"\nbase_domain = \"{domain}\"\nbase_pattern = '{pattern}'\n")
    };
    for domain in ["vendor.example", "a-1.api.vendor.example", "1.example"] {
        assert_eq!(told(&whole(domain, ".*")), [""; 0], "{domain}");
    }
    for domain in [
        "",
        "example",
        ".vendor.example",
        "vendor.example.",
        "vendor..example",
        "Vendor.example",
        "*.vendor.example",
        "{shop}.vendor.example",
        "vendor.example/",
        "vendor.example:443",
        "10.0.0.1",
    ] {
        let problem = format!("v.toml:64: {domain:?} is not a domain of two labels or more; ");
        let told = told(&whole(domain, ".*"));
        assert!(told.len() == 1 && told[0].starts_with(&problem), "{told:?}");
    }
    let broken = told(&whole("vendor.example", "a)|(b"));
    let problem = "v.toml:65: the pattern is not a regular expression; ";
    assert!(broken.len() == 1 && broken[0].starts_with(problem), "{broken:?}");
    let all = whole("vendor.example", ".*");
    let lines: Vec<&str> = all.lines().collect();
    for left_out in 0..lines.len() {
        let mut part = lines.clone();
        part.remove(left_out);
        let told = told(&format!("{}\n", part.join("\n")));
        let problem = "v.toml:62: a part of a base URL from an answer is missing; ";
        assert!(told.len() == 1 && told[0].starts_with(problem), "{told:?}");
    }
}

/// What is told of a token URL at this host, with further inputs: `host`, which the client's owner
/// types or which has this default; the owner's `tld`; and `dc`, of a table.
fn told_of_host(host: &str, default: &str) -> Vec<String> {
    let typed = "level = \"client\"\npattern = '[a-z.]+'\nhelp = \"-\"\n";
    let inputs = format!(
        "[[inputs]]\nname = \"host\"\nexample = \"login.example.com\"\ndefault = \"{default}\"\n\
         {typed}\n[[inputs]]\nname = \"between\"\nexample = \"a.example.com\"\n\
         default = \"{{shop}}\"\n{typed}\n[[inputs]]\nname = \"tld\"\nexample = \"com\"\n{typed}\n\
         [[inputs]]\nname = \"dc\"\nlevel = \"connection\"\nfrom = \"callback\"\nmember = \"dc\"\n\
         example = \"us\"\nhelp = \"-\"\ntable = {{ us = {{ tld = \"com\", domain = \"example.com\" }} }}\n\n\
         [authorize]\n"
    );
    let text = GOOD
        .replace("[authorize]\n", &inputs)
        .replace("https://{shop}.vendor.example/token", &format!("https://{host}/token"));
    let errors = read("v.toml", &text).err().unwrap_or_default();
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn no_default_lets_a_stranger_choose_a_host() {
    let check = |host: &str, default: &str, stranger: bool| {
        let told = told_of_host(host, default);
        let says = |told: &String| told.contains(": input \"shop\" could send this to any host;");
        assert_eq!(told.len(), usize::from(stranger), "{host}, {default}: {told:?}");
        assert!(told.iter().all(says), "{host}, {default}: {told:?}");
    };
    check("{host}", "{shop}", true);
    check("{host}", "{shop}.com", true);
    check("login.{host}", "{between}", true);
    check("{host}", "{tld}.{between}", true);
    check("{host}", "login.example.com", false);
    check("{host}", "login.{tld}", false);
    check("{host}", "{dc.domain}", false);
    check("{host}.vendor.example", "{shop}", false);
    // What stands before the end must not make another domain of it.
    check("{shop}{host}", "login.example.com", true);
    check("{shop}.{host}", "login.example.com", false);
    check("{shop}.{tld}", "login.example.com", true);
    check("{shop}.example.{tld}", "login.example.com", false);
    check("{shop}.{dc.tld}", "login.example.com", true);
    check("{shop}.{dc.domain}", "login.example.com", false);
    check("{shop}.{dc}", "login.example.com", true);
}

#[test]
fn inputs_have_strict_patterns() {
    check_line(
        "pattern = '[a-z]{3,9}'\n",
        "",
        &[
            "v.toml:32: input \"shop\" would take any text; add a `pattern` or a `table`",
            "v.toml:35: example \"acme\" is refused by its own rule; correct the example, or the rule",
        ],
    );
    check_line(
        "example = \"acme\"",
        "example = \"Acme\"",
        &[
            "v.toml:36: example \"Acme\" is refused by its own rule; correct the example, or the rule",
        ],
    );
    let text = GOOD.replace("[a-z]{3,9}", "a)|(b");
    let errors = read("v.toml", &text).err().unwrap_or_default();
    assert!(errors[0].to_string().starts_with("v.toml:35: pattern \"a)|(b\" is not a regular"));
}

#[test]
fn the_protocols_parameters_are_the_protocols() {
    check_line(
        "[authorize]\n",
        "[authorize]\nparams = { state = \"1\", scope = \"x\" }\n",
        &[
            "v.toml:40: parameter \"scope\" is the protocol's own; take it out: it's sent where it \
             belongs",
            "v.toml:40: parameter \"state\" is the protocol's own; take it out: it's sent where it \
             belongs",
        ],
    );
}

#[test]
fn an_example_proves_its_row() {
    check_line(
        r#"body = '{"error":"gone"}'"#,
        r#"body = '{"error":"went"}'"#,
        &[
            "v.toml:60: the example isn't matched by its own row; correct the row or the example, or \
           put the narrower row first",
        ],
    );
    check_line(
        r#"body = '{"error":"gone"}'"#,
        r#"body = '{"access_token":"x","token_type":"Bearer"}'"#,
        &[
            "v.toml:60: the example isn't matched by its own row; correct the row or the example, or \
           put the narrower row first",
        ],
    );
    check_line(
        "[api]\n",
        "[[errors]]\nverdict = \"throttled\"\nfields = { error = \"gone\" }\nmeaning = \"-\"\n\
         example = { status = 400, body = '{\"error\":\"gone\"}' }\n\n[api]\n",
        &["v.toml:66: the example is taken by row 1 before this one; correct the row or the \
           example, or put the narrower row first"],
    );
}

// AR-10
#[test]
fn ar_10_there_is_no_password_grant() {
    check_line(
        "flows = [\"authorization-code\"]",
        "flows = [\"authorization-code\", \"password\"]",
        &["v.toml:5: `flows` can't be \"password\"; write one of: authorization-code, \
           client-credentials, implicit, device, import, api-key"],
    );
    check_line(
        "[token]\n",
        "[token]\nparams = { grant_type = \"password\" }\n",
        &[
            "v.toml:43: parameter \"grant_type\" is the protocol's own; take it out: it's sent where \
           it belongs",
        ],
    );
}

#[test]
fn what_the_simulated_service_says_can_be_filled_in() {
    check_line(
        "[api]\n",
        "[sandbox.answer_extra]\nhub = [\"{account_id#}\", { a = \"{who}\" }]\n\n[api]\n",
        &["v.toml:63: nobody fills in \"who\"; write {account_id}, {account_name}, {null} or an \
           input's name"],
    );
}

#[test]
fn pkce_isnt_left_out_on_a_guess() {
    let text = GOOD.replace("pkce = \"supported\"", "pkce = \"forbidden\"");
    assert!(check("v.toml", &text).is_empty());
    let text = text.replace("pkce = \"verified\"", "pkce = \"unverified\"");
    let found: Vec<String> = check("v.toml", &text).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        ["v.toml:6: PKCE is left out on a guess; verify it, or write \"unknown\": then it is sent"]
    );
}

#[test]
fn names_of_settings_are_free() {
    for name in ["scopes", "endpoint.token", ""] {
        let setting =
            format!("[[settings]]\nname = \"{name}\"\nvalues = [\"a\"]\nhelp = \"-\"\n\n");
        let told = format!(
            "v.toml:40: setting {name:?} can't be named so; use lower-case letters, digits, `-` and \
             `_`; scopes is taken"
        );
        check_line("[authorize]\n", &format!("{setting}[authorize]\n"), &[&told]);
    }
}

#[test]
fn rows_match_by_something() {
    check_line(
        "fields = { error = \"gone\" }",
        "fields = { error = { present = false } }",
        &["v.toml:56: a row can't match by what isn't there; put the rows of answers that have \
           the field first"],
    );
    check_line(
        "fields = { error = \"gone\" }\n",
        "",
        &["v.toml:56: this row matches every answer; add `status` or `fields`"],
    );
    check_line(
        "fields = { error = \"gone\" }",
        "fields = { error = 7 }",
        &[
            "v.toml:58: a field must say a text, a list of texts, { contains = \"…\" } or { present = \
           true }; see docs/reference/catalogue.md for what may stand here",
        ],
    );
}

#[test]
fn authors_are_told_what_is_missing() {
    check_line(
        "pkce = \"verified\"\n",
        "pkcd = \"verified\"\n",
        &[
            "v.toml:20: nothing says how sure \"pkce\" is; add \"pkce\" = \"verified\" or \
             \"unverified\"",
            "v.toml:22: \"pkcd\" decides nothing; did you mean \"pkce\"?",
        ],
    );
    check_line(
        "\"refresh.rotation\" = \"verified\"",
        "\"refresh.rotation\" = \"unverified\"",
        &[
            "v.toml:1: nobody knows the rotation, and one way is played; add rotation_variants = \
             [\"keeps\", \"rotates\"] under [sandbox]",
            "v.toml:54: an unverified \"keeps\" counts as \"may\"; write \"may\", or verify it: a \
             wrong \"keeps\" loses grants",
        ],
    );
    check_line(
        "always = [\"me\"]",
        "always = [\"mee\"]",
        &["v.toml:49: scope \"mee\" isn't known; did you mean \"me\"?"],
    );
    check_line(
        "\"contacts.read\" =",
        "\"contact.read\" =",
        &["v.toml:51: there is no capability \"contact.read\"; did you mean \"contacts.read\"?"],
    );
    check_line(
        "base = \"https://api.vendor.example\"",
        "base = \"https://api.vendor.example\"\nprobe = { url = \"/me\", account_id = \"id\" }",
        &["v.toml:64: nothing says what \"/me\" answers; add [sandbox.api_answers.\"/me\"]"],
    );
    check_line(
        "read = \"2026-11-24\"",
        "read = \"24.11.2026\"",
        &["v.toml:18: \"24.11.2026\" is not a day; write a day as YYYY-MM-DD"],
    );
}

#[test]
fn what_cant_be_sent_isnt_read() {
    check_line(
        "[token]\n",
        "[token]\nauth = \"private-key-jwt\"\n",
        &["v.toml:43: nothing says how such an assertion is signed; add [client_keys] with \
             `algorithms`"],
    );
    check_line(
        "[token]\n",
        "[client_keys]\nalgorithms = []\n\n[token]\npublic_auth = \"private-key-jwt\"\n",
        &[
            "v.toml:42: an assertion is for the issuer, and there is none; write `issuer`, or \
             audience = \"token-endpoint\"",
            "v.toml:43: there is no algorithm; write algorithms = [\"ES256\"], or as the server \
             wants it",
            "v.toml:46: a public client has no key; use none or omit",
        ],
    );
    check_line(
        "by_hand = \"The owner removes the app.\"\n",
        "",
        &[
            "v.toml:45: nothing says how a grant is taken back; add `url`, or say in `by_hand` what \
           the account's owner does",
        ],
    );
    check_line(
        "rotation = \"keeps\"\n",
        "",
        &[
            "v.toml:53: nothing says whether a refresh token rotates; add [refresh] with `rotation` \
           (\"may\" where nobody knows), or `none = true`",
        ],
    );
    let errors = read("v.toml", &"#".repeat(FILE_BYTES_MAX + 1)).err().unwrap();
    assert!(errors[0].to_string().starts_with("v.toml:1: the file is larger than 256 KiB"));
}

/// Words of service files, to be put together wrongly.
fn scraps() -> impl Strategy<Value = String> {
    let lines: Vec<&str> = GOOD.lines().collect();
    prop::collection::vec(prop::sample::select(lines), 0..40).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn reading_never_panics(text in prop_oneof![".{0,200}", scraps()]) {
        if let Err(errors) = read("v.toml", &text) {
            prop_assert!(!errors.is_empty());
            let lines = text.lines().count().max(1) + 1;
            prop_assert!(errors.iter().all(|e| (1..=lines).contains(&e.line)));
        }
    }

    #[test]
    fn a_shipped_file_with_a_bite_taken_out_never_panics(which in 0..8usize, at in 0..4000usize, length in 1..80usize) {
        let id = Catalogue::shipped().ids()[which].clone();
        let text: Vec<char> = Catalogue::shipped_text(&id).unwrap().chars().collect();
        let at = at.min(text.len());
        let end = (at + length).min(text.len());
        let bitten: String = text[..at].iter().chain(&text[end..]).collect();
        let _ = check("v.toml", &bitten);
    }
}

#[test]
fn a_key_has_its_form_and_a_place_to_go() {
    let keyed =
        "[api_key]\nparts = []\npattern = '[0-9'\nexample = \"7\"\nhelp = \"h\"\n\n[token]\n";
    check_line(
        "[token]\n",
        keyed,
        &[
            "v.toml:5: an API key needs its flow and its form; write both the flow \"api-key\" and \
             [api_key]",
            "v.toml:43: nothing is asked for; name what its owner is asked for, such as [\"API key\"]",
            "v.toml:44: pattern \"[0-9\" is not a regular expression; found unclosed \
             character class",
        ],
    );
    check_line(
        "[api]\n",
        "[api.jwt]\naudience = \"a\"\nlife = \"1h\"\n\n[api.headers]\nX = \"{token.other}\"\n\n[api]\n",
        &[
            "v.toml:64: it is signed anew each time; write 1m to 5m",
            "v.toml:67: there is no input \"token\"; declare it under [[inputs]]",
            "v.toml:69: a JWT needs its place and its claims; write both {token.jwt} where it goes \
             and [api.jwt]",
        ],
    );
}

// proves: signing-key-stays
#[test]
fn a_key_that_signs_travels_in_no_other_form() {
    for bare in ["{token}", "Basic {token.basic}"] {
        let headers = format!("headers = {{ X = \"{bare}\", Y = \"{{token.jwt}}\" }}");
        let text = format!("[api]\njwt = {{ audience = \"a\" }}\n{headers}\n");
        let told = check("v.toml", &GOOD.replacen("[api]\n", &text, 1));
        let told = told.iter().map(ToString::to_string).collect::<String>();
        assert!(told.contains("would travel itself, too"), "{bare}: {told}");
    }
}
