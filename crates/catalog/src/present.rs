//! How an API wants its token: in headers, in the query, in the body; as it is, as Basic
//! credentials, or as a JWT that it signs.
//!
//! Surprise: the token is put in last, so nothing in a token is taken for a place to fill in.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::service::{Context, Service};
use crate::template::{FillError, Template};

/// The forms of a token in a service file's texts, with the mark of each.
const MARKS: [(&str, Form); 3] =
    [("{token}", Form::Token), ("{token.basic}", Form::Basic), ("{token.jwt}", Form::Jwt)];

#[derive(Clone, Copy)]
enum Form {
    Token,
    Basic,
    Jwt,
}

/// A token in the forms in which it may travel.
pub struct Presented {
    token: Zeroizing<String>,
    basic: Zeroizing<String>,
    jwt: Zeroizing<String>,
}

impl Presented {
    /// `jwt`: what the token signed, where [`Service::api_jwt`] says that it signs.
    pub fn new(token: &str, jwt: Option<Zeroizing<String>>) -> Self {
        // A token that is no pair is a user without a password (RFC 7617 §2).
        let pair = if token.contains(':') { "" } else { ":" };
        let pair = Zeroizing::new([token, pair].concat());
        Self {
            token: Zeroizing::new(token.to_owned()),
            basic: Zeroizing::new(STANDARD.encode(pair.as_bytes())),
            jwt: jwt.unwrap_or_default(),
        }
    }

    /// These texts in its place, as they are: for who reads requests.
    pub fn marked(token: &str, basic: &str, jwt: &str) -> Self {
        let [token, basic, jwt] = [token, basic, jwt].map(|text| Zeroizing::new(text.to_owned()));
        Self { token, basic, jwt }
    }

    /// A text of a service file with the token put in.
    pub fn put(&self, text: &str) -> Zeroizing<String> {
        let mut out = Zeroizing::new(String::with_capacity(text.len() + self.token.len()));
        let mut rest = text;
        while let Some((before, form, after)) = next_mark(rest) {
            out.push_str(before);
            out.push_str(match form {
                Form::Token => &self.token,
                Form::Basic => &self.basic,
                Form::Jwt => &self.jwt,
            });
            rest = after;
        }
        out.push_str(rest);
        out
    }
}

/// What is before the first mark, that mark, and what is after it.
fn next_mark(text: &str) -> Option<(&str, Form, &str)> {
    let found = MARKS.iter().filter_map(|(mark, form)| {
        let (before, after) = text.split_once(mark)?;
        Some((before, *form, after))
    });
    found.min_by_key(|(before, ..)| before.len())
}

/// Whether a text holds the token, in whichever form.
pub(crate) fn holds_token(text: &str) -> bool {
    next_mark(text).is_some()
}

/// The keys of the place `token` in a template.
pub(crate) const TOKEN_FORMS: [&str; 2] = ["basic", "jwt"];

/// What a call to the API carries besides its own: names and texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried<T> {
    /// Headers, `Authorization` included.
    pub headers: Vec<(String, T)>,
    /// Parameters of the query.
    pub query: Vec<(String, T)>,
    /// Members of the body, form or JSON, whichever the call has.
    pub body: Vec<(String, T)>,
}

impl<T> Carried<T> {
    /// Each text changed.
    pub fn map<U>(&self, mut change: impl FnMut(&T) -> U) -> Carried<U> {
        let mut all = |texts: &[(String, T)]| {
            texts.iter().map(|(name, text)| (name.clone(), change(text))).collect()
        };
        Carried { headers: all(&self.headers), query: all(&self.query), body: all(&self.body) }
    }
}

impl Service {
    /// What each call to the API carries, the token put in. What is made from a missing input is
    /// left out.
    pub fn api_carries(&self, cx: Context<'_>, token: &Presented) -> Carried<Zeroizing<String>> {
        let fill = |texts: &BTreeMap<String, String>| {
            let text = |(name, text): (&String, &String)| {
                Some((name.clone(), self.unpresented(text, cx).ok().flatten()?))
            };
            texts.iter().filter_map(text).collect()
        };
        let api = &self.raw.api;
        let carried = Carried {
            headers: fill(&self.api_header_texts()),
            query: fill(&api.query),
            body: fill(&api.body),
        };
        carried.map(|text| token.put(text))
    }

    /// The API's headers as written; a token that travels nowhere else is a Bearer token.
    pub(crate) fn api_header_texts(&self) -> BTreeMap<String, String> {
        let api = &self.raw.api;
        let mut texts = api.headers.clone();
        let mut all = texts.values().chain(api.query.values()).chain(api.body.values());
        if !all.any(|text| holds_token(text)) {
            texts.insert("Authorization".into(), "Bearer {token}".into());
        }
        texts
    }

    /// A text filled in but for the token, whose marks stay.
    pub(crate) fn unpresented(
        &self,
        text: &str,
        cx: Context<'_>,
    ) -> Result<Option<String>, FillError> {
        let mut filled = String::new();
        let mut rest = text;
        loop {
            let found = next_mark(rest);
            let (part, after) = found.map_or((rest, None), |(part, _, after)| (part, Some(after)));
            match Template(part.to_owned()).text(&self.values(cx))? {
                Some(part) => filled.push_str(&part),
                None => return Ok(None),
            }
            let Some(after) = after else { return Ok(Some(filled)) };
            filled.push_str(&rest[part.len()..rest.len() - after.len()]);
            rest = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Presented;

    #[test]
    fn a_token_goes_in_once_and_is_not_read_again() {
        let check = |token: &str, text: &str, expected: &str| {
            let presented = Presented::new(token, Some("j.w.t".to_owned().into()));
            assert_eq!(presented.put(text).as_str(), expected);
        };
        check("t", "Bearer {token}", "Bearer t");
        check("{token.basic}", "a {token} b", "a {token.basic} b");
        check("key", "Basic {token.basic}", "Basic a2V5Og==");
        check("key:secret", "Basic {token.basic}", "Basic a2V5OnNlY3JldA==");
        check("t", "{token.jwt}{token}{other}", "j.w.tt{other}");
        check("t", "nothing", "nothing");
    }
}
