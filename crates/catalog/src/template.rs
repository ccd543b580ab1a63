//! `{dc}`, `{shop}`: URL templates, filled in from inputs with strict patterns.

use std::collections::BTreeMap;

use thiserror::Error;

/// Whose value an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The registered application's.
    Client,
    /// One connection's; can't override the client's.
    Connection,
}

/// Where an input's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputFrom {
    /// The user types it.
    User,
    /// A parameter of the callback: value → input value by `table` or pattern.
    Callback(String),
    /// A member of the token answer.
    Answer(String),
    /// The discovery call.
    Discovery,
}

/// A named input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Name, as in `{name}`.
    pub name: String,
    /// Whose it is.
    pub level: Level,
    /// Where it comes from.
    pub from: InputFrom,
    /// The whole value must match (no anchors needed).
    pub pattern: String,
    /// An example.
    pub example: String,
    /// What it is and where to find it.
    pub help: String,
    /// Used when nothing is given.
    pub default: Option<String>,
    /// Value → derived values: `{name.key}` in templates. When not empty, other values are refused.
    pub table: BTreeMap<String, BTreeMap<String, String>>,
}

/// Why a template can't be filled in.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FillError {
    /// An input is missing.
    #[error("input {0:?} is missing")]
    Missing(String),
    /// A value is refused by its pattern or table.
    #[error("input {name:?} is refused: it must be {rule}")]
    Refused {
        /// Which input.
        name: String,
        /// Its rule, in words.
        rule: String,
    },
}

/// A text with `{name}` and `{name.key}` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub(crate) String);

impl Template {
    /// The text with its places.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
