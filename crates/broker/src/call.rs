//! A client with its service and inputs: everything that a call to the service is built from.

use std::collections::BTreeMap;
use std::sync::Arc;

use indicia_catalog::template::FillError;
use indicia_catalog::{Context, GrantType, RefreshRule, Service};
use indicia_oauth::{Answer, TokenEndpoint, Verdict, token_answer};

use crate::Broker;
use crate::error::Error;
use crate::model::{ClientId, ClientRow};

/// A client bound to its service, with all inputs that are known.
pub(crate) struct Bound {
    pub(crate) client: Arc<ClientRow>,
    pub(crate) service: Arc<Service>,
    pub(crate) inputs: BTreeMap<String, String>,
}

impl Bound {
    pub(crate) fn cx(&self) -> Context<'_> {
        Context { kind: self.client.kind, inputs: &self.inputs, settings: &self.client.settings }
    }

    /// The endpoint of a grant type, at this client's environment.
    pub(crate) fn token_endpoint(&self, grant: GrantType) -> Result<TokenEndpoint, Error> {
        let endpoint = self.service.token_endpoint(grant, self.cx()).map_err(|e| self.filled(e))?;
        match endpoint {
            Some(endpoint) => Ok(self.at_environment(endpoint)),
            None => Err(Error::Refused {
                code: "flow_not_offered",
                field: "flow".into(),
                detail: format!("{} does not offer this flow", self.service.name),
                hint: format!("`indicia services show {}` lists its flows", self.service.id),
            }),
        }
    }

    /// The endpoint, as this client's environment has it.
    pub(crate) fn at_environment(&self, endpoint: TokenEndpoint) -> TokenEndpoint {
        TokenEndpoint { url: self.client.environment.address_of(&endpoint.url), ..endpoint }
    }

    pub(crate) fn refresh_rule(&self) -> RefreshRule {
        self.service.refresh_rule(self.cx())
    }

    /// The input value that the client's secret depends on, where the service has it so.
    pub(crate) fn secret_input(&self) -> Option<&str> {
        let input = self.service.secrets.per_input.as_ref()?;
        self.inputs.get(input).map(String::as_str)
    }

    /// A template that can't be filled in, as an error for the user.
    pub(crate) fn filled(&self, error: FillError) -> Error {
        let field = match &error {
            FillError::Missing(name) | FillError::Refused { name, .. } => name.clone(),
        };
        Error::Refused {
            code: "input_refused",
            detail: error.to_string(),
            hint: format!(
                "give it with --input {field}=VALUE; `indicia services show {}` says what it is",
                self.service.id
            ),
            field,
        }
    }
}

impl Broker {
    /// Binds a client to its service; the client's inputs go before the connection's.
    pub(crate) fn bind(
        &self,
        client: impl Into<Arc<ClientRow>>,
        inputs: &BTreeMap<String, String>,
    ) -> Result<Bound, Error> {
        let client = client.into();
        let service = self.service(&client.service)?;
        let mut all = inputs.clone();
        all.extend(client.inputs.clone());
        Ok(Bound { client, service, inputs: all })
    }

    /// A service of the catalogue.
    pub(crate) fn service(&self, id: &str) -> Result<Arc<Service>, Error> {
        self.catalogue.service(id).ok_or_else(|| Error::no_service(&self.catalogue, id))
    }

    /// A client as a read needs it: as it was when it was last looked up, until it is known to have
    /// changed.
    pub(crate) async fn client_seen(&self, id: &ClientId) -> Result<Arc<ClientRow>, Error> {
        if let Some(row) = self.cache.client(id) {
            return Ok(row);
        }
        let read_at = self.cache.now();
        let row = Arc::new(self.client_row(id).await?);
        self.cache.put_client(Arc::clone(&row), read_at);
        Ok(row)
    }

    /// A client that must be there.
    pub(crate) async fn client_row(&self, id: &ClientId) -> Result<ClientRow, Error> {
        match self.ports.store.client(id).await? {
            Some(row) => Ok(row),
            None => Err(Error::NotFound {
                what: "client",
                id: id.to_string(),
                nearest: Box::pin(self.near_clients(id.as_str())).await?,
            }),
        }
    }

    async fn near_clients(&self, id: &str) -> Result<Vec<String>, Error> {
        let all = self.ports.store.clients().await?;
        let near = |c: &ClientRow| c.id.as_str().starts_with(id) || id.starts_with(c.id.as_str());
        Ok(all.iter().filter(|c| near(c)).take(3).map(|c| c.id.to_string()).collect())
    }
}

/// Whether an API answer says that the token is no good: by the service's own rows, else 401
/// (RFC 6750 §3.1).
pub(crate) fn refuses_token(service: &Service, answer: &Answer) -> bool {
    let row = token_answer::match_row(answer, &service.api_dialect);
    match row.and_then(|n| service.api_dialect.errors.get(n)) {
        Some(row) => row.verdict == Verdict::GrantRefused,
        None => answer.status == 401,
    }
}
