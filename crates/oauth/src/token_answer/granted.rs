//! A success, member by member (RFC 6749 §5.1). What is missing may have a default; what is there
//! and can't be read makes the answer ambiguous, so that it is kept, never half stored.

use std::collections::BTreeMap;

use super::{Flaw, TokenSet};
use crate::deviation;
use crate::dialect::{Dialect, NoExpiry, Verdict};
use crate::expiry::{Expiry, ExpiryKind, Life};
use crate::json::Json;
use crate::secret::{AccessToken, RefreshToken};
use crate::text;
use crate::time::Timestamp;

/// Bytes of a kept member that are stored at most; a longer one is left out.
pub const EXTRA_BYTES_MAX: usize = 4096;

/// The clocks that an answer's times are read by.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// Ours, when the request was sent.
    pub(super) sent_at: Timestamp,
    /// The service's, as its answer tells (RFC 9110 §6.6.1).
    pub(super) date: Option<Timestamp>,
}

impl Asked {
    /// How far the service's clock is ahead of ours: what a time of theirs is shortened by. One
    /// that is behind would lengthen a life, so it isn't believed; nor is one that is absurdly
    /// ahead.
    fn ahead(self) -> std::time::Duration {
        let ahead = self.date.map(|date| date.since(self.sent_at)).unwrap_or_default();
        if ahead <= SKEW_MAX { ahead } else { std::time::Duration::ZERO }
    }
}

/// The largest difference between two clocks that is taken into account: a day.
const SKEW_MAX: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// A difference that is worth telling.
const SKEW_TOLD: std::time::Duration = std::time::Duration::from_secs(5 * 60);

pub(super) fn read(
    json: &Json,
    dialect: &Dialect,
    asked: Asked,
    deviations: Vec<&'static str>,
) -> Result<TokenSet, Flaw> {
    if !matches!(json, Json::Object(_)) {
        return Err(ambiguous("the answer is no JSON object"));
    }
    let mut reader = Reader { json, asked, deviations };
    let access_token = reader.access_token(dialect)?;
    let token_type = reader.token_type(dialect)?;
    let refresh_token = reader.refresh_token(dialect)?;
    let scopes = reader.scopes(dialect)?;
    let expiry = reader.expiry(dialect)?;
    let refresh_expires_at = reader.refresh_expires_at(dialect)?;
    let extra = reader.extra(dialect)?;
    let mut deviations = reader.deviations;
    deviations.sort_unstable();
    deviations.dedup();
    Ok(TokenSet {
        access_token,
        refresh_token,
        token_type,
        scopes,
        expiry,
        refresh_expires_at,
        extra,
        deviations,
    })
}

/// Whether an answer has something where the access token would be.
pub(super) fn holds_token(json: &Json, dialect: &Dialect) -> bool {
    match json.at(&dialect.access_token) {
        Ok(Some(Json::Text(token))) => !is_nothing(token),
        Ok(_) => false,
        Err(_) => true,
    }
}

struct Reader<'a> {
    json: &'a Json,
    asked: Asked,
    deviations: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    /// The member at a path; one that came twice is never chosen from.
    fn member(&self, path: &str) -> Result<Option<&'a Json>, Flaw> {
        self.json.at(path).map_err(|_| ambiguous(&format!("{path} came twice")))
    }

    fn access_token(&self, dialect: &Dialect) -> Result<AccessToken, Flaw> {
        match self.member(&dialect.access_token)? {
            None | Some(Json::Null) => Err(ambiguous("no access token")),
            Some(Json::Text(token)) if is_nothing(token) => Err(ambiguous("an empty access token")),
            Some(Json::Text(token)) if is_token(token) => Ok(AccessToken::new(token.as_str())),
            Some(_) => Err(ambiguous("an access token that can't be one")),
        }
    }

    fn refresh_token(&mut self, dialect: &Dialect) -> Result<Option<RefreshToken>, Flaw> {
        match self.member(&dialect.refresh_token)? {
            None => Ok(None),
            Some(Json::Text(token)) if !is_nothing(token) => {
                // To go on without it would lose the grant where the service rotates.
                let token = Some(token).filter(|token| is_token(token));
                let token = token.ok_or_else(|| ambiguous("a refresh token that can't be one"))?;
                Ok(Some(RefreshToken::new(token.as_str())))
            }
            Some(Json::Null | Json::Text(_)) => {
                self.deviations.push(deviation::EMPTY_REFRESH_TOKEN);
                Ok(None)
            }
            Some(_) => Err(ambiguous("a refresh token that can't be one")),
        }
    }

    fn token_type(&mut self, dialect: &Dialect) -> Result<String, Flaw> {
        let spelt = match self.member("token_type")? {
            None | Some(Json::Null) => "",
            Some(Json::Text(spelt)) => spelt.as_str(),
            Some(_) => return Err(unusable_type("it is no text")),
        };
        let is = |usable: &str| usable.eq_ignore_ascii_case(spelt);
        if is("bearer") || (!spelt.is_empty() && dialect.token_types.iter().any(|t| is(t))) {
            return Ok(spelt.to_owned());
        }
        if spelt.is_empty() && dialect.token_type_optional {
            self.deviations.push(deviation::NO_TOKEN_TYPE);
            return Ok("Bearer".to_owned());
        }
        Err(unusable_type(if spelt.is_empty() { "there is none" } else { spelt }))
    }

    /// An odd scope is never a reason to lose a token.
    fn scopes(&mut self, dialect: &Dialect) -> Result<Option<Vec<String>>, Flaw> {
        let Some(path) = &dialect.scope else {
            return Ok(None);
        };
        let Some(value) = self.member(path)? else {
            return Ok(None);
        };
        let mut scopes: Vec<String> = Vec::new();
        let texts: Vec<&str> = match value {
            Json::Text(text) => text.split(|c| dialect.scope_separators.contains(c)).collect(),
            Json::Array(items) => items.iter().filter_map(Json::scalar).collect(),
            _ => Vec::new(),
        };
        for scope in texts.into_iter().map(str::trim).filter(|scope| !scope.is_empty()) {
            if !scopes.iter().any(|known| known == scope) {
                scopes.push(scope.to_owned());
            }
        }
        if scopes.is_empty() || !matches!(value, Json::Text(_)) {
            self.deviations.push(deviation::SCOPE_SPELLING);
        }
        Ok(Some(scopes).filter(|scopes| !scopes.is_empty()))
    }

    fn expiry(&mut self, dialect: &Dialect) -> Result<Expiry, Flaw> {
        Ok(match self.life(&dialect.expires)? {
            Told::Until(end) => Expiry::At(end),
            Told::Unreadable => Expiry::Unknown,
            Told::Nothing => match dialect.no_expiry {
                NoExpiry::Never => Expiry::Never,
                NoExpiry::Unknown => Expiry::Unknown,
                NoExpiry::Seconds(life) => {
                    Expiry::At(self.asked.sent_at.plus(std::time::Duration::from_secs(life)))
                }
            },
        })
    }

    fn refresh_expires_at(&mut self, dialect: &Dialect) -> Result<Option<Timestamp>, Flaw> {
        Ok(match self.life(&dialect.refresh_expires)? {
            Told::Until(end) => Some(end),
            Told::Unreadable | Told::Nothing => None,
        })
    }

    /// The first member that tells an end; what can't be read is passed over, and remembered.
    fn life(&mut self, members: &[(String, ExpiryKind)]) -> Result<Told, Flaw> {
        let mut told = Told::Nothing;
        for (path, kind) in members {
            let Some(value) = self.member(path)? else {
                continue;
            };
            if matches!(value, Json::Null) {
                self.deviations.push(deviation::LIFE_NOTHING);
                continue;
            }
            let (is_text, spelling) = match value {
                Json::Text(text) => (true, Some(text.as_str())),
                Json::Number(text) => (text.contains('.'), Some(text.as_str())),
                _ => (true, None),
            };
            if is_text && *kind != ExpiryKind::Rfc3339 {
                self.deviations.push(deviation::LIFE_SPELLING);
            }
            match spelling.and_then(|spelling| kind.read(spelling, self.asked.sent_at)) {
                Some(Life::Until(end)) => return Ok(Told::Until(self.by_our_clock(end, *kind))),
                Some(Life::Capped(end)) => {
                    self.deviations.push(deviation::LIFE_CAPPED);
                    return Ok(Told::Until(end));
                }
                Some(Life::Zero) => self.deviations.push(deviation::LIFE_NOTHING),
                None => {
                    self.deviations.push(deviation::LIFE_UNREADABLE);
                    told = Told::Unreadable;
                }
            }
        }
        Ok(told)
    }

    /// A time of the service's, by our clock: never later than it said.
    fn by_our_clock(&mut self, end: Timestamp, kind: ExpiryKind) -> Timestamp {
        let ahead = self.asked.ahead();
        match kind {
            ExpiryKind::Seconds | ExpiryKind::Millis => end,
            ExpiryKind::UnixSeconds | ExpiryKind::UnixMillis | ExpiryKind::Rfc3339 => {
                if ahead >= SKEW_TOLD {
                    self.deviations.push(deviation::CLOCK_AHEAD);
                }
                end.minus(ahead)
            }
        }
    }

    fn extra(&self, dialect: &Dialect) -> Result<BTreeMap<String, String>, Flaw> {
        let mut extra = BTreeMap::new();
        for path in &dialect.keep {
            let value = self.member(path)?.and_then(Json::scalar);
            if let Some(value) = value.filter(|value| value.len() <= EXTRA_BYTES_MAX) {
                extra.insert(path.clone(), value.to_owned());
            }
        }
        Ok(extra)
    }
}

/// What the members about a life tell.
enum Told {
    Until(Timestamp),
    Unreadable,
    Nothing,
}

/// Visible characters and spaces (RFC 6749 App. A.12, A.17): what fits into a header.
fn is_token(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b' '..=b'~')) && !text.starts_with(' ') && !text.ends_with(' ')
}

/// Nothing at all, or what a careless program writes for nothing.
fn is_nothing(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || text.eq_ignore_ascii_case("null") || text == "undefined"
}

fn ambiguous(why: &str) -> Flaw {
    Flaw { verdict: Verdict::Ambiguous, evidence: why.to_owned() }
}

fn unusable_type(why: &str) -> Flaw {
    let evidence = format!("a token type that can't be used: {}", text::clean(why));
    Flaw { verdict: Verdict::Misconfigured, evidence }
}
