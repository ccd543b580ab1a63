//! What connections there are, and how healthy.

use indicia_catalog::Rotation;

use crate::Broker;
use crate::error::Error;
use crate::model::{ClientId, ClientRow, ConnectionId, ConnectionRow, GrantRow};
use crate::ports::ConnectionFilter;
use crate::serve;
use crate::view::{ConnectionState, ConnectionView, ReasonView, RefreshView, ScopesView};

/// Connections of one page at most.
pub const PAGE_MAX: usize = 1_000;

/// Which connections.
#[derive(Clone, Debug, Default)]
pub struct ConnectionQuery {
    /// Of this service.
    pub service: Option<String>,
    /// Of this client.
    pub client: Option<String>,
    /// With this label.
    pub label: Option<(String, String)>,
    /// In this state.
    pub state: Option<ConnectionState>,
}

impl Broker {
    /// One connection.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn connection(&self, id: &str) -> Result<ConnectionView, Error> {
        let (connection, grant) = self.load(id).await?;
        let client = self.client_row(&grant.client).await?;
        let reason = self.reason_in_full(&grant, &client, &connection.id).await?;
        let view = self.connection_view(&connection, &grant, &client);
        Ok(ConnectionView { reason: reason.as_ref().map(ReasonView::from), ..view })
    }

    /// Connections by id, after `after`; at most `limit` (and [`PAGE_MAX`]) of them are looked at,
    /// so a page that is filtered by state may be short. The cursor of the next page, if there may
    /// be one.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown client; the store's.
    pub async fn connections(
        &self,
        query: ConnectionQuery,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<ConnectionView>, Option<String>), Error> {
        let limit = limit.clamp(1, PAGE_MAX);
        let clients = self.ports.store.clients().await?;
        let filter = self.filter(&query, &clients).await?;
        let after = after.and_then(|text| ConnectionId::new(text).ok());
        let rows = self.ports.store.connections(&filter, after.as_ref(), limit).await?;
        let full = rows.len() == limit;
        let next = rows.last().filter(|_| full).map(|(c, _)| c.id.to_string());
        let view = |(connection, grant): &(ConnectionRow, GrantRow)| {
            let client = clients.iter().find(|c| c.id == grant.client)?;
            Some(self.connection_view(connection, grant, client))
        };
        let wanted = |v: &ConnectionView| query.state.is_none_or(|state| state == v.state);
        Ok((rows.iter().filter_map(view).filter(wanted).collect(), next))
    }

    async fn filter(
        &self,
        query: &ConnectionQuery,
        clients: &[ClientRow],
    ) -> Result<ConnectionFilter, Error> {
        let client = match &query.client {
            Some(id) => Some(self.client_named(id).await?.id),
            None => None,
        };
        let of_service = query.service.as_ref().map(|service| {
            let of = clients.iter().filter(|c| c.service == *service);
            of.map(|c| c.id.clone()).collect::<Vec<ClientId>>()
        });
        Ok(ConnectionFilter {
            client,
            clients: of_service,
            label: query.label.clone(),
            grant: None,
        })
    }

    /// All connections that a filter matches.
    pub(crate) async fn all_connections(
        &self,
        filter: &ConnectionFilter,
    ) -> Result<Vec<(ConnectionRow, GrantRow)>, Error> {
        let mut all = Vec::new();
        let mut after: Option<ConnectionId> = None;
        loop {
            let rows = self.ports.store.connections(filter, after.as_ref(), PAGE_MAX).await?;
            after = rows.last().map(|(c, _)| c.id.clone());
            let last = rows.len() < PAGE_MAX;
            all.extend(rows);
            if last {
                return Ok(all);
            }
        }
    }

    pub(crate) fn connection_view(
        &self,
        connection: &ConnectionRow,
        grant: &GrantRow,
        client: &ClientRow,
    ) -> ConnectionView {
        let (expiry, expires_at) = serve::expiry(grant.facts.expiry);
        let rotation = match self.bind(client.clone(), &grant.inputs) {
            _ if grant.facts.rotated => Rotation::Rotates,
            Ok(bound) => bound.refresh_rule().effective_rotation(),
            Err(_) => Rotation::May,
        };
        ConnectionView {
            id: connection.id.to_string(),
            service: client.service.clone(),
            client: client.id.to_string(),
            flow: grant.flow,
            state: serve::state(grant, Some(client)),
            reason: serve::reason(grant, Some(client), &connection.id)
                .as_ref()
                .map(ReasonView::from),
            account: grant.account.clone(),
            scopes: ScopesView {
                asked: grant.asked.clone(),
                granted: grant.facts.granted.clone().unwrap_or_else(|| grant.asked.clone()),
            },
            expiry,
            expires_at,
            refresh: RefreshView {
                last_at: Some(grant.facts.obtained_at),
                next_at: grant.next_at,
                rotation,
            },
            labels: connection.labels.clone(),
            created_at: connection.created_at,
            updated_at: connection.updated_at,
            version: grant.version,
            environment: client.environment.clone(),
            overridden: self.overridden(&client.service),
        }
    }
}
