//! A grant: what an account's owner allowed a client (RFC 6749 §1.3). Tokens, lease, intent and
//! version are its own; connections only point to it.

use std::collections::BTreeMap;

use indicia_catalog::Flow;
use indicia_oauth::{Expiry, Timestamp};
use serde::{Deserialize, Serialize};

use super::id::{ClientId, GrantId, HolderId, JournalId};
use crate::vault::{Fingerprint, Sealed};

/// Whose account it is at the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// As the service names it.
    pub id: String,
    /// For people.
    pub name: Option<String>,
}

/// Who refreshes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RotationOwner {
    /// We do.
    Indicia,
    /// Somebody else: we serve and never refresh.
    Other,
}

/// What may be known of a token set without opening it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFacts {
    /// When the access token ends.
    pub expiry: Expiry,
    /// When its request was sent.
    pub obtained_at: Timestamp,
    /// Scopes granted; `None`: as asked.
    pub granted: Option<Vec<String>>,
    /// Keyed fingerprint of the access token.
    pub access: Fingerprint,
    /// Keyed fingerprint of the refresh token, if there is one.
    pub refresh: Option<Fingerprint>,
    /// When this refresh token was first given to us.
    pub refresh_since: Option<Timestamp>,
    /// When the refresh token ends, where told.
    pub refresh_expires_at: Option<Timestamp>,
    /// A different refresh token came at least once: it rotates from then on.
    pub rotated: bool,
    /// The access token was refused by the API (told back): it counts as ended.
    pub rejected: bool,
}

/// How a grant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Life {
    /// As far as we know.
    Alive,
    /// The service refused it: only its owner can renew it.
    Dead,
    /// We took it back.
    Revoked,
}

/// A reason's code: stable, part of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// An answer was lost after the request was sent.
    AnswerLost,
    /// The service's account could not be learnt.
    AccountUnknown,
    /// The service refuses the client.
    ClientRefused,
    /// The grant was refused once; it is tried once more after a pause.
    RefusalUnconfirmed,
    /// The grant was refused.
    GrantRefused,
    /// The service refused many grants of this client within minutes: none is given up for it.
    ManyRefused,
    /// The token ends soon, and there is no refresh token.
    EndsSoon,
    /// There is no refresh token, and the access token has ended or was refused.
    NoRefreshToken,
    /// The refresh token reached its age.
    RefreshTokenExpired,
    /// The refresh token died unused.
    RefreshTokenIdle,
    /// Fewer scopes than asked.
    FewerScopes,
    /// The service is unavailable.
    ServiceUnavailable,
    /// The service asks us to wait.
    Throttled,
    /// Our request or the service file is wrong.
    Misconfigured,
    /// The service answers with nothing that can be read.
    Nonsense,
    /// The answer is kept in the journal; the store could not take it yet.
    StoreBehind,
    /// The answer is kept, but can't be read.
    UnreadableAnswer,
    /// We took it back.
    Revoked,
}

/// Why a grant died, as far as the evidence goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A spend's answer was lost before, so the service saw the refresh token twice.
    AnswerLost,
    /// The refresh token is older than the service lets it be.
    Aged,
    /// It was unused for longer than the service allows.
    Idle,
    /// It comes from a copy of the store, and was replaced at the original since.
    Replaced,
    /// The client's secret changed since the last success.
    SecretChanged,
    /// The account's owner or the service ended it.
    EndedOutside,
}

/// Why a connection is not simply `active`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Code.
    pub code: ReasonCode,
    /// What happened, in words; no secret.
    pub detail: String,
    /// Since when.
    pub since: Timestamp,
    /// What to do, as a command or an act.
    pub next_step: String,
    /// For a dead grant: the cause.
    pub cause: Option<Cause>,
}

/// A spend that the service refused: not sent again to the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedSpend {
    /// What was refused.
    pub fingerprint: Fingerprint,
    /// With which secret, by number.
    pub secret_n: u32,
    /// Where.
    pub endpoint: String,
    /// When last.
    pub at: Timestamp,
    /// How often.
    pub times: u32,
}

/// What is known of a spend that has no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ambiguity {
    /// When it was first sent.
    pub since: Timestamp,
    /// How many of its sends have been noted as lost.
    pub sends: u32,
    /// When the latest was, in milliseconds of [`crate::ports::Clock::boot_millis`].
    pub noted_boot_ms: u64,
}

/// Refusals that are remembered: one for each secret that a client may have at a time, and some.
pub const REFUSALS_MAX: usize = 8;

/// What an outcome left behind. Changes without the version moving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantState {
    /// How it stands.
    pub life: Life,
    /// Why it isn't simply active.
    pub reason: Option<Reason>,
    /// Refused before, by secret and endpoint; the latest last, at most [`REFUSALS_MAX`].
    #[serde(default)]
    pub refusals: Vec<RefusedSpend>,
    /// Failures in a row.
    pub failures: u32,
    /// No request before this.
    pub retry_at: Option<Timestamp>,
    /// A spend whose answer was lost, until it is resolved.
    #[serde(default)]
    pub ambiguity: Option<Ambiguity>,
    /// Number of the secret that last worked.
    pub secret_n: Option<u32>,
    /// When this version came of a spend that had been sent more than once, in milliseconds of
    /// [`crate::ports::Clock::boot_millis`]: one of the other sends may still be on its way, and is
    /// forgiven only while what came of it isn't spent in turn.
    #[serde(default)]
    pub resent_boot_ms: Option<u64>,
}

impl GrantState {
    /// Alive and well.
    pub fn alive() -> Self {
        Self {
            life: Life::Alive,
            reason: None,
            refusals: Vec::new(),
            failures: 0,
            retry_at: None,
            ambiguity: None,
            secret_n: None,
            resent_boot_ms: None,
        }
    }
}

/// The right to refresh now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Whose.
    pub holder: HolderId,
    /// Which claim of this grant it was: rises with each, never falls.
    pub no: u64,
    /// End, in milliseconds of [`crate::ports::Clock::boot_millis`].
    pub until_boot_ms: u64,
}

/// The durable note before a spend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The version that is spent from.
    pub version: u64,
    /// What is spent.
    pub fingerprint: Fingerprint,
    /// Whose journal would hold the answer.
    pub journal: JournalId,
    /// Under which claim.
    pub lease_no: u64,
    /// When it was first sent (wall clock).
    pub at: Timestamp,
    /// How often it was sent, this one included.
    pub sends: u32,
    /// When this send was begun, in milliseconds of [`crate::ports::Clock::boot_millis`].
    pub begun_boot_ms: u64,
}

/// A grant, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRow {
    /// Random, hex.
    pub id: GrantId,
    /// Whose client.
    pub client: ClientId,
    /// How it was obtained.
    pub flow: Flow,
    /// Connection-level inputs, and what was learnt from callbacks and answers.
    pub inputs: BTreeMap<String, String>,
    /// Whose account.
    pub account: Option<Account>,
    /// Scopes asked for.
    pub asked: Vec<String>,
    /// Who refreshes.
    pub rotation_owner: RotationOwner,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts the commits of token sets, from 1; never falls.
    pub version: u64,
    /// The token set, sealed for this version.
    pub tokens: Sealed,
    /// What may be known of it.
    pub facts: TokenFacts,
    /// What outcomes left behind.
    pub state: GrantState,
    /// When it is due for a look; `None`: never by itself.
    pub next_at: Option<Timestamp>,
    /// Who may refresh now.
    pub lease: Option<Lease>,
    /// An open spend.
    pub intent: Option<Intent>,
}
