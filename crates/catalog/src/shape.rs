//! The shape of a service file as data, and the reference page made from it.
//!
//! Surprise: nobody writes this data by hand. The [`section!`] macro makes it from the same lines
//! as the structs that serde fills, so the page, the reader's checks and the reader can't disagree.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// What kind of value a key takes.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    Text,
    Integer,
    Boolean,
    /// Text such as `45d`.
    Duration,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// Checked by the reader of that key, described in words.
    Words(&'static str),
    List(&'static Shape),
    /// A table with keys of the author's choosing.
    Map(&'static Shape),
    Table(&'static Section),
}

/// A table with fixed keys.
pub(crate) struct Section {
    pub(crate) doc: &'static str,
    pub(crate) fields: &'static [Field],
}

/// One key of a [`Section`].
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    pub(crate) shape: Shape,
    pub(crate) doc: &'static str,
}

/// Types that can stand in a service file.
pub(crate) trait Shaped {
    const SHAPE: Shape;
}

impl Shaped for String {
    const SHAPE: Shape = Shape::Text;
}
impl Shaped for u16 {
    const SHAPE: Shape = Shape::Integer;
}
impl Shaped for u32 {
    const SHAPE: Shape = Shape::Integer;
}
impl Shaped for bool {
    const SHAPE: Shape = Shape::Boolean;
}
impl Shaped for serde_json::Value {
    const SHAPE: Shape = Shape::Words("any value");
}
impl<T: Shaped> Shaped for Option<T> {
    const SHAPE: Shape = T::SHAPE;
}
impl<T: Shaped> Shaped for Vec<T> {
    const SHAPE: Shape = Shape::List(&T::SHAPE);
}
impl<T: Shaped> Shaped for BTreeMap<String, T> {
    const SHAPE: Shape = Shape::Map(&T::SHAPE);
}

/// A length of time as written in a service file: `30s`, `5m`, `24h`, `45d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl Shaped for Span {
    const SHAPE: Shape = Shape::Duration;
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        duration(&text).map(Self).ok_or_else(|| serde::de::Error::custom(DURATION_RULE))
    }
}

/// Reads `30s`, `5m`, `24h`, `45d`; at most a hundred years.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let secs_per_unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let secs = number.parse::<u64>().ok()?.checked_mul(secs_per_unit)?;
    (secs <= DURATION_SECS_MAX).then(|| Duration::from_secs(secs))
}

/// How a length of time is written, for error texts.
pub(crate) const DURATION_RULE: &str =
    "write a whole number and a unit, such as 30s, 5m, 24h or 45d";
const DURATION_SECS_MAX: u64 = 100 * 366 * 86_400;

/// Renders sections as a reference page: one table of keys per section, in file order.
pub(crate) fn render(root: &'static Section) -> String {
    let mut page = String::new();
    render_section(&mut page, "", root);
    page
}

fn render_section(page: &mut String, path: &str, section: &'static Section) {
    let title = if path.is_empty() { "Top level".to_owned() } else { format!("`{path}`") };
    let _ = writeln!(page, "## {title}\n\n{}\n", paragraph(section.doc));
    let _ = writeln!(page, "| key | value | |\n|---|---|---|");
    for field in section.fields {
        let need = if field.required { " **required**" } else { "" };
        let doc = paragraph(field.doc).replace('|', "\\|");
        let _ = writeln!(page, "| `{}`{need} | {} | {doc} |", field.name, words(field.shape));
    }
    page.push('\n');
    for field in section.fields {
        let (inner, suffix) = innermost(field.shape);
        if let Shape::Table(section) = inner {
            let dot = if path.is_empty() { "" } else { "." };
            let opening = path.trim_start_matches('[').trim_end_matches(']');
            let full = format!("{opening}{dot}{}{suffix}", field.name);
            let shown = if matches!(field.shape, Shape::List(_)) {
                format!("[[{full}]]")
            } else {
                format!("[{full}]")
            };
            render_section(page, &shown, section);
        }
    }
}

fn innermost(shape: Shape) -> (Shape, &'static str) {
    match shape {
        Shape::List(inner) => (innermost(*inner).0, ""),
        Shape::Map(inner) => (innermost(*inner).0, ".NAME"),
        other => (other, ""),
    }
}

/// What a value must be, in words.
pub(crate) fn words(shape: Shape) -> String {
    match shape {
        Shape::Text => "text".into(),
        Shape::Integer => "whole number".into(),
        Shape::Boolean => "`true` or `false`".into(),
        Shape::Duration => "length of time, such as `45d`".into(),
        Shape::Choice(choices) => format!("`{}`", choices.join("`, `")),
        Shape::Words(words) => words.into(),
        Shape::List(inner) => format!("list of: {}", words(*inner)),
        Shape::Map(inner) => format!("names with: {}", words(*inner)),
        Shape::Table(_) => "table".into(),
    }
}

/// Doc comment lines as one paragraph.
fn paragraph(doc: &str) -> String {
    doc.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Declares a struct that serde fills, together with its [`Section`]. Each field says whether it is
/// `req`uired or `opt`ional; a key that is no Rust name follows after `=`.
macro_rules! section {
    (
        $(#[doc = $sdoc:literal])*
        $vis:vis $name:ident {
            $( $(#[doc = $doc:literal])* $need:ident $field:ident : $ty:ty $(= $key:literal)? ),* $(,)?
        }
    ) => {
        $(#[doc = $sdoc])*
        #[derive(Clone, Debug, Default, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        $vis struct $name {
            $( $(#[doc = $doc])* $(#[serde(rename = $key)])? pub(crate) $field: $ty, )*
        }

        impl $crate::shape::Shaped for $name {
            const SHAPE: $crate::shape::Shape = $crate::shape::Shape::Table(&$crate::shape::Section {
                doc: concat!($($sdoc, "\n"),*),
                fields: &[$( $crate::shape::Field {
                    name: $crate::shape::key!($field $($key)?),
                    required: $crate::shape::need!($need),
                    shape: <$ty as $crate::shape::Shaped>::SHAPE,
                    doc: concat!($($doc, "\n"),*),
                } ),*],
            });
        }
    };
}

/// The key of a field: its name, unless another is given.
macro_rules! key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

/// `req` or `opt`.
macro_rules! need {
    (req) => {
        true
    };
    (opt) => {
        false
    };
}

/// Says which texts an enum is written with.
macro_rules! choices {
    ($($ty:ty: $($text:literal),+;)+) => {$(
        impl $crate::shape::Shaped for $ty {
            const SHAPE: $crate::shape::Shape = $crate::shape::Shape::Choice(&[$($text),+]);
        }
    )+};
}

pub(crate) use {choices, key, need, section};
