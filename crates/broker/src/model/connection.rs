//! A connection: a user's handle on a grant.

use std::collections::BTreeMap;

use indicia_oauth::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::{ClientId, ConnectionId, GrantId};

/// A connection, as stored. What it can do is its grant's; see [`super::GrantRow`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionRow {
    /// Of the user's choosing.
    pub id: ConnectionId,
    /// Whose client.
    pub client: ClientId,
    /// The grant that it points to.
    pub grant: GrantId,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last reconnected or relabelled.
    pub updated_at: Timestamp,
}
