//! A token set as bytes to seal, and back. A private mirror is what serializes, so that the token
//! set itself can't be printed or stored by accident.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use super::TokenSet;
use crate::deviation;
use crate::expiry::Expiry;
use crate::secret::{AccessToken, RefreshToken};
use crate::time::Timestamp;

/// The format that [`TokenSet::to_bytes`] writes.
const FORMAT: u8 = 1;

#[derive(Serialize)]
struct Written<'a> {
    format: u8,
    access_token: &'a str,
    refresh_token: Option<&'a str>,
    token_type: &'a str,
    scopes: Option<&'a [String]>,
    expiry: Expiry,
    refresh_expires_at: Option<Timestamp>,
    extra: &'a BTreeMap<String, String>,
    deviations: &'a [&'static str],
}

#[derive(Deserialize)]
struct Kept {
    format: u8,
    access_token: Wiped,
    refresh_token: Option<Wiped>,
    token_type: String,
    scopes: Option<Vec<String>>,
    expiry: Expiry,
    refresh_expires_at: Option<Timestamp>,
    extra: BTreeMap<String, String>,
    deviations: Vec<String>,
}

struct Wiped(Zeroizing<String>);

impl<'de> Deserialize<'de> for Wiped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

impl TokenSet {
    /// Bytes to seal: JSON with every member.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let written = Written {
            format: FORMAT,
            access_token: self.access_token.expose(),
            refresh_token: self.refresh_token.as_ref().map(RefreshToken::expose),
            token_type: &self.token_type,
            scopes: self.scopes.as_deref(),
            expiry: self.expiry,
            refresh_expires_at: self.refresh_expires_at,
            extra: &self.extra,
            deviations: &self.deviations,
        };
        // Measured first: a growing buffer would leave copies of the tokens behind.
        let mut measure = Measure(0);
        let mut out = Zeroizing::new(Vec::new());
        let measured = serde_json::to_writer(&mut measure, &written);
        out.reserve_exact(measure.0);
        let wrote = serde_json::to_writer(&mut *out, &written);
        debug_assert!(measured.is_ok() && wrote.is_ok(), "plain data always serializes");
        out
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` when it is not that.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let kept: Kept = serde_json::from_slice(bytes).ok()?;
        if kept.format != FORMAT || kept.access_token.0.is_empty() {
            return None;
        }
        let known = |text: &String| deviation::ALL.into_iter().find(|known| known == text);
        Some(Self {
            access_token: AccessToken::new(kept.access_token.0.as_str()),
            refresh_token: kept.refresh_token.map(|token| RefreshToken::new(token.0.as_str())),
            token_type: kept.token_type,
            scopes: kept.scopes,
            expiry: kept.expiry,
            refresh_expires_at: kept.refresh_expires_at,
            extra: kept.extra,
            deviations: kept.deviations.iter().filter_map(known).collect(),
        })
    }
}

struct Measure(usize);

impl Write for Measure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
