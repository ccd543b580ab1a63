//! A client: an application as registered in a service's developer portal (RFC 6749 §2).

use std::collections::BTreeMap;

use indicia_catalog::ClientKind;
use indicia_oauth::Timestamp;
use serde::{Deserialize, Serialize};

use crate::client_key::PublicKey;

use super::id::{ClientId, GrantId};
use crate::vault::Sealed;

/// Where a client's requests go. Fixed when it is added, shown everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Environment {
    /// The real service.
    #[default]
    Live,
    /// A simulated service at `address` (`127.0.0.1:PORT`): `https://HOST/PATH` is rewritten to
    /// `http://ADDRESS/HOST/PATH`, after the host patterns were checked.
    Sandbox {
        /// `127.0.0.1:PORT`.
        address: String,
    },
}

/// The life of a client secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretState {
    /// Known here, not used yet unless the current one is refused.
    Staged,
    /// In use.
    Current,
    /// Used before; tried only when the current one is refused.
    Retiring,
    /// Wiped.
    Retired,
}

/// One client secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRow {
    /// Number within the client, from 1: the "secret version".
    pub n: u32,
    /// Its state.
    pub state: SecretState,
    /// Sealed text; `None` once retired.
    pub sealed: Option<Sealed>,
    /// When it was added.
    pub added_at: Timestamp,
    /// Its last day, where known.
    pub expires_at: Option<Timestamp>,
    /// The input value that it belongs to (a data centre), where the service has it so.
    pub for_input: Option<String>,
    /// The public part, where the secret is a private key (RFC 7523); kept once it is retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PublicKey>,
}

/// The service refused the client: a verdict shared by all of its grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRefused {
    /// Secrets refused so far, by number; 0 stands for "no secret" (a public client).
    pub secrets: Vec<u32>,
    /// When first.
    pub since: Timestamp,
    /// Until then nobody tries; then one canary does.
    pub retry_at: Timestamp,
    /// What the service said, in safe words.
    pub said: String,
}

/// Grants of a client that the service refused one after the other, none granted in between.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantsRefused {
    /// Which, and when; the latest last.
    pub grants: Vec<(GrantId, Timestamp)>,
    /// Those whose answer was lost before, which says nothing of others; the latest last.
    #[serde(default)]
    pub lost: Vec<(GrantId, Timestamp)>,
    /// Given up before they were too many, or before that was over, and not taken up again yet.
    #[serde(default)]
    pub revive: Vec<GrantId>,
    /// Set when they are too many to be believed.
    pub held: Option<GrantsHeld>,
    /// Nothing was granted for so long that they are, until something is.
    pub believed: bool,
}

impl GrantsRefused {
    /// All that were refused, whatever the cause.
    pub fn all(&self) -> impl Iterator<Item = &GrantId> {
        self.grants.iter().chain(&self.lost).map(|(id, _)| id)
    }
}

/// The client's refreshes are held: its service refuses everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantsHeld {
    /// Since when.
    pub since: Timestamp,
    /// Until then nobody tries; then one canary does.
    pub retry_at: Timestamp,
    /// What the service said, in safe words.
    pub said: String,
}

/// A registered application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRow {
    /// Our id.
    pub id: ClientId,
    /// Catalogue id.
    pub service: String,
    /// The service's client identifier.
    pub client_id: String,
    /// Confidential or public.
    pub kind: ClientKind,
    /// Registered redirect URI.
    pub redirect_uri: String,
    /// Client-level inputs.
    pub inputs: BTreeMap<String, String>,
    /// Settings.
    pub settings: BTreeMap<String, String>,
    /// Live or sandbox.
    pub environment: Environment,
    /// Secrets, by number.
    pub secrets: Vec<SecretRow>,
    /// Set while the service refuses this client.
    pub refused: Option<ClientRefused>,
    /// Refusals of its grants.
    #[serde(default)]
    pub grants_refused: GrantsRefused,
    /// When it was added.
    pub created_at: Timestamp,
    /// Counts changes, from 1: [`crate::ports::Store::update_client`] compares it.
    pub revision: u64,
}
