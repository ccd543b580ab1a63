//! Refusals in the service's own dialect: the catalogue reads answers by its error rows, and the
//! simulated service plays the reverse, each row's example.

use indicia_catalog::Service;
use indicia_catalog::service::Example;
use indicia_oauth::{Answer, ErrorRow, Verdict};
use serde_json::json;

use crate::wire;

/// Whose dialect.
#[derive(Clone, Copy)]
pub(crate) enum Dialect {
    /// The token endpoint's.
    Token,
    /// The API's.
    Api,
}

/// Why a request is refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What the client should read from the answer.
    pub verdict: Verdict,
    /// RFC 6749 §5.2 error code, where no row of the service says otherwise.
    pub code: &'static str,
    /// For the record.
    pub why: String,
    /// Status of the row that says it, where the verdict alone isn't enough.
    pub status: Option<u16>,
    /// What the `Retry-After` header says.
    pub retry_after_secs: Option<u64>,
}

impl Refusal {
    fn new(verdict: Verdict, code: &'static str, why: impl Into<String>) -> Self {
        Self { verdict, code, why: why.into(), status: None, retry_after_secs: None }
    }

    /// The code or refresh token isn't good.
    pub fn grant(why: impl Into<String>) -> Self {
        Self::new(Verdict::GrantRefused, "invalid_grant", why)
    }

    /// The client isn't known, or not proven.
    pub fn client(why: impl Into<String>) -> Self {
        Self::new(Verdict::ClientRefused, "invalid_client", why)
    }

    /// The request is wrong.
    pub fn request(why: impl Into<String>) -> Self {
        Self::new(Verdict::Misconfigured, "invalid_request", why)
    }

    /// The grant type isn't offered.
    pub fn grant_type(why: impl Into<String>) -> Self {
        Self::new(Verdict::Misconfigured, "unsupported_grant_type", why)
    }

    /// A poll's answer that is no token (RFC 8628 §3.5). No row of a service speaks of it.
    pub fn device(code: &'static str, why: &str) -> Self {
        let refusal = Self::new(Verdict::Nonsense, code, why);
        Self { status: Some(400), ..refusal }
    }

    /// The scope isn't.
    pub fn scope(why: impl Into<String>) -> Self {
        Self::new(Verdict::Misconfigured, "invalid_scope", why)
    }

    /// Too many.
    pub fn throttled(why: impl Into<String>, secs: u64) -> Self {
        let refusal = Self::new(Verdict::Throttled, "slow_down", why);
        Self { retry_after_secs: Some(secs), ..refusal }
    }

    /// The answer.
    pub fn answer(&self, service: &Service, dialect: Dialect) -> Answer {
        let found = self.example(service, dialect);
        // A service whose waits stand in its file is one that doesn't tell them.
        let tells = found.as_ref().is_none_or(|(row, _)| row.retry_after_secs.is_none());
        let mut answer = match found {
            Some((_, e)) => wire::answer(e.status, &e.content_type, e.body.clone()),
            None => self.standard(dialect),
        };
        if let Some(secs) = self.retry_after_secs.filter(|_| tells) {
            answer.headers.push(("retry-after".to_owned(), secs.to_string()));
        }
        answer
    }

    /// RFC 6749 §5.2 and RFC 6750 §3.1.
    fn standard(&self, dialect: Dialect) -> Answer {
        let status = match (self.verdict, dialect) {
            _ if self.status.is_some() => self.status.unwrap_or(400),
            (Verdict::ClientRefused, _) | (Verdict::GrantRefused, Dialect::Api) => 401,
            (Verdict::Throttled, _) => 429,
            _ => 400,
        };
        let code = match (self.verdict, dialect) {
            (Verdict::GrantRefused, Dialect::Api) => "invalid_token",
            _ => self.code,
        };
        let body = json!({ "error": code, "error_description": self.why });
        let mut answer = wire::json(status, &body);
        if status == 401 {
            let challenge = match dialect {
                Dialect::Token => "Basic realm=\"sandbox\"".to_owned(),
                Dialect::Api => format!("Bearer realm=\"sandbox\", error=\"{code}\""),
            };
            answer.headers.push(("www-authenticate".to_owned(), challenge));
        }
        answer
    }

    /// The row that says this, with its example: one that spells the code, else the first of the
    /// verdict.
    fn example<'a>(
        &self,
        service: &'a Service,
        dialect: Dialect,
    ) -> Option<(&'a ErrorRow, &'a Example)> {
        let (rows, examples) = match dialect {
            Dialect::Token => (&service.dialect.errors, &service.examples),
            Dialect::Api => (&service.api_dialect.errors, &service.api_examples),
        };
        let status = self.status;
        let fits = |(row, example): &(&ErrorRow, &Example)| {
            row.verdict == self.verdict && status.is_none_or(|status| status == example.status)
        };
        let spells = |(_, example): &(&ErrorRow, &Example)| {
            example.body.to_ascii_lowercase().contains(self.code)
        };
        let fitting = rows.iter().zip(examples).filter(fits);
        // Misconfigured has many causes: one row's example is no answer to another cause.
        let told = self.verdict != Verdict::Misconfigured || status.is_some();
        let spelt = fitting.clone().find(spells);
        spelt.or_else(|| fitting.clone().next().filter(|_| told))
    }
}
