//! What the verbs give back: the objects of the command line's JSON and of the HTTP interface,
//! field for field. Only [`TokenView`] holds a secret, and it does not print.

use std::collections::BTreeMap;

use indicia_catalog::{ClientKind, Flow, Rotation};
use indicia_oauth::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::client_key::PublicKey;
use crate::model::{Account, Cause, Environment, Reason, SecretState};

/// A moment as RFC 3339 in UTC, the form of all JSON.
pub fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis())
        .map_or_else(|_| String::from("out of range"), |t| format!("{t:.0}"))
}

/// Serializes a moment as RFC 3339.
pub(crate) fn time<S: serde::Serializer>(at: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&rfc3339(*at))
}

/// Serializes an optional moment as RFC 3339 or null.
pub(crate) fn time_opt<S: serde::Serializer>(
    at: &Option<Timestamp>,
    s: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => s.serialize_str(&rfc3339(*at)),
        None => s.serialize_none(),
    }
}

/// States of a connection. Nothing else; what is transient is not a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// All is well.
    Active,
    /// Works, but something behind it fails; the reason is a code.
    Attention,
    /// Only the account's owner can renew it.
    ReauthorizationRequired,
    /// Taken back.
    Revoked,
}

/// The three kinds of expiry, as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpiryKind {
    /// At a time.
    At,
    /// Never.
    Never,
    /// Not told.
    Unknown,
}

/// Something wrong behind a token that is still good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Stable code.
    pub code: String,
    /// In words.
    pub detail: String,
}

/// A valid token, ready to use. Holds secrets: no `Debug`, no `Serialize`; [`Self::to_json`] is the
/// one way out, into wiped memory.
pub struct TokenView {
    /// The connection.
    pub connection: String,
    /// Its service.
    pub service: String,
    /// Whose account.
    pub account: Option<Account>,
    /// State of the grant.
    pub state: ConnectionState,
    /// The access token.
    pub access_token: Zeroizing<String>,
    /// As the service spelt it.
    pub token_type: String,
    /// Kind of expiry.
    pub expiry: ExpiryKind,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Granted (or, where not told, asked) scopes.
    pub scopes: Vec<String>,
    /// All headers that a call to the API needs, `Authorization` included.
    pub headers: Vec<(String, Zeroizing<String>)>,
    /// Parameters that the query of a call needs, where the token travels there.
    pub query: Vec<(String, Zeroizing<String>)>,
    /// Members that the body of a call needs, form or JSON, where the token travels there.
    pub body: Vec<(String, Zeroizing<String>)>,
    /// Where API calls go.
    pub api_base_url: Option<String>,
    /// Version of the grant.
    pub version: u64,
    /// What is wrong behind it.
    pub warnings: Vec<Warning>,
}

impl TokenView {
    /// A copy, as secret as the original.
    pub(crate) fn copy(&self) -> Self {
        Self {
            connection: self.connection.clone(),
            service: self.service.clone(),
            account: self.account.clone(),
            state: self.state,
            access_token: self.access_token.clone(),
            token_type: self.token_type.clone(),
            expiry: self.expiry,
            expires_at: self.expires_at,
            scopes: self.scopes.clone(),
            headers: self.headers.clone(),
            query: self.query.clone(),
            body: self.body.clone(),
            api_base_url: self.api_base_url.clone(),
            version: self.version,
            warnings: self.warnings.clone(),
        }
    }

    /// The token object of the contract, as JSON text in memory that is wiped.
    pub fn to_json(&self) -> Zeroizing<String> {
        let json = TokenJson {
            connection: &self.connection,
            service: &self.service,
            account: self.account.as_ref(),
            state: self.state,
            access_token: &self.access_token,
            token_type: &self.token_type,
            expiry: self.expiry,
            expires_at: self.expires_at,
            scopes: &self.scopes,
            headers: pairs(&self.headers),
            query: pairs(&self.query),
            body: pairs(&self.body),
            api_base_url: self.api_base_url.as_deref(),
            version: self.version,
            warnings: &self.warnings,
        };
        // Text and numbers always serialize.
        Zeroizing::new(serde_json::to_string(&json).unwrap_or_default())
    }
}

/// The contract's spelling; lives only while it is written.
#[derive(Serialize)]
struct TokenJson<'a> {
    connection: &'a str,
    service: &'a str,
    account: Option<&'a Account>,
    state: ConnectionState,
    access_token: &'a str,
    token_type: &'a str,
    expiry: ExpiryKind,
    #[serde(serialize_with = "time_opt")]
    expires_at: Option<Timestamp>,
    scopes: &'a [String],
    headers: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    body: BTreeMap<&'a str, &'a str>,
    api_base_url: Option<&'a str>,
    version: u64,
    warnings: &'a [Warning],
}

fn pairs(texts: &[(String, Zeroizing<String>)]) -> BTreeMap<&str, &str> {
    texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect()
}

/// Where a connection's scopes stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScopesView {
    /// Asked for.
    pub asked: Vec<String>,
    /// Granted; as asked where the service doesn't tell.
    pub granted: Vec<String>,
}

/// How a connection is refreshed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefreshView {
    /// When the token set was last replaced.
    #[serde(serialize_with = "time_opt")]
    pub last_at: Option<Timestamp>,
    /// When it is due.
    #[serde(serialize_with = "time_opt")]
    pub next_at: Option<Timestamp>,
    /// How the service treats its refresh token.
    pub rotation: Rotation,
}

/// A reason, as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReasonView {
    /// Stable code.
    pub code: crate::model::ReasonCode,
    /// In words.
    pub detail: String,
    /// Since when.
    #[serde(serialize_with = "time")]
    pub since: Timestamp,
    /// What to do.
    pub next_step: String,
}

impl From<&Reason> for ReasonView {
    fn from(reason: &Reason) -> Self {
        Self {
            code: reason.code,
            detail: reason.detail.clone(),
            since: reason.since,
            next_step: reason.next_step.clone(),
        }
    }
}

/// A connection, as shown. No secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionView {
    /// Id.
    pub id: String,
    /// Service.
    pub service: String,
    /// Client (our id).
    pub client: String,
    /// How its grant was obtained.
    pub flow: Flow,
    /// State.
    pub state: ConnectionState,
    /// Why, if not simply active.
    pub reason: Option<ReasonView>,
    /// Whose account.
    pub account: Option<Account>,
    /// Scopes.
    pub scopes: ScopesView,
    /// Kind of expiry of the access token.
    pub expiry: ExpiryKind,
    /// When it ends.
    #[serde(serialize_with = "time_opt")]
    pub expires_at: Option<Timestamp>,
    /// Refresh.
    pub refresh: RefreshView,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Made.
    #[serde(serialize_with = "time")]
    pub created_at: Timestamp,
    /// Changed.
    #[serde(serialize_with = "time")]
    pub updated_at: Timestamp,
    /// Version of the grant.
    pub version: u64,
    /// Live or sandbox, with its address.
    pub environment: Environment,
    /// A file of the user's own that takes the place of the shipped service, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overridden: Option<String>,
}

/// A client secret, as shown: never the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretView {
    /// Number.
    pub n: u32,
    /// State.
    pub state: SecretState,
    /// Added.
    #[serde(serialize_with = "time")]
    pub added_at: Timestamp,
    /// Last day.
    #[serde(serialize_with = "time_opt")]
    pub expires_at: Option<Timestamp>,
    /// The public part of a private key, for the service's portal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PublicKey>,
}

/// A client, as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientView {
    /// Id.
    pub id: String,
    /// Service.
    pub service: String,
    /// The service's client identifier.
    pub client_id: String,
    /// Kind.
    pub kind: ClientKind,
    /// Redirect URI.
    pub redirect_uri: String,
    /// Inputs.
    pub inputs: BTreeMap<String, String>,
    /// Settings.
    pub settings: BTreeMap<String, String>,
    /// Secrets.
    pub secrets: Vec<SecretView>,
    /// Made.
    #[serde(serialize_with = "time")]
    pub created_at: Timestamp,
    /// Live or sandbox.
    pub environment: Environment,
    /// A file of the user's own that takes the place of the shipped service, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overridden: Option<String>,
    /// What the service said when it refused this client, if it does.
    pub refused: Option<String>,
}

/// One line of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReceiptItem {
    /// What was taken back.
    pub what: String,
    /// The call, without secrets.
    pub call: Option<String>,
    /// What the service answered.
    pub answer: Option<String>,
    /// When.
    #[serde(serialize_with = "time_opt")]
    pub at: Option<Timestamp>,
    /// How far.
    pub state: crate::model::RevocationItemState,
    /// What to do by hand.
    pub next_step: Option<String>,
}

/// Proof that a token is dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProofView {
    /// Which call was refused.
    pub probe: String,
    /// When.
    #[serde(serialize_with = "time")]
    pub at: Timestamp,
}

/// The receipt of a revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// Id.
    pub id: String,
    /// Connections that ended.
    pub connections: Vec<String>,
    /// When it was asked for.
    #[serde(serialize_with = "time")]
    pub requested_at: Timestamp,
    /// Always `off`: local use ended before this was written.
    pub local: &'static str,
    /// The service's side.
    pub service: Vec<ReceiptItem>,
    /// Proof, where the service has a probe.
    pub proof: Option<ProofView>,
}

/// Why a connection is as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The connection.
    pub connection: String,
    /// Its state.
    pub state: ConnectionState,
    /// Whether a valid token is served now, and until when.
    pub serving: bool,
    /// End of the token that is served.
    #[serde(serialize_with = "time_opt")]
    pub serving_until: Option<Timestamp>,
    /// Reason code, if not simply active.
    pub code: Option<crate::model::ReasonCode>,
    /// The cause of a death, by the evidence.
    pub cause: Option<Cause>,
    /// In words.
    pub summary: String,
    /// What we know, line by line.
    pub evidence: Vec<String>,
    /// What to do.
    pub next_step: String,
}
