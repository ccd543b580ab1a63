//! The eight verdicts on what became of a token request. Data, never an error: what follows from
//! them is [`crate::decide`]'s.
#![warn(clippy::wildcard_enum_match_arm)]

use std::time::Duration;

use indicia_oauth::{
    Answer, Dialect, Reading, Refusal, Timestamp, TokenSet, Verdict, token_answer,
};

use crate::spoken::Spoken;

/// What is known of a refusal; safe to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// HTTP status, when an answer came.
    pub status: Option<u16>,
    /// The service's error code.
    pub code: Option<String>,
    /// In words.
    pub text: String,
    /// How long the service asks to wait, 1 s to 1 h.
    pub retry_after: Option<Duration>,
    /// The answer was 2xx, so it is kept in the journal.
    pub kept: bool,
}

/// The verdict. Sources: DESIGN §1.1; RFC 6749 §5.2, RFC 6585, RFC 8628 §3.5.
pub enum Outcome {
    /// A usable token came.
    Granted(Box<TokenSet>),
    /// Later, for pace; not processed.
    Throttled(Evidence),
    /// Later; not processed.
    Unavailable(Evidence),
    /// It may have been processed.
    Ambiguous(Evidence),
    /// The grant was refused.
    GrantRefused(Evidence),
    /// The client was refused; no grant is to blame.
    ClientRefused(Evidence),
    /// Our request or the service file is wrong.
    Misconfigured(Evidence),
    /// Nothing that can be read; never a verdict on the grant.
    Nonsense(Evidence),
}

impl Outcome {
    /// Its name, for events and explanations.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Granted(_) => "granted",
            Self::Throttled(_) => "throttled",
            Self::Unavailable(_) => "unavailable",
            Self::Ambiguous(_) => "ambiguous",
            Self::GrantRefused(_) => "grant_refused",
            Self::ClientRefused(_) => "client_refused",
            Self::Misconfigured(_) => "misconfigured",
            Self::Nonsense(_) => "nonsense",
        }
    }

    /// No byte of the request was handed over.
    pub fn not_sent(why: &str) -> Self {
        Self::Unavailable(Evidence { text: why.to_owned(), ..Evidence::default() })
    }

    /// A byte was handed over, and no usable answer came.
    pub fn lost(why: &str) -> Self {
        Self::Ambiguous(Evidence { text: why.to_owned(), ..Evidence::default() })
    }
}

/// Classifies an answer of a token endpoint by the service's dialect. Pure. What the request
/// `spoke` in secret is hidden in the evidence, should the service echo it.
pub fn classify(
    answer: &Answer,
    dialect: &Dialect,
    sent_at: Timestamp,
    spoken: &Spoken,
) -> Outcome {
    let first = match token_answer::read(answer, dialect, sent_at) {
        Reading::Granted(tokens) => return Outcome::Granted(tokens),
        Reading::Refused(refusal) => refusal,
    };
    let shown = match token_answer::read(&spoken.hidden(answer), dialect, sent_at) {
        Reading::Refused(shown) => shown,
        Reading::Granted(_) => Refusal { code: None, description: None, ..first.clone() },
    };
    refused(Refusal { verdict: first.verdict, ..shown }, answer.is_success())
}

fn refused(refusal: Refusal, kept: bool) -> Outcome {
    let verdict = refusal.verdict;
    let evidence = Evidence {
        status: Some(refusal.status),
        text: words(&refusal),
        code: refusal.code,
        retry_after: refusal.retry_after,
        kept,
    };
    match verdict {
        Verdict::Throttled => Outcome::Throttled(evidence),
        Verdict::Unavailable => Outcome::Unavailable(evidence),
        // A reader never refuses with `Granted`; were it to, "maybe processed" is the safe reading.
        Verdict::Ambiguous | Verdict::Granted => Outcome::Ambiguous(evidence),
        Verdict::GrantRefused => Outcome::GrantRefused(evidence),
        Verdict::ClientRefused => Outcome::ClientRefused(evidence),
        Verdict::Misconfigured => Outcome::Misconfigured(evidence),
        Verdict::Nonsense => Outcome::Nonsense(evidence),
    }
}

fn words(refusal: &Refusal) -> String {
    let mut text = format!("status {}", refusal.status);
    for part in [&refusal.code, &refusal.description].into_iter().flatten() {
        text.push_str(", ");
        text.push_str(part);
    }
    if let Some(host) = &refusal.location_host {
        text.push_str(", redirect to ");
        text.push_str(host);
    }
    if !refusal.evidence.is_empty() {
        text.push_str(", ");
        text.push_str(&refusal.evidence);
    }
    text
}
