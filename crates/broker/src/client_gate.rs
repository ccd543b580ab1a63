//! Which client secret goes out, and whether any may: the verdict on a refused client is shared by
//! all of its grants, and one canary at a time finds out whether it still holds.

use std::time::Duration;

use indicia_oauth::{ClientSecret, Timestamp};

use crate::Broker;
use crate::error::Error;
use crate::model::{ClientRefused, ClientRow, Event, EventKind, SecretRow, SecretState};
use crate::outcome::Evidence;
use crate::vault::Field;

/// While the canary is out, the others wait this long.
const CANARY_PAUSE: Duration = Duration::from_secs(60);

/// When every secret was refused, one canary tries again this often.
const REFUSED_PAUSE: Duration = Duration::from_secs(300);

/// A secret to send, by number; 0 and `None` for a public client.
pub(crate) struct ChosenSecret {
    pub(crate) n: u32,
    pub(crate) secret: Option<ClientSecret>,
    /// It is a private key, which signs and is never sent.
    pub(crate) signs: bool,
}

impl ChosenSecret {
    /// Where nothing is sent with it.
    pub(crate) const fn unopened(n: u32) -> Self {
        Self { n, secret: None, signs: false }
    }
}

/// Whether a request may go out for this client.
pub(crate) enum Gate {
    /// With this secret.
    Open(ChosenSecret),
    /// Not now: the service refuses the client.
    Closed(ClientRefused),
}

/// Secrets that may be tried for an input value, in order: current, staged, retiring.
fn candidates<'a>(client: &'a ClientRow, input: Option<&str>) -> Vec<&'a SecretRow> {
    let mut rows: Vec<&SecretRow> = client
        .secrets
        .iter()
        .filter(|s| s.sealed.is_some() && s.state != SecretState::Retired)
        .filter(|s| s.for_input.is_none() || s.for_input.as_deref() == input)
        .collect();
    let order = |s: &SecretRow| {
        let state = match s.state {
            SecretState::Current => 0,
            SecretState::Staged => 1,
            SecretState::Retiring | SecretState::Retired => 2,
        };
        // One that belongs to the data centre goes before one for all.
        (state, s.for_input.is_none(), std::cmp::Reverse(s.n))
    };
    rows.sort_by_key(|s| order(s));
    rows
}

/// The one to send: the first that wasn't refused, or the one whose refusal is the longest ago: a
/// service that refused all of them for a while takes one of them again, and not always the first.
fn chosen<'a>(rows: &[&'a SecretRow], client: &ClientRow) -> Option<&'a SecretRow> {
    let refused = client.refused.as_ref();
    // mark: each-secret-in-turn
    let ago = |s: &&&SecretRow| refused.and_then(|r| r.secrets.iter().position(|n| *n == s.n));
    rows.iter().min_by_key(ago).copied()
}

/// Whether what was refused is of others: this input value (a data centre) has secrets of its own,
/// and none of them was.
fn is_of_others(refused: &ClientRefused, rows: &[&SecretRow]) -> bool {
    let mut own = rows.iter().filter(|s| s.for_input.is_some()).peekable();
    own.peek().is_some() && own.all(|s| !refused.secrets.contains(&s.n))
}

/// Number of the secret that the gate would give, were it open; 0: none.
pub(crate) fn next_secret(client: &ClientRow, input: Option<&str>) -> u32 {
    chosen(&candidates(client, input), client).map_or(0, |s| s.n)
}

impl Broker {
    /// Looks at the client's verdict and opens the secret to use. Becoming the canary is written
    /// down first, so that only one is.
    pub(crate) async fn gate(
        &self,
        client: &ClientRow,
        input: Option<&str>,
        now: Timestamp,
    ) -> Result<Gate, Error> {
        let rows = candidates(client, input);
        // mark: each-data-centre-by-itself
        let refused = client.refused.as_ref().filter(|refused| !is_of_others(refused, &rows));
        let Some(refused) = refused else {
            return self.open_secret(client, chosen(&rows, client)).map(Gate::Open);
        };
        // One that lies much further ahead than any pause of ours was written under a clock that
        // was wrong. A little further it is where another looked at its clock a moment later.
        if now < refused.retry_at && refused.retry_at.since(now) <= 2 * REFUSED_PAUSE {
            return Ok(Gate::Closed(refused.clone()));
        }
        let chosen = chosen(&rows, client);
        let canary = ClientRefused { retry_at: now.plus(CANARY_PAUSE), ..refused.clone() };
        let row =
            ClientRow { refused: Some(canary), revision: client.revision + 1, ..client.clone() };
        if self.ports.store.update_client(row, Vec::new()).await? {
            self.open_secret(client, chosen).map(Gate::Open)
        } else {
            Ok(Gate::Closed(refused.clone()))
        }
    }

    pub(crate) fn open_secret(
        &self,
        client: &ClientRow,
        row: Option<&SecretRow>,
    ) -> Result<ChosenSecret, Error> {
        let Some(row) = row else {
            return Ok(ChosenSecret::unopened(0));
        };
        let secret = match &row.sealed {
            Some(sealed) => {
                let field = Field::ClientSecret { client: client.id.as_str(), n: row.n };
                let bytes = self.vault.unseal(field, sealed)?;
                let text = std::str::from_utf8(&bytes)
                    .map_err(|_| Error::from(crate::vault::VaultError::Damaged))?;
                Some(ClientSecret::new(text))
            }
            None => None,
        };
        Ok(ChosenSecret { n: row.n, secret, signs: row.key.is_some() })
    }

    /// Writes down that the service refused this secret. True when another one is left to try, and
    /// may be tried at once.
    pub(crate) async fn client_was_refused(
        &self,
        client: &ClientRow,
        input: Option<&str>,
        secret_n: u32,
        evidence: &Evidence,
        now: Timestamp,
    ) -> Result<bool, Error> {
        loop {
            let Some(mut row) = self.ports.store.client(&client.id).await? else {
                return Ok(false);
            };
            let first = row.refused.is_none();
            let mut refused = row.refused.take().unwrap_or(ClientRefused {
                secrets: Vec::new(),
                since: now,
                retry_at: now,
                said: String::new(),
            });
            refused.secrets.retain(|n| *n != secret_n);
            refused.secrets.push(secret_n);
            refused.said.clone_from(&evidence.text);
            let left = candidates(&row, input).iter().any(|s| !refused.secrets.contains(&s.n));
            refused.retry_at = if left { now } else { now.plus(REFUSED_PAUSE) };
            row.refused = Some(refused);
            row.revision += 1;
            let event = client_event(&row, EventKind::ClientRefused, now);
            let events = if first { vec![event] } else { Vec::new() };
            let told = self.ports.store.update_client(row, events).await?;
            self.cache.client_changed();
            if told {
                return Ok(left);
            }
        }
    }

    /// Writes down that this secret worked, when that is news: it becomes the current one, and the
    /// verdict ends.
    pub(crate) async fn client_was_accepted(
        &self,
        client: &ClientRow,
        secret_n: u32,
        now: Timestamp,
    ) -> Result<(), Error> {
        let ends = |row: &ClientRow| {
            let of = row.secrets.iter().find(|s| s.n == secret_n).and_then(|s| s.for_input.clone());
            let rows = candidates(row, of.as_deref());
            row.refused.as_ref().is_some_and(|r| of.is_none() || !is_of_others(r, &rows))
        };
        let is_news = |row: &ClientRow| {
            let current = |s: &SecretRow| s.n == secret_n && s.state == SecretState::Current;
            ends(row) || (secret_n != 0 && !row.secrets.iter().any(current))
        };
        if !is_news(client) {
            return Ok(());
        }
        loop {
            let Some(mut row) = self.ports.store.client(&client.id).await? else {
                return Ok(());
            };
            if !is_news(&row) {
                return Ok(());
            }
            if ends(&row) {
                row.refused = None;
            }
            crate::clients::make_current(&mut row.secrets, secret_n);
            row.revision += 1;
            let event = client_event(&row, EventKind::ClientAccepted, now);
            let told = self.ports.store.update_client(row, vec![event]).await?;
            self.cache.client_changed();
            if told {
                return Ok(());
            }
        }
    }
}

pub(crate) fn client_event(row: &ClientRow, kind: EventKind, at: Timestamp) -> Event {
    Event {
        kind,
        at,
        connection: None,
        client: Some(row.id.clone()),
        grant: None,
        facts: std::collections::BTreeMap::new(),
    }
}
