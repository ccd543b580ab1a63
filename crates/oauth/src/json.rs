//! JSON as it came: members keep their order, and a repeated one stays visible.
//!
//! What would surprise: no ready-made value type is used, since those let the last of two members
//! of one name win; whoever can add a member to an answer would then choose the token.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

/// A JSON value. Texts may be secrets: they are wiped, and nothing prints.
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// Its decimal text, never with an exponent.
    Number(String),
    Text(Zeroizing<String>),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// A member that is read came twice.
pub(crate) struct CameTwice;

impl Json {
    /// Reads a body. A byte-order mark and surrounding white space are dropped; anything after the
    /// value is an error; nesting ends at the parser's limit (128).
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)).ok()
    }

    /// The value at a dotted path; a number is an index into an array. A null counts as there.
    pub(crate) fn at(&self, path: &str) -> Result<Option<&Self>, CameTwice> {
        let mut here = self;
        for step in path.split('.') {
            let next = match here {
                Self::Object(members) => one(members, step)?,
                Self::Array(items) => step.parse::<usize>().ok().and_then(|i| items.get(i)),
                _ => None,
            };
            match next {
                Some(next) => here = next,
                None => return Ok(None),
            }
        }
        Ok(Some(here))
    }

    /// A text, number or boolean as text.
    pub(crate) fn scalar(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(text) => Some(text),
            Self::Bool(true) => Some("true"),
            Self::Bool(false) => Some("false"),
            Self::Null | Self::Array(_) | Self::Object(_) => None,
        }
    }
}

fn one<'a>(members: &'a [(String, Json)], name: &str) -> Result<Option<&'a Json>, CameTwice> {
    let mut found = members.iter().filter(|(n, _)| n == name);
    let first = found.next().map(|(_, value)| value);
    if found.next().is_some() { Err(CameTwice) } else { Ok(first) }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        let text = value.to_string();
        // So that `3600.0` is seen to have had a fraction.
        Ok(Json::Number(if text.contains('.') { text } else { text + ".0" }))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(Zeroizing::new(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(Zeroizing::new(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        while let Some(member) = members.next_entry()? {
            object.push(member);
        }
        Ok(Json::Object(object))
    }
}
