//! What a send needs: whom to, by which rule, with which secret.

use indicia_catalog::{ClientKind, RefreshRule};
use indicia_oauth::TokenEndpoint;

use crate::call::Bound;
use crate::client_gate::ChosenSecret;

/// What a send needs.
pub(crate) struct Fuel {
    pub(crate) bound: Bound,
    pub(crate) rule: RefreshRule,
    pub(crate) endpoint: TokenEndpoint,
    pub(crate) secret: ChosenSecret,
    /// Scopes, for client credentials.
    pub(crate) asked: Vec<String>,
}

impl Fuel {
    /// Whether an answer to this proves that the service takes the client: not one from the
    /// journal.
    pub(crate) fn proves_client(&self) -> bool {
        self.secret.secret.is_some() || self.bound.client.kind == ClientKind::Public
    }
}
