//! A bad day at a service answers `invalid_grant` to everybody. Many refusals of one client's
//! grants, with none granted in between, aren't believed: the client's refreshes are held, what was
//! given up is taken up again, and one canary at a time finds out when the day is over.

use std::sync::Arc;
use std::time::Duration;

use indicia_oauth::Timestamp;

use crate::Broker;
use crate::call::Bound;
use crate::client_gate::client_event;
use crate::commit::{Claim, Taken};
use crate::decide::may_come_back;
use crate::error::Error;
use crate::model::{
    Cause, ClientId, ClientRow, EventKind, GrantId, GrantsHeld, GrantsRefused, Life,
};
use crate::ports::Settlement;

/// So many grants of a client, refused one after the other, are too many to be believed.
pub const MANY: usize = 5;

/// They count when they came within this time.
pub const WITHIN: Duration = Duration::from_secs(10 * 60);

/// A canary tries this often.
pub const CANARY_EVERY: Duration = Duration::from_secs(300);

/// No bad day lasts longer: from then on each refusal is believed.
pub const BELIEVED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Whether a refusal that would end a grant is believed.
pub(crate) enum Believed {
    Yes,
    No {
        /// When to ask again.
        retry_at: Timestamp,
        /// Grants that were given up before it was seen.
        revive: Vec<GrantId>,
    },
}

/// Whether a client's refreshes are held at `now`.
pub(crate) fn held(client: &ClientRow, now: Timestamp) -> Option<&GrantsHeld> {
    let held = client.grants_refused.held.as_ref()?;
    Some(held).filter(|held| now.since(held.since) < BELIEVED_AFTER)
}

/// What is said to who asks meanwhile.
pub(crate) fn held_error(bound: &Bound, held: &GrantsHeld, now: Timestamp) -> Error {
    Error::Unavailable {
        code: "many_refused",
        detail: format!(
            "{} refused many grants of client {} within minutes ({}); none is given up, and one \
             at a time is tried",
            bound.service.name, bound.client.id, held.said
        ),
        retry_after: Some(held.retry_at.since(now).max(Duration::from_secs(1))),
        hint: "nothing now, unless the application was removed on purpose: then connect again"
            .into(),
    }
}

impl Broker {
    /// Whether a refresh token of this client may be sent. Becoming the canary is written down
    /// first, so that only one is.
    pub(crate) async fn grants_gate(
        &self,
        client: &ClientRow,
        now: Timestamp,
    ) -> Result<Option<GrantsHeld>, Error> {
        let Some(held) = held(client, now) else { return Ok(None) };
        // One that lies further ahead than any pause of ours was written under a clock that was
        // wrong.
        if now < held.retry_at && held.retry_at.since(now) <= CANARY_EVERY {
            return Ok(Some(held.clone()));
        }
        let mut row = client.clone();
        row.revision += 1;
        row.grants_refused.held =
            Some(GrantsHeld { retry_at: now.plus(CANARY_EVERY), ..held.clone() });
        match self.ports.store.update_client(row, Vec::new()).await? {
            true => Ok(None),
            false => Ok(Some(held.clone())),
        }
    }

    /// Writes down that a grant would end by a refusal, and says whether that is believed. One
    /// whose cause is known here (a lost answer, age) speaks of no other grant, and doesn't count.
    pub(crate) async fn grant_was_refused(
        &self,
        (client, grant): (&ClientId, &GrantId),
        cause: Cause,
        said: &str,
        now: Timestamp,
    ) -> Result<Believed, Error> {
        loop {
            let Some(mut row) = self.ports.store.client(client).await? else {
                return Ok(Believed::Yes);
            };
            row.revision += 1;
            let refused = &mut row.grants_refused;
            if refused.believed {
                return Ok(Believed::Yes);
            }
            if let Some(held) = &mut refused.held {
                if now.since(held.since) >= BELIEVED_AFTER {
                    *refused = GrantsRefused { believed: true, ..GrantsRefused::default() };
                    let event = client_event(&row, EventKind::ClientAccepted, now);
                    if self.ports.store.update_client(row, vec![event]).await? {
                        self.cache.client_changed();
                        return Ok(Believed::Yes);
                    }
                    continue;
                }
                let retry_at = held.retry_at.max(now.plus(CANARY_EVERY));
                held.retry_at = retry_at;
                if self.ports.store.update_client(row, Vec::new()).await? {
                    return Ok(Believed::No { retry_at, revive: Vec::new() });
                }
                continue;
            }
            if !matches!(cause, Cause::EndedOutside | Cause::SecretChanged) {
                return Ok(Believed::Yes);
            }
            let recent = |at: Timestamp| at <= now && now.since(at) < WITHIN;
            refused.grants.retain(|(id, at)| id != grant && recent(*at));
            refused.grants.push((grant.clone(), now));
            if refused.grants.len() < MANY {
                if self.ports.store.update_client(row, Vec::new()).await? {
                    return Ok(Believed::Yes);
                }
                continue;
            }
            let retry_at = now.plus(CANARY_EVERY);
            refused.held = Some(GrantsHeld { since: now, retry_at, said: said.to_owned() });
            let revive = refused.grants.iter().map(|(id, _)| id.clone());
            let revive = revive.filter(|id| id != grant).collect();
            let event = client_event(&row, EventKind::ClientRefused, now);
            if self.ports.store.update_client(row, vec![event]).await? {
                self.cache.client_changed();
                return Ok(Believed::No { retry_at, revive });
            }
        }
    }

    /// A grant of this client was refreshed: what was refused before it wasn't everybody's.
    pub(crate) async fn grant_was_granted(
        self: &Arc<Self>,
        client: &ClientRow,
        now: Timestamp,
    ) -> Result<(), Error> {
        if client.grants_refused == GrantsRefused::default() {
            return Ok(());
        }
        loop {
            let Some(mut row) = self.ports.store.client(&client.id).await? else {
                return Ok(());
            };
            let refused = std::mem::take(&mut row.grants_refused);
            if refused == GrantsRefused::default() {
                return Ok(());
            }
            row.revision += 1;
            let event = refused.held.as_ref().map(|_| EventKind::ClientAccepted);
            let event = event.map(|kind| client_event(&row, kind, now));
            if self.ports.store.update_client(row, event.into_iter().collect()).await? {
                if refused.held.is_some() {
                    self.cache.client_changed();
                    let ids: Vec<GrantId> = refused.grants.into_iter().map(|(id, _)| id).collect();
                    self.revive(&ids, now, now).await;
                }
                return Ok(());
            }
        }
    }

    /// Takes up again what was given up by a refusal that isn't believed any more.
    pub(crate) async fn revive(
        self: &Arc<Self>,
        ids: &[GrantId],
        retry_at: Timestamp,
        now: Timestamp,
    ) {
        for id in ids {
            if let Err(error) = self.revive_one(id, retry_at, now).await {
                tracing::warn!(grant = %id, %error, "a refused grant can't be taken up again");
            }
        }
    }

    async fn revive_one(
        self: &Arc<Self>,
        id: &GrantId,
        retry_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        // Who has it is at work on it with something newer.
        let Taken::Claim(claim) = Claim::take(self, id).await? else { return Ok(()) };
        let grant = claim.grant();
        if grant.state.life != Life::Dead || grant.facts.refresh.is_none() {
            claim.release(self).await;
            return Ok(());
        }
        let change = Settlement {
            state: may_come_back(grant, retry_at, now),
            next_at: Some(retry_at),
            clear_intent: false,
            clear_rejected: false,
        };
        claim.settle(self, change, Vec::new()).await?;
        self.cache.touch(id);
        Ok(())
    }
}
