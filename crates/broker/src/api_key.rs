//! The flow `api-key`: no OAuth. The account's owner makes a key at the service and hands it over;
//! it is held like an access token that never ends and can't be refreshed.

use std::sync::Arc;

use indicia_catalog::{Flow, Service};
use indicia_oauth::{AccessToken, Expiry, Timestamp, TokenSet};

use crate::Broker;
use crate::adopt::Adoption;
use crate::call::Bound;
use crate::connect::ConnectRequest;
use crate::error::Error;
use crate::model::{ConnectionId, RotationOwner};
use crate::probe::Probed;
use crate::view::ConnectionView;

/// What a person is asked for.
#[derive(Clone, Debug)]
pub struct KeyStep {
    /// The connection that will be made or renewed.
    pub connection: String,
    /// What each part of the key is called there; they are joined by `:`.
    pub parts: Vec<String>,
    /// Where its owner finds or makes it.
    pub help: String,
    /// There are no scopes that could be seen from here: the key can do what its owner let it.
    pub full_access: bool,
}

impl Broker {
    /// Connects by a key, at the step that [`Broker::connect`] gave for the same request. The
    /// service is asked whether it takes it, where it has a call for that; a refused key changes
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Refused`]: it isn't like the service's keys, or the service refuses it.
    /// [`Error::Unavailable`]: the service can't be asked now. [`Error::Conflict`]: it is another
    /// account's than the connection's.
    pub async fn connect_key(
        self: &Arc<Self>,
        request: ConnectRequest,
        key: AccessToken,
    ) -> Result<ConnectionView, Error> {
        self.may_send().await?;
        let client = self.client_named(&request.client).await?;
        let bound = self.bound_for(client, &request.inputs)?;
        let tokens = token_set(&bound.service, key)?;
        self.must_be_taken(&bound, &tokens).await?;
        let connection = self.connection_id(&bound, request.id.as_deref()).await?;
        self.adopt(adoption(bound, connection, request, tokens, self.ports.clock.now())).await
    }

    pub(crate) async fn key_step(
        &self,
        bound: &Bound,
        connection: ConnectionId,
    ) -> Result<KeyStep, Error> {
        // Before anybody is asked for a key.
        bound.service.probe(bound.cx()).map_err(|e| bound.filled(e))?;
        let rule = bound.service.api_key.as_ref();
        let rule = rule.ok_or_else(|| Error::Internal("a flow without its key".into()))?;
        Ok(KeyStep {
            connection: connection.to_string(),
            parts: rule.parts.clone(),
            help: rule.help.clone(),
            full_access: bound.service.scopes.full_access,
        })
    }

    /// Asks the API, by its harmless call.
    async fn must_be_taken(&self, bound: &Bound, tokens: &TokenSet) -> Result<(), Error> {
        let name = &bound.service.name;
        // What its address lacks is for who typed it.
        bound.service.probe(bound.cx()).map_err(|e| bound.filled(e))?;
        match self.probe_with(bound, tokens.access_token.expose()).await {
            Probed::Taken | Probed::NoCall => Ok(()),
            // mark: refused-key-stores-nothing
            Probed::Refused(status) => Err(Error::Refused {
                code: "key_refused",
                field: "key".into(),
                detail: format!("{name} refuses this key (status {status})"),
                hint: "copy it anew, and check that it is of this account and may read".into(),
            }),
            Probed::Unknown(why) => Err(Error::Unavailable {
                code: "service_unavailable",
                detail: format!("{name} can't be asked whether it takes this key: {why}"),
                retry_after: None,
                hint: "try again; nothing was stored".into(),
            }),
        }
    }
}

/// A key as a token set: good until somebody ends it.
pub(crate) fn token_set(service: &Service, key: AccessToken) -> Result<TokenSet, Error> {
    if !service.flows.contains(&Flow::ApiKey) {
        return Err(Error::Refused {
            code: "flow_not_offered",
            field: "flow".into(),
            detail: format!("{} takes no API keys here", service.name),
            hint: format!("`indicia services show {}` lists its flows", service.id),
        });
    }
    service.check_api_key(key.expose()).map_err(|error| Error::Refused {
        code: "key_malformed",
        field: "api-key".into(),
        detail: error.to_string(),
        hint: format!("`indicia services show {}` says where it stands", service.id),
    })?;
    Ok(TokenSet {
        access_token: key,
        refresh_token: None,
        token_type: TOKEN_TYPE.to_owned(),
        scopes: None,
        expiry: Expiry::Never,
        refresh_expires_at: None,
        extra: std::collections::BTreeMap::new(),
        deviations: Vec::new(),
    })
}

fn adoption(
    bound: Bound,
    connection: ConnectionId,
    request: ConnectRequest,
    tokens: TokenSet,
    now: Timestamp,
) -> Adoption {
    Adoption {
        bound,
        connection,
        flow: Flow::ApiKey,
        consent: None,
        asked: Vec::new(),
        labels: request.labels,
        other_account: request.other_account,
        tokens,
        sent_at: now,
        in_journal: false,
        secret_n: None,
        owner: RotationOwner::Indicia,
        learn_account: true,
    }
}

/// Ours: no token answer says it.
const TOKEN_TYPE: &str = "api-key";
