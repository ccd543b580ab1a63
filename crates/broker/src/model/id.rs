//! Names of things: each a type of its own, so that two can't be swapped.

use std::fmt;

use indicia_oauth::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a text can't be an id.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{text:?} can't be an id: 1 to 128 characters of A-Z a-z 0-9 . _ - are, the first a letter or \
     a digit"
)]
pub struct IdError {
    /// What was given, cut to 60 characters.
    pub text: String,
}

/// Longest id of a user's choosing, in characters.
pub const ID_CHARS_MAX: usize = 128;

fn check(text: &str) -> Result<String, IdError> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if first && text.len() <= ID_CHARS_MAX && text.chars().all(good) {
        Ok(text.to_owned())
    } else {
        Err(IdError { text: text.chars().take(60).collect() })
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks a text: 1 to 128 characters of `[A-Za-z0-9._-]`, the first alphanumeric.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check(text).map(Self)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// A connection's id, of the user's choosing.
    ConnectionId
}
id! {
    /// A client's id in Indicia, of the user's choosing; not the service's `client_id`.
    ClientId
}
id! {
    /// A grant's id: random, in hex.
    GrantId
}
id! {
    /// Who holds a lease: one process's (or one simulated host's) run. Made by the store.
    HolderId
}
id! {
    /// Which journal a spend's answer would be in.
    JournalId
}

impl GrantId {
    /// A new grant's id: when it was made, in milliseconds, then random octets. What is made
    /// together stands together in an index: many at once don't write all over it.
    pub fn of(at: Timestamp, random: &[u8]) -> Self {
        let millis = at.as_millis().to_be_bytes();
        Self(format!("{}{}", hex::encode(&millis[2..]), hex::encode(random)))
    }
}
