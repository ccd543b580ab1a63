//! How the values of a service file are spelt: the words that it chooses from.
//!
//! Surprise: a word list is written out beside its enum, since serde doesn't tell what it would
//! take; a test holds the two together.

use indicia_oauth::Verdict;
use indicia_oauth::client_assertion::Algorithm;
use indicia_oauth::expiry::ExpiryKind;
use serde::Deserialize;

use crate::capability::Capability;
use crate::service::{ClientKind, Flow, Kills, LimitPer, Omitted, Pkce, Rotation, TokenKind};
use crate::shape::{Shape, Shaped, choices};

/// How sure a fact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    Verified,
    Unverified,
}

/// Whose value an input is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Client,
    #[default]
    Connection,
}

/// Where an input comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum From {
    #[default]
    User,
    Callback,
    Answer,
    Discovery,
}

/// HTTP methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum MethodName {
    #[serde(rename = "GET")]
    Get,
    #[serde(rename = "POST")]
    Post,
    #[serde(rename = "DELETE")]
    Delete,
}

/// How parameters travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Codec {
    Form,
    Json,
    Query,
}

/// How a client authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Auth {
    Basic,
    BasicRaw,
    Body,
    Query,
    None,
    Omit,
    PrivateKeyJwt,
}

/// Whom a client's assertion is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Audience {
    #[default]
    Issuer,
    TokenEndpoint,
}

/// What a field of an error answer must say.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "a field must say a text, a list of texts, { contains = \"…\" } or { present = true }"
)]
pub(crate) enum Says {
    Exactly(String),
    AnyOf(Vec<String>),
    Contains(Contains),
    Present(Present),
}

/// `{ contains = "…" }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contains {
    pub(crate) contains: String,
}

/// `{ present = true }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Present {
    pub(crate) present: bool,
}

impl Shaped for Says {
    const SHAPE: Shape = Shape::Words(
        "a text, a list of texts (any of them), `{ contains = \"…\" }`, or `{ present = true }`",
    );
}

choices! {
    Flow: "authorization-code", "client-credentials", "implicit", "device", "import", "api-key";
    ClientKind: "confidential", "public";
    Pkce: "required", "supported", "public-only", "forbidden", "unknown";
    Rotation: "rotates", "keeps", "may";
    TokenKind: "refresh_token", "access_token";
    Kills: "token", "grant", "account";
    Omitted: "unknown", "everything", "default", "nothing", "refused";
    Standing: "verified", "unverified";
    Level: "client", "connection";
    From: "user", "callback", "answer", "discovery";
    MethodName: "GET", "POST", "DELETE";
    Codec: "form", "json", "query";
    Auth: "basic", "basic-raw", "body", "query", "none", "omit", "private-key-jwt";
    Audience: "issuer", "token-endpoint";
    Algorithm: "ES256", "RS256";
    LimitPer: "client", "account", "user", "connection";
    ExpiryKind: "seconds", "millis", "unix_seconds", "unix_millis", "rfc3339";
    Verdict: "throttled", "unavailable", "ambiguous", "grant_refused", "client_refused",
        "misconfigured", "nonsense";
    Capability: "account.read", "contacts.read", "contacts.write", "lists.read", "lists.write",
        "campaigns.read", "campaigns.write", "campaigns.send", "templates.read",
        "templates.write", "reports.read", "webhooks.manage";
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;

    /// The words that serde would take, out of its own complaint.
    fn taken<T: DeserializeOwned>() -> Vec<String> {
        let error = serde_json::from_str::<T>("\"?\"").err().map(|e| e.to_string());
        let error = error.unwrap_or_default();
        let words = error.split('`').skip(3).step_by(2);
        words.map(str::to_owned).collect()
    }

    fn same<T: DeserializeOwned + Shaped>(beyond: &[&str]) {
        let Shape::Choice(words) = T::SHAPE else { panic!("no choice") };
        let mut taken = taken::<T>();
        taken.retain(|word| !beyond.contains(&word.as_str()));
        assert_eq!(taken, words);
    }

    #[test]
    fn the_lists_of_words_are_those_that_are_taken() {
        same::<Flow>(&[]);
        same::<ClientKind>(&[]);
        same::<Pkce>(&[]);
        same::<Rotation>(&[]);
        same::<TokenKind>(&[]);
        same::<Kills>(&[]);
        same::<Omitted>(&[]);
        same::<Standing>(&[]);
        same::<Level>(&[]);
        same::<From>(&[]);
        same::<MethodName>(&[]);
        same::<Codec>(&[]);
        same::<Auth>(&[]);
        same::<Audience>(&[]);
        same::<Algorithm>(&[]);
        same::<LimitPer>(&[]);
        same::<ExpiryKind>(&[]);
        // An error row can't grant.
        same::<Verdict>(&["granted"]);
        same::<Capability>(&[]);
    }
}
