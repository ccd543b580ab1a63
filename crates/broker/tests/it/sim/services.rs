//! The services that are played: shipped files, and one text of which two variants are made.

use std::path::Path;
use std::sync::Arc;

use indicia_catalog::Catalogue;

/// How a played service treats refresh tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Keeps its refresh token, verified.
    Keeps,
    /// Rotates; reuse ends the grant at once.
    Strict,
    /// Rotates; forgives reuse for [`GRACE_MS`].
    Grace,
    /// Nobody knows: played either way, by seed.
    May,
}

pub const KINDS: [Kind; 4] = [Kind::Keeps, Kind::Strict, Kind::Grace, Kind::May];

/// How long [`Kind::Grace`] forgives.
pub const GRACE_MS: u64 = 20_000;

/// The setting of the shipped service that keeps: its application is registered so.
pub const KEEPS_SETTING: (&str, &str) = ("rotation", "long-lived");

impl Kind {
    pub const fn service(self) -> &'static str {
        match self {
            Self::Keeps => "constant-contact",
            Self::Strict => "sim-strict",
            Self::Grace => "sim-grace",
            Self::May => "klaviyo",
        }
    }
}

/// Shipped ones and the two of this file.
pub fn catalogue() -> Arc<Catalogue> {
    let strict = text("sim-strict", "");
    let grace = text("sim-grace", "reuse_grace = \"20s\"");
    let files = [(Path::new("sim-strict.toml"), &*strict), (Path::new("sim-grace.toml"), &*grace)];
    match Catalogue::with_own(files) {
        Ok(catalogue) => Arc::new(catalogue),
        Err(errors) => {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            panic!("{}", lines.join("\n"))
        }
    }
}

fn text(id: &str, grace: &str) -> String {
    TEXT.replace("ID", id).replace("GRACE", grace)
}

const TEXT: &str = r#"
schema = 1
id = "ID"
name = "ID"
surface = "REST API"
flows = ["authorization-code"]
pkce = "supported"

[portal]
url = "https://ID.example.com/apps"
steps = ["Register an application."]

[redirect]
loopback_name = true

[[sources]]
title = "Reference"
url = "https://ID.example.com/docs"
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

[authorize]
url = "https://ID.example.com/authorize"

[token]
url = "https://ID.example.com/token"
auth = "basic"

[revocation]
url = "https://ID.example.com/revoke"
tokens = ["refresh_token"]
hint = true
kills = "grant"

[scopes]
full_access = true

[refresh]
rotation = "rotates"
GRACE

[api]
base = "https://api.ID.example.com"

[api.probe]
url = "/me"
account_id = "id"
account_name = "name"

[secrets]
live_max = 2
note = "Two may live at once."

[sandbox]
access_life = "1h"
code_life = "5m"
reuse_kills = true

[sandbox.api_answers."/me"]
id = "{account_id}"
name = "{account_name}"
"#;
