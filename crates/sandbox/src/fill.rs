//! `{name}` and `{name.key}` in answers, callbacks and addresses of a service file's `[sandbox]`.
//!
//! A place whose name nobody knows stays as it is: an answer with `{…}` in it shows the mistake.

use std::collections::BTreeMap;

use indicia_catalog::Service;
use serde_json::Value;

/// What places are filled in with.
pub(crate) struct Values<'a> {
    service: &'a Service,
    inputs: &'a BTreeMap<String, String>,
    more: BTreeMap<&'static str, Value>,
}

impl<'a> Values<'a> {
    /// Inputs, and the values of their tables.
    pub fn new(service: &'a Service, inputs: &'a BTreeMap<String, String>) -> Self {
        Self { service, inputs, more: BTreeMap::new() }
    }

    /// One more name.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.more.insert(name, value.into());
        self
    }

    fn value(&self, name: &str) -> Option<Value> {
        if let Some(value) = self.more.get(name) {
            return Some(value.clone());
        }
        let (base, key) = name.split_once('.').map_or((name, None), |(b, k)| (b, Some(k)));
        let input = self.service.inputs.iter().find(|i| i.name == base)?;
        let value = self.inputs.get(base).or(input.default.as_ref()).unwrap_or(&input.example);
        match key {
            None => Some(Value::String(value.clone())),
            Some(key) => input.table.get(value)?.get(key).map(|v| Value::String(v.clone())),
        }
    }

    /// A text with its places filled in.
    pub fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let (before, from) = rest.split_at(open);
            out.push_str(before);
            let Some(close) = from.find('}') else {
                rest = from;
                break;
            };
            let (place, after) = from.split_at(close + 1);
            match self.value(&place[1..close]) {
                Some(Value::String(value)) => out.push_str(&value),
                Some(other) => out.push_str(&other.to_string()),
                None => out.push_str(place),
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// JSON with its places filled in. A text that is one place and nothing else takes the value's
    /// own type, so that a number stays a number.
    pub fn json(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.json_text(text),
            Value::Array(items) => Value::Array(items.iter().map(|v| self.json(v)).collect()),
            Value::Object(members) => {
                let filled = members.iter().map(|(n, v)| (n.clone(), self.json(v)));
                Value::Object(filled.collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn json_text(&self, text: &str) -> Value {
        let place = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
        match place.filter(|p| !p.contains(['{', '}'])).and_then(|p| self.value(p)) {
            Some(value) => value,
            None => Value::String(self.text(text)),
        }
    }
}
