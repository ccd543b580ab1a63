//! A service file's text as a tree with places: finds every unknown key and wrong kind of value at
//! once, and the line of any key.
//!
//! Surprise: serde reads the same text a second time. It would stop at its first complaint, while
//! an author wants all of them.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::read::ReadError;
use crate::shape::{self, Section, Shape};

/// A key's way from the top: `["inputs", "0", "pattern"]`.
pub(crate) type Path = Vec<String>;

/// The id that a file gives, also where the rest of it is wrong.
pub(crate) fn id(text: &str) -> Option<String> {
    let (root, _) = DeTable::parse_recoverable(text);
    match root.get_ref().get("id")?.get_ref() {
        DeValue::String(id) => Some(id.to_string()),
        _ => None,
    }
}

/// The text with its tree.
pub(crate) struct Tree<'a> {
    file: &'a str,
    lines: Lines,
    root: Spanned<DeTable<'a>>,
}

impl<'a> Tree<'a> {
    /// Parses; all syntax errors at once.
    pub(crate) fn parse(file: &'a str, text: &'a str) -> Result<Self, Vec<ReadError>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let lines = Lines::of(text);
        if errors.is_empty() {
            return Ok(Self { file, lines, root });
        }
        let read_error = |error: toml::de::Error| ReadError {
            file: file.to_owned(),
            line: lines.at(error.span().map_or(0, |span| span.start)),
            problem: format!("this is not TOML: {}", first_line(error.message())),
            fix: "see https://toml.io for how to write it".into(),
        };
        Err(errors.into_iter().map(read_error).collect())
    }

    /// Every key that the schema doesn't know, lacks, or that has the wrong kind of value.
    pub(crate) fn problems(&self, root: &'static Section) -> Vec<ReadError> {
        let mut found = Vec::new();
        self.table(&mut found, "", self.root.get_ref(), 1, root);
        found.sort_by_key(|error| error.line);
        found
    }

    /// An error at a key, or at the nearest one above it that is there.
    pub(crate) fn error(&self, path: &[String], problem: String, fix: String) -> ReadError {
        ReadError { file: self.file.to_owned(), line: self.line(path), problem, fix }
    }

    /// An error at an offset.
    pub(crate) fn error_at(&self, offset: usize, problem: String, fix: String) -> ReadError {
        let line = self.lines.at(offset);
        ReadError { file: self.file.to_owned(), line, problem, fix }
    }

    fn line(&self, path: &[String]) -> usize {
        let mut offset = 0;
        let mut value: Option<&DeValue<'_>> = None;
        for step in path {
            let next = match value {
                None => entry(self.root.get_ref(), step),
                Some(DeValue::Table(table)) => entry(table, step),
                Some(DeValue::Array(items)) => {
                    let item = step.parse::<usize>().ok().and_then(|at| items.get(at));
                    item.map(|item| (item.span().start, item.get_ref()))
                }
                Some(_) => None,
            };
            let Some((start, found)) = next else { break };
            (offset, value) = (start, Some(found));
        }
        self.lines.at(offset)
    }

    fn table(
        &self,
        found: &mut Vec<ReadError>,
        path: &str,
        table: &DeTable<'_>,
        line: usize,
        section: &'static Section,
    ) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            match section.fields.iter().find(|field| field.name == name) {
                Some(field) => self.value(found, &join(path, name), value, field.shape),
                None => found.push(self.unknown(path, name, key.span().start, section)),
            }
        }
        for field in section.fields.iter().filter(|field| field.required) {
            if !table.keys().any(|key| key.get_ref() == field.name) {
                found.push(ReadError {
                    file: self.file.to_owned(),
                    line,
                    problem: format!("`{}` is missing", join(path, field.name)),
                    fix: format!("add it: {}", shape::words(field.shape)),
                });
            }
        }
    }

    fn unknown(&self, path: &str, key: &str, at: usize, section: &Section) -> ReadError {
        let names = section.fields.iter().map(|field| field.name);
        let fix = match nearest(key, names.clone()).first() {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", names.collect::<Vec<_>>().join(", ")),
        };
        self.error_at(at, format!("unknown key `{}`", join(path, key)), fix)
    }

    fn value(
        &self,
        found: &mut Vec<ReadError>,
        path: &str,
        value: &Spanned<DeValue<'_>>,
        shape: Shape,
    ) {
        let line = self.lines.at(value.span().start);
        match (shape, value.get_ref()) {
            (Shape::Table(section), DeValue::Table(table)) => {
                self.table(found, path, table, line, section);
            }
            (Shape::Map(inner), DeValue::Table(table)) => {
                for (key, value) in table {
                    self.value(found, &join(path, key.get_ref()), value, *inner);
                }
            }
            (Shape::List(inner), DeValue::Array(items)) => {
                for item in items.iter() {
                    self.value(found, path, item, *inner);
                }
            }
            (Shape::Choice(choices), DeValue::String(text)) => {
                if !choices.contains(&text.as_ref()) {
                    found.push(self.bad_choice(path, value.span().start, text, choices));
                }
            }
            (Shape::Duration, DeValue::String(text)) if shape::duration(text).is_some() => {}
            (Shape::Text, DeValue::String(_))
            | (Shape::Integer, DeValue::Integer(_))
            | (Shape::Boolean, DeValue::Boolean(_))
            | (Shape::Words(_), _) => {}
            (shape, _) => {
                let problem = format!("`{path}` has the wrong kind of value");
                let fix = match shape {
                    Shape::Duration => shape::DURATION_RULE.to_owned(),
                    other => format!("write: {}", shape::words(other)),
                };
                found.push(self.error_at(value.span().start, problem, fix));
            }
        }
    }

    fn bad_choice(&self, path: &str, at: usize, text: &str, choices: &[&str]) -> ReadError {
        let fix = match nearest(text, choices.iter().copied()).first() {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("write one of: {}", choices.join(", ")),
        };
        self.error_at(at, format!("`{path}` can't be {text:?}"), fix)
    }
}

fn entry<'t>(table: &'t DeTable<'_>, name: &str) -> Option<(usize, &'t DeValue<'t>)> {
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
    Some((key.span().start, value.get_ref()))
}

fn join(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}

/// Where the lines of a text end: every value asks for its line, and may not count from the top.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(end, _)| end).collect())
    }

    /// Line of an offset, from 1.
    fn at(&self, offset: usize) -> usize {
        1 + self.0.partition_point(|end| *end < offset)
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Names near to a mistyped one, nearest first, at most three: within a third of its length.
pub(crate) fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let length = name.chars().count().min(NEAR_CHARS_MAX);
    let far = (length / 3).max(1);
    let mut near: Vec<(usize, &str)> = names
        .map(|other| (distance(name, other), other))
        .filter(|(distance, other)| *distance <= far || (length >= 3 && other.starts_with(name)))
        .collect();
    near.sort_unstable();
    near.into_iter().map(|(_, other)| other).take(3).collect()
}

/// Letters to add, drop, change or swap with their neighbour, to come from one to the other.
fn distance(one: &str, other: &str) -> usize {
    let a: Vec<char> = one.chars().take(NEAR_CHARS_MAX).collect();
    let b: Vec<char> = other.chars().take(NEAR_CHARS_MAX).collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best =
                (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

const NEAR_CHARS_MAX: usize = 64;
