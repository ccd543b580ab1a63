//! `{dc}`, `{shop}`: texts filled in from inputs with strict patterns.
//!
//! Surprise: a value is checked three times, against its pattern or table, against the letters that
//! a host may have, and by reading the finished URL back. The pattern is the author's and may be
//! careless; a client's secret must not go astray because of it.

use std::collections::BTreeMap;

use thiserror::Error;
use url::Url;

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
    /// Used when nothing is given; a template, so that one input can stand in for another.
    pub default: Option<Template>,
    /// May be missing: parameters and headers made from it are then left out.
    pub optional: bool,
    /// Value → derived values: `{name.key}` in templates. When not empty, other values are refused.
    pub table: BTreeMap<String, BTreeMap<String, String>>,
    /// Further callback parameters that must say the same: parameter → template.
    pub confirm: BTreeMap<String, Template>,
    /// `pattern`, anchored; made once, since a value is checked on each use.
    pub(crate) whole: Whole,
}

/// A pattern that must match the whole of a text; `None` matches nothing.
#[derive(Clone, Debug)]
pub(crate) struct Whole(Option<regex_lite::Regex>);

impl Whole {
    pub(crate) fn new(pattern: &str) -> Self {
        Self(whole(pattern).ok())
    }

    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.0.as_ref().is_some_and(|pattern| pattern.is_match(text))
    }
}

impl PartialEq for Whole {
    fn eq(&self, other: &Self) -> bool {
        let text = |whole: &Self| whole.0.as_ref().map(|pattern| pattern.as_str().to_owned());
        text(self) == text(other)
    }
}

impl Eq for Whole {}

impl Input {
    /// Checks a value against the table, or the pattern, which must match the whole of it.
    pub fn check(&self, value: &str) -> Result<(), FillError> {
        let refused = |rule: String| Err(FillError::Refused { name: self.name.clone(), rule });
        if value.len() > VALUE_BYTES_MAX {
            return refused(format!("at most {VALUE_BYTES_MAX} characters"));
        }
        if !self.table.is_empty() {
            let known: Vec<&str> = self.table.keys().map(String::as_str).collect();
            return match self.table.contains_key(value) {
                true => Ok(()),
                false => refused(format!("one of {}", known.join(", "))),
            };
        }
        match self.whole.is_match(value) {
            true => Ok(()),
            false => refused(format!("like {:?} (pattern {})", self.example, self.pattern)),
        }
    }
}

/// Why a template can't be filled in.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FillError {
    /// An input is missing.
    #[error("input {0:?} is missing")]
    Missing(String),
    /// A value is refused by its pattern or table.
    #[error("{name:?} is refused: it must be {rule}")]
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

/// A place in a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    pub(crate) name: &'a str,
    pub(crate) key: Option<&'a str>,
}

/// A piece of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    Place(Place<'a>),
}

impl Template {
    /// The text with its places.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The places, in order.
    pub(crate) fn places(&self) -> Vec<Place<'_>> {
        let places = pieces(&self.0).into_iter().filter_map(|piece| match piece {
            Piece::Place(place) => Some(place),
            Piece::Text(_) => None,
        });
        places.collect()
    }

    /// Fills in a text that is no URL: values stand in it as they are. `None`: an optional input is
    /// missing, so whatever this text is for is left out.
    pub(crate) fn text(&self, values: &Values<'_>) -> Result<Option<String>, FillError> {
        let mut filled = String::new();
        for piece in pieces(&self.0) {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Place(place) => match values.value(place)? {
                    Some(value) => filled.push_str(&value),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(filled))
    }

    /// Fills in an absolute URL. Values in its host are host names' letters only, elsewhere they
    /// are percent-encoded; the finished URL is read back and must have the very host that was
    /// meant.
    pub(crate) fn url(&self, values: &Values<'_>) -> Result<String, FillError> {
        if !self.0.contains('{') {
            // As the file's author wrote it, and as the reader of files checked it.
            return Ok(self.0.clone());
        }
        let (scheme, authority, rest) = split(&self.0);
        let host = fill(authority, values, host_value)?;
        let rest = fill(rest, values, path_value)?;
        let filled = format!("{scheme}{host}{rest}");
        if reads_back(&filled, &host) {
            return Ok(filled);
        }
        let name = self.places().first().map_or("url", |place| place.name).to_owned();
        Err(FillError::Refused { name, rule: "part of a host name".into() })
    }
}

/// What templates are filled in from.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) inputs: &'a [Input],
    pub(crate) given: &'a BTreeMap<String, String>,
}

impl Values<'_> {
    /// The value of a place; `None` where an optional input is missing.
    fn value(&self, place: Place<'_>) -> Result<Option<String>, FillError> {
        self.value_within(place, DEFAULT_DEPTH_MAX)
    }

    fn value_within(&self, place: Place<'_>, depth: usize) -> Result<Option<String>, FillError> {
        let missing = || FillError::Missing(place.name.to_owned());
        let input = self.inputs.iter().find(|i| i.name == place.name).ok_or_else(missing)?;
        let given = self.given.get(place.name).filter(|value| !value.is_empty());
        let value = match (given, &input.default) {
            (Some(value), _) => value.clone(),
            (None, Some(default)) if depth > 0 => self.default_value(default, depth - 1)?,
            (None, _) if input.optional => return Ok(None),
            (None, _) => return Err(missing()),
        };
        input.check(&value)?;
        match place.key {
            None => Ok(Some(value)),
            Some(key) => {
                let row = input.table.get(&value);
                row.and_then(|row| row.get(key)).cloned().map(Some).ok_or_else(missing)
            }
        }
    }

    fn default_value(&self, default: &Template, depth: usize) -> Result<String, FillError> {
        let mut value = String::new();
        for piece in pieces(&default.0) {
            match piece {
                Piece::Text(text) => value.push_str(text),
                Piece::Place(place) => {
                    let found = self.value_within(place, depth)?;
                    value.push_str(&found.ok_or_else(|| FillError::Missing(place.name.into()))?);
                }
            }
        }
        Ok(value)
    }
}

/// Fills `{…}` in the texts of a JSON value, for simulated services. `{null}` alone becomes null,
/// and a text that is nothing but `{name#}` becomes a number; unknown places stay as they are.
pub fn fill_json(
    value: &serde_json::Value,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) if text == "{null}" => Value::Null,
        Value::String(text) => fill_json_text(text, lookup),
        Value::Array(items) => items.iter().map(|item| fill_json(item, lookup)).collect(),
        Value::Object(members) => {
            members.iter().map(|(k, v)| (k.clone(), fill_json(v, lookup))).collect()
        }
        other => other.clone(),
    }
}

fn fill_json_text(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> serde_json::Value {
    let number = text.strip_prefix('{').and_then(|rest| rest.strip_suffix("#}"));
    if let Some(number) = number.and_then(lookup).and_then(|found| found.parse::<i64>().ok()) {
        return number.into();
    }
    fill_text(text, lookup).into()
}

/// Fills `{name}` and `{name.key}` in a text, for simulated services; unknown places stay.
pub fn fill_text(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut filled = String::new();
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Place(Place { name, key }) => {
                let full = key.map_or(name.to_owned(), |key| format!("{name}.{key}"));
                filled.push_str(&lookup(&full).unwrap_or_else(|| format!("{{{full}}}")));
            }
        }
    }
    filled
}

/// A pattern that must match the whole of a text. Refused when it isn't one by itself: `a)|(b`
/// would otherwise break out of the anchors.
pub(crate) fn whole(pattern: &str) -> Result<regex_lite::Regex, regex_lite::Error> {
    regex_lite::Regex::new(pattern)?;
    regex_lite::Regex::new(&format!(r"\A(?:{pattern})\z"))
}

/// Scheme with `://`, authority, and the rest of a URL template.
pub(crate) fn split(url: &str) -> (&str, &str, &str) {
    let start = url.find("://").map_or(0, |at| at + 3);
    let (scheme, after) = url.split_at(start);
    let end = after.find(['/', '?', '#', '\\']).unwrap_or(after.len());
    let (authority, rest) = after.split_at(end);
    (scheme, authority, rest)
}

pub(crate) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let Some(length) = rest[open..].find('}') else {
            break;
        };
        let inner = &rest[open + 1..open + length];
        let (name, key) = match inner.split_once('.') {
            Some((name, key)) => (name, Some(key)),
            None => (inner, None),
        };
        if open > 0 {
            pieces.push(Piece::Text(&rest[..open]));
        }
        pieces.push(Piece::Place(Place { name, key }));
        rest = &rest[open + length + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

fn fill(
    text: &str,
    values: &Values<'_>,
    admit: fn(&str) -> Option<String>,
) -> Result<String, FillError> {
    let mut filled = String::new();
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Place(place) => {
                let missing = || FillError::Missing(place.name.to_owned());
                let value = values.value(place)?.ok_or_else(missing)?;
                let refused = || FillError::Refused {
                    name: place.name.to_owned(),
                    rule: "part of an address, without separators".into(),
                };
                filled.push_str(&admit(&value).ok_or_else(refused)?);
            }
        }
    }
    Ok(filled)
}

/// Letters, digits, `-` and `.` between labels that aren't empty.
fn host_value(value: &str) -> Option<String> {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let label = |label: &str| !label.is_empty() && label.bytes().all(letters);
    value.split('.').all(label).then(|| value.to_owned())
}

/// Everything but unreserved letters is percent-encoded; a path's `.` and `..` are refused.
fn path_value(value: &str) -> Option<String> {
    if value == "." || value == ".." {
        return None;
    }
    let mut encoded = String::new();
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    Some(encoded)
}

/// Whether a text is an https address on the usual port, its host being the domain or in it, that
/// every reader takes apart alike: no user, query or fragment, nothing that parsers leave out.
pub(crate) fn is_https_in(text: &str, domain: &str) -> bool {
    let (scheme, authority, _) = split(text);
    let plain =
        text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains(['#', '?', '\\']);
    let Ok(url) = Url::parse(text) else {
        return false;
    };
    let before = url.host_str().and_then(|host| host.strip_suffix(domain));
    let inside = before.is_some_and(|before| before.is_empty() || before.ends_with('.'));
    let usual_port = url.port().is_none();
    scheme == "https://" && plain && reads_back(text, authority) && usual_port && inside
}

fn reads_back(filled: &str, authority: &str) -> bool {
    let Ok(url) = Url::parse(filled) else {
        return false;
    };
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().ok()),
        None => (authority, url.port_or_known_default()),
    };
    let user = !url.username().is_empty() || url.password().is_some();
    let loopback = url.scheme() == "http" && host == "127.0.0.1";
    let safe = url.scheme() == "https" || loopback;
    let same = url.host_str() == Some(host) && url.port_or_known_default() == port;
    safe && same && !user && url.fragment().is_none()
}

/// Characters of a value at most.
pub const VALUE_BYTES_MAX: usize = 512;
/// Defaults that stand in for each other, at most.
pub(crate) const DEFAULT_DEPTH_MAX: usize = 4;
