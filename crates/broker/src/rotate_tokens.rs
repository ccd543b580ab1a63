//! New token sets for many connections at once: after a suspicion, or as a matter of routine. Where
//! only the account's owner can give one, that is listed, not tried.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;
use indicia_catalog::Flow;

use crate::Broker;
use crate::end::{End, Force};
use crate::error::Error;
use crate::model::{ConnectionRow, GrantId, GrantRow, Life, RotationOwner};
use crate::ports::ConnectionFilter;
use crate::serve;

/// Refreshes in flight at once.
const IN_FLIGHT_MAX: usize = 8;

/// Of which connections.
#[derive(Clone, Debug, Default)]
pub struct RotateWhich {
    /// Of this client.
    pub client: Option<String>,
    /// Of this service.
    pub service: Option<String>,
    /// With this label.
    pub label: Option<(String, String)>,
}

/// What a rotation of tokens did: connections, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct TokensReport {
    /// They have a new token set.
    pub rotated: Vec<String>,
    /// Not this time, and why: tried again by the next run.
    pub not_yet: Vec<(String, String)>,
    /// Only the account's owner can give a new one, and why.
    pub needs_user: Vec<(String, String)>,
}

impl Broker {
    /// Refreshes every grant for which the service issues a new token set without its owner. Tells
    /// `progress` how many grants were looked at. A run that was cut off may simply be run again.
    ///
    /// # Errors
    /// Unknown client or service; the store's.
    pub async fn rotate_tokens(
        self: &Arc<Self>,
        which: RotateWhich,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<TokensReport, Error> {
        let mut filter = ConnectionFilter { label: which.label, ..ConnectionFilter::default() };
        if let Some(client) = &which.client {
            filter.client = Some(self.client_named(client).await?.id);
        }
        if let Some(service) = &which.service {
            self.service(service)?;
            let clients = self.ports.store.clients().await?;
            let of = clients.into_iter().filter(|c| c.service == *service).map(|c| c.id);
            filter.clients = Some(of.collect());
        }
        let mut grants: BTreeMap<GrantId, (GrantRow, Vec<ConnectionRow>)> = BTreeMap::new();
        for (connection, grant) in self.all_connections(&filter).await? {
            let shared = grants.entry(grant.id.clone()).or_insert_with(|| (grant, Vec::new()));
            shared.1.push(connection);
        }
        let mut report = TokensReport::default();
        let rotations = grants.into_values().map(|(grant, connections)| async move {
            let rotated = self.rotate_one(&grant).await;
            (connections, rotated)
        });
        let mut rotations = stream::iter(rotations).buffer_unordered(IN_FLIGHT_MAX);
        let mut looked_at = 0;
        while let Some((connections, rotated)) = rotations.next().await {
            looked_at += 1;
            progress(looked_at);
            for connection in connections {
                let id = connection.id.to_string();
                match &rotated {
                    Rotated::Yes => report.rotated.push(id),
                    Rotated::NotYet(why) => report.not_yet.push((id, why.clone())),
                    Rotated::NeedsUser(why) => report.needs_user.push((id, why.clone())),
                    Rotated::NotOurs => {}
                }
            }
        }
        report.rotated.sort();
        report.not_yet.sort();
        report.needs_user.sort();
        Ok(report)
    }

    async fn rotate_one(self: &Arc<Self>, grant: &GrantRow) -> Rotated {
        match grant.state.life {
            Life::Revoked => return Rotated::NotOurs,
            Life::Dead => return Rotated::NeedsUser("its grant has ended".into()),
            Life::Alive => {}
        }
        if grant.rotation_owner == RotationOwner::Other {
            return Rotated::NeedsUser("somebody else refreshes it".into());
        }
        let refreshable = async {
            let bound = self.bind(self.client_row(&grant.client).await?, &grant.inputs)?;
            let sendable = grant.facts.refresh.is_some() && bound.refresh_rule().supported;
            Ok::<_, Error>(sendable || grant.flow == Flow::ClientCredentials)
        };
        match refreshable.await {
            Ok(true) => {}
            Ok(false) => {
                return Rotated::NeedsUser("the service issues no other token by itself".into());
            }
            Err(error) => return Rotated::NotYet(error.to_string()),
        }
        match self.fly(&grant.id, grant.version, Force::No).await {
            End::Committed(new, _) if new.row().version > grant.version => Rotated::Yes,
            End::Committed(..) => Rotated::NotYet("it was renewed a moment ago".into()),
            End::Row(row) if row.state.life == Life::Dead => {
                Rotated::NeedsUser(serve::why(&row).unwrap_or_else(|| "its grant has ended".into()))
            }
            End::Row(row) => {
                let waits = "it was renewed a moment ago, or is to be left alone for now";
                Rotated::NotYet(serve::why(&row).unwrap_or_else(|| waits.into()))
            }
            End::Failed(error) => Rotated::NotYet(error.to_string()),
        }
    }
}

enum Rotated {
    Yes,
    NotYet(String),
    NeedsUser(String),
    /// It was taken back.
    NotOurs,
}
