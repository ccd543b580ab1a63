//! Whose a leaked secret is: a token, a key, or the secret part of a key.

use indicia_catalog::{Flow, Service};

use crate::Broker;
use crate::committed::open_tokens;
use crate::error::Error;
use crate::model::{ConnectionRow, GrantRow};
use crate::ports::ConnectionFilter;
use crate::vault::Fingerprint;

impl Broker {
    /// Finds the connections that have, or had, this secret.
    pub(crate) async fn leaked(
        &self,
        secret: &str,
    ) -> Result<Vec<(ConnectionRow, GrantRow)>, Error> {
        let fingerprint = self.vault.fingerprint(secret.trim());
        let mut rows = Vec::new();
        // By its keyed fingerprint: nothing is opened.
        for grant in self.ports.store.grants_by_fingerprint(&fingerprint).await? {
            rows.extend(self.sharing(&grant).await?);
        }
        if rows.is_empty() {
            rows = self.with_secret_part(&fingerprint).await?;
        }
        if rows.is_empty() {
            let id = "the given token".to_owned();
            return Err(Error::NotFound { what: "connection with", id, nearest: Vec::new() });
        }
        Ok(rows)
    }

    /// Of a key in parts only the whole has a fingerprint: all such keys are opened.
    async fn with_secret_part(
        &self,
        part: &Fingerprint,
    ) -> Result<Vec<(ConnectionRow, GrantRow)>, Error> {
        let clients = self.ports.store.clients().await?;
        let in_parts = clients
            .into_iter()
            .filter(|client| self.service(&client.service).is_ok_and(|s| has_keys_in_parts(&s)));
        let filter = ConnectionFilter {
            clients: Some(in_parts.map(|client| client.id).collect()),
            ..ConnectionFilter::default()
        };
        let mut rows = self.all_connections(&filter).await?;
        rows.retain(|(_, grant)| {
            grant.flow == Flow::ApiKey && self.secret_part(grant).as_ref() == Some(part)
        });
        Ok(rows)
    }

    /// Of a key's parts the last is the secret one. `None`: it can't be opened, so nobody here can
    /// use it either.
    fn secret_part(&self, grant: &GrantRow) -> Option<Fingerprint> {
        let tokens = open_tokens(&self.vault, grant).ok()?;
        let (_, secret) = tokens.access_token.expose().rsplit_once(':')?;
        Some(self.vault.fingerprint(secret))
    }
}

fn has_keys_in_parts(service: &Service) -> bool {
    service.api_jwt.is_some() || service.api_key.as_ref().is_some_and(|key| key.parts.len() > 1)
}
