//! What will end, when and why, so that nobody learns it from a script that fails.

use std::sync::Arc;
use std::time::Duration;

use indicia_catalog::{Context, Flow, Rotation, Service};
use indicia_oauth::{Expiry, Timestamp};
use serde::Serialize;

use crate::Broker;
use crate::call::Bound;
use crate::error::Error;
use crate::list::PAGE_MAX;
use crate::model::{
    ClientRow, ConnectionId, ConnectionRow, GrantRow, Life, RotationOwner, SecretRow, SecretState,
};
use crate::ports::ConnectionFilter;
use crate::view::time;

/// What ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndingKind {
    /// An access token that can't be refreshed.
    AccessToken,
    /// A refresh token, by its age; using it doesn't help.
    RefreshTokenAge,
    /// A refresh token, unless it is used before.
    RefreshTokenIdle,
    /// An API key, by the age that its client allows.
    ApiKey,
    /// A client secret.
    ClientSecret,
    /// An endpoint of a service.
    Endpoint,
}

/// Something that will end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ending {
    /// When.
    #[serde(serialize_with = "time")]
    pub at: Timestamp,
    /// What.
    pub kind: EndingKind,
    /// Whose service.
    pub service: String,
    /// Whose client, where it is one's.
    pub client: Option<String>,
    /// Which connection, where it is one's.
    pub connection: Option<String>,
    /// In words.
    pub detail: String,
    /// What to do before.
    pub next_step: String,
}

impl Broker {
    /// Client secrets in use that end before `until`, soonest first. Looks at clients alone.
    ///
    /// # Errors
    /// The store's.
    pub async fn secrets_ending(&self, until: Timestamp) -> Result<Vec<Ending>, Error> {
        let mut all = Vec::new();
        for client in &self.ports.store.clients().await? {
            if let Ok(service) = self.service(&client.service) {
                all.extend(secrets(client, &service));
            }
        }
        all.retain(|ending| ending.at < until);
        all.sort_by_key(|ending| ending.at);
        Ok(all)
    }

    /// All that ends before `until`, or has ended and wasn't renewed, soonest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn forecast(&self, until: Timestamp) -> Result<Vec<Ending>, Error> {
        let clients = self.ports.store.clients().await?;
        let mut all: Vec<Ending> = Vec::new();
        for client in &clients {
            if let Ok(service) = self.service(&client.service) {
                all.extend(secrets(client, &service));
                all.extend(endpoints(client, &service));
            }
        }
        let mut after: Option<ConnectionId> = None;
        loop {
            let filter = ConnectionFilter::default();
            let rows = self.ports.store.connections(&filter, after.as_ref(), PAGE_MAX).await?;
            for (connection, grant) in &rows {
                let client = clients.iter().find(|client| client.id == grant.client);
                let bound = client.and_then(|c| self.bind(Arc::new(c.clone()), &grant.inputs).ok());
                if let Some(bound) = bound.filter(|_| grant.state.life == Life::Alive) {
                    all.extend(of_grant(connection, grant, &bound));
                }
            }
            // What lies further ahead isn't kept: there may be a million connections.
            all.retain(|ending| ending.at < until);
            after = rows.last().map(|(connection, _)| connection.id.clone());
            if rows.len() < PAGE_MAX {
                break;
            }
        }
        all.sort_by(|a, b| (a.at, a.kind, &a.connection).cmp(&(b.at, b.kind, &b.connection)));
        Ok(all)
    }
}

/// What ends of a living grant.
fn of_grant(connection: &ConnectionRow, grant: &GrantRow, bound: &Bound) -> Vec<Ending> {
    let rule = bound.refresh_rule();
    let facts = &grant.facts;
    let ending = |at, kind, detail: &str, next_step: String| Ending {
        at,
        kind,
        service: bound.service.id.clone(),
        client: Some(bound.client.id.to_string()),
        connection: Some(connection.id.to_string()),
        detail: detail.to_owned(),
        next_step,
    };
    let reconnect = || format!("`indicia connect {} --id {}`", bound.client.id, connection.id);
    let renewable = grant.flow == Flow::ClientCredentials
        || (facts.refresh.is_some() && rule.supported)
        || grant.rotation_owner == RotationOwner::Other;
    let mut all = Vec::new();
    if let Expiry::At(at) = facts.expiry
        && !renewable
    {
        let detail = "the access token ends, and can't be refreshed";
        all.push(ending(at, EndingKind::AccessToken, detail, reconnect()));
    }
    if let Some(age) = rule.max_age.filter(|_| grant.flow == Flow::ApiKey) {
        let detail = "the API key reaches the age that its client allows";
        all.push(ending(facts.obtained_at.plus(age), EndingKind::ApiKey, detail, reconnect()));
    }
    if facts.refresh.is_none() || !rule.supported {
        return all;
    }
    let stays = !facts.rotated && rule.effective_rotation() == Rotation::Keeps;
    let by_rule = facts.refresh_since.zip(rule.lifetime).map(|(since, life)| since.plus(life));
    if let Some(at) = facts.refresh_expires_at.or(by_rule).filter(|_| stays) {
        let detail = "the refresh token reaches the age that the service allows";
        all.push(ending(at, EndingKind::RefreshTokenAge, detail, reconnect()));
    }
    if let Some(idle) = rule.idle {
        let detail = "the refresh token ends unless it is used before";
        let step = "nothing, if `indicia refresh --due` runs by itself".to_owned();
        let at = facts.obtained_at.plus(idle);
        all.push(ending(at, EndingKind::RefreshTokenIdle, detail, step));
    }
    all
}

fn secrets(client: &ClientRow, service: &Service) -> Vec<Ending> {
    let used = |secret: &&SecretRow| {
        secret.sealed.is_some()
            && matches!(secret.state, SecretState::Current | SecretState::Staged)
    };
    let cx = Context { kind: client.kind, inputs: &client.inputs, settings: &client.settings };
    let lifetime = service.secret_life(cx);
    let end = |secret: &SecretRow| {
        let by_rule = lifetime.map(|life| secret.added_at.plus(life));
        Some(Ending {
            at: [secret.expires_at, by_rule].into_iter().flatten().min()?,
            kind: EndingKind::ClientSecret,
            service: client.service.clone(),
            client: Some(client.id.to_string()),
            connection: None,
            detail: format!("client secret {} ends or is to be replaced", secret.n),
            next_step: format!("`indicia clients secrets {} add` before that", client.id),
        })
    };
    client.secrets.iter().filter(used).filter_map(end).collect()
}

fn endpoints(client: &ClientRow, service: &Service) -> Vec<Ending> {
    let end = |(url, day): (&String, &String)| {
        let midnight: jiff::Timestamp = format!("{day}T00:00:00Z").parse().ok()?;
        Some(Ending {
            // The day itself still counts.
            at: Timestamp::from_millis(midnight.as_millisecond()).plus(DAY),
            kind: EndingKind::Endpoint,
            service: client.service.clone(),
            client: Some(client.id.to_string()),
            connection: None,
            detail: format!("the service ends {url}"),
            next_step: "a newer Indicia, or a service file of your own, names its successor".into(),
        })
    };
    service.ends.iter().filter_map(end).collect()
}

const DAY: Duration = Duration::from_secs(24 * 3600);
