//! `{name}` and `{name.key}` in answers and callbacks of a service file's `[sandbox]`.
//!
//! A place whose name nobody knows stays as it is: an answer with `{…}` in it shows the mistake.

use std::collections::BTreeMap;

use indicia_catalog::Service;
use indicia_catalog::template::{fill_json, fill_text};
use serde_json::Value;

/// Defaults that stand in for each other, at most.
const DEFAULT_DEPTH_MAX: usize = 4;

/// What places are filled in with.
pub(crate) struct Values<'a> {
    service: &'a Service,
    inputs: &'a BTreeMap<String, String>,
    more: BTreeMap<&'static str, String>,
}

impl<'a> Values<'a> {
    /// Inputs, and the values of their tables.
    pub fn new(service: &'a Service, inputs: &'a BTreeMap<String, String>) -> Self {
        Self { service, inputs, more: BTreeMap::new() }
    }

    /// One more name.
    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.more.insert(name, value);
        self
    }

    /// A text with its places filled in.
    pub fn text(&self, text: &str) -> String {
        fill_text(text, &|name| self.value(name, DEFAULT_DEPTH_MAX))
    }

    /// JSON with its places filled in.
    pub fn json(&self, value: &Value) -> Value {
        fill_json(value, &|name| self.value(name, DEFAULT_DEPTH_MAX))
    }

    fn value(&self, name: &str, depth: usize) -> Option<String> {
        if let Some(value) = self.more.get(name) {
            return Some(value.clone());
        }
        let (base, key) = name.split_once('.').map_or((name, None), |(b, k)| (b, Some(k)));
        let input = self.service.inputs.iter().find(|i| i.name == base)?;
        let value = match (self.inputs.get(base), &input.default) {
            (Some(value), _) => value.clone(),
            (None, Some(default)) if depth > 0 => {
                fill_text(default.as_str(), &|name| self.value(name, depth - 1))
            }
            (None, _) => input.example.clone(),
        };
        match key {
            None => Some(value),
            Some(key) => input.table.get(&value)?.get(key).cloned(),
        }
    }
}
