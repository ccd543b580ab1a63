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
    Cause, ClientId, ClientRow, EventKind, GrantId, GrantRow, GrantsHeld, GrantsRefused, Life,
};
use crate::ports::Settlement;

/// So many grants of a client, refused one after the other, are too many to be believed.
pub const MANY: usize = 5;

/// At least so many of them whose answer wasn't lost before: where all were, each was replaced.
const UNEXPLAINED_MIN: usize = 2;

/// They count when they came within this time.
pub const WITHIN: Duration = Duration::from_secs(10 * 60);

/// A canary tries this often.
pub const CANARY_EVERY: Duration = Duration::from_secs(300);

/// No bad day lasts longer: from then on each refusal is believed.
pub const BELIEVED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Whether a refusal that would end a grant is believed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Believed {
    Yes,
    /// So far: it is written down among those that may turn out to be too many.
    Counted,
    No {
        /// When to ask again.
        retry_at: Timestamp,
    },
}

/// Whether a refresh token of a client may be sent.
pub(crate) enum GrantsGate {
    Open,
    /// As the canary, which is written into the client's row: this is how it is stored now.
    Canary(Box<ClientRow>),
    /// Not now.
    Held(GrantsHeld),
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

impl GrantsRefused {
    /// Nothing was refused that an answer could speak against.
    fn is_quiet(&self) -> bool {
        self.held.is_none() && !self.believed && self.all().next().is_none()
    }

    /// What was refused after this.
    fn since(self, sent_at: Timestamp) -> Self {
        let later = |list: Vec<(GrantId, Timestamp)>| {
            list.into_iter().filter(|(_, at)| *at > sent_at).collect()
        };
        let (grants, lost) = (later(self.grants), later(self.lost));
        Self { grants, lost, believed: false, ..self }
    }

    fn are_few(&self) -> bool {
        self.grants.len() < UNEXPLAINED_MIN || self.all().count() < MANY
    }
}

impl Broker {
    /// Whether a refresh token of this client may be sent. Becoming the canary is written down
    /// first, so that only one is.
    pub(crate) async fn grants_gate(
        &self,
        client: &ClientRow,
        now: Timestamp,
    ) -> Result<GrantsGate, Error> {
        let Some(held) = held(client, now) else { return Ok(GrantsGate::Open) };
        // One that lies much further ahead than any pause of ours was written under a clock that
        // was wrong. A little further it is where another looked at its clock a moment later.
        // mark: one-canary
        if now < held.retry_at && held.retry_at.since(now) <= 2 * CANARY_EVERY {
            return Ok(GrantsGate::Held(held.clone()));
        }
        let mut row = client.clone();
        row.revision += 1;
        row.grants_refused.held =
            Some(GrantsHeld { retry_at: now.plus(CANARY_EVERY), ..held.clone() });
        match self.ports.store.update_client(row.clone(), Vec::new()).await? {
            true => Ok(GrantsGate::Canary(Box::new(row))),
            false => Ok(GrantsGate::Held(held.clone())),
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
                    return Ok(Believed::No { retry_at });
                }
                continue;
            }
            let speaks_of_others = matches!(cause, Cause::EndedOutside | Cause::SecretChanged);
            if !speaks_of_others && cause != Cause::AnswerLost {
                return Ok(Believed::Yes);
            }
            // Another may have looked at its clock a moment after we did, or have another clock.
            let recent = |at: Timestamp| now.since(at).max(at.since(now)) < WITHIN;
            refused.grants.retain(|(id, at)| id != grant && recent(*at));
            refused.lost.retain(|(id, at)| id != grant && recent(*at));
            let list = if speaks_of_others { &mut refused.grants } else { &mut refused.lost };
            list.push((grant.clone(), now));
            if refused.are_few() {
                if self.ports.store.update_client(row, Vec::new()).await? {
                    return Ok(Believed::Counted);
                }
                continue;
            }
            let retry_at = now.plus(CANARY_EVERY);
            refused.held = Some(GrantsHeld { since: now, retry_at, said: said.to_owned() });
            let event = client_event(&row, EventKind::ClientRefused, now);
            if self.ports.store.update_client(row, vec![event]).await? {
                self.cache.client_changed();
                return Ok(Believed::No { retry_at });
            }
        }
    }

    /// A grant of this client was refreshed by what was sent at `sent_at`: what was refused before
    /// that wasn't everybody's. An answer that was long on its way, or kept, says nothing of today.
    pub(crate) async fn grant_was_granted(
        self: &Arc<Self>,
        client: &ClientRow,
        sent_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        if client.grants_refused == GrantsRefused::default() {
            return Ok(());
        }
        loop {
            let Some(mut row) = self.ports.store.client(&client.id).await? else {
                return Ok(());
            };
            let since = |refused: &GrantsRefused| {
                refused.held.as_ref().is_some_and(|held| held.since > sent_at)
            };
            // mark: a-late-answer-ends-no-bad-day
            if row.grants_refused.is_quiet() || since(&row.grants_refused) {
                return Ok(());
            }
            let refused = std::mem::take(&mut row.grants_refused);
            let was_held = refused.held.is_some();
            row.grants_refused = match was_held {
                true => GrantsRefused {
                    revive: refused.all().chain(&refused.revive).cloned().collect(),
                    ..GrantsRefused::default()
                },
                false => refused.since(sent_at),
            };
            row.revision += 1;
            let event = was_held.then(|| client_event(&row, EventKind::ClientAccepted, now));
            if self.ports.store.update_client(row, event.into_iter().collect()).await? {
                if was_held {
                    self.cache.client_changed();
                    self.take_up_again(&client.id, None, now).await;
                }
                return Ok(());
            }
        }
    }

    /// Takes up again what was given up by refusals that aren't believed any more, `given_up` among
    /// it: one that was counted and given up just now, while others may have ended the count. What
    /// can't be taken up yet stays written down, and the next round of duties tries it again.
    // mark: taken-up-with-the-others
    pub(crate) async fn take_up_again(
        self: &Arc<Self>,
        client: &ClientId,
        given_up: Option<&GrantId>,
        now: Timestamp,
    ) {
        if let Err(error) = self.try_to_take_up(client, given_up, now).await {
            tracing::warn!(%client, %error, "refused grants can't be taken up again yet");
        }
    }

    async fn try_to_take_up(
        self: &Arc<Self>,
        client: &ClientId,
        given_up: Option<&GrantId>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let row = loop {
            let Some(mut row) = self.ports.store.client(client).await? else { return Ok(()) };
            let refused = &mut row.grants_refused;
            let uncounted = |id: &&GrantId| !refused.believed && refused.all().all(|a| a != *id);
            let Some(id) = given_up.filter(uncounted).filter(|id| !refused.revive.contains(id))
            else {
                break row;
            };
            refused.revive.push(id.clone());
            row.revision += 1;
            if self.ports.store.update_client(row.clone(), Vec::new()).await? {
                break row;
            }
        };
        let refused = &row.grants_refused;
        let held = held(&row, now);
        let retry_at = held.map_or(now, |held| held.retry_at);
        let of_held = refused.all().filter(|_| held.is_some());
        let mut done = Vec::new();
        for id in refused.revive.iter().chain(of_held) {
            match self.revive(id, retry_at, now).await {
                Ok(true) => done.push(id.clone()),
                Ok(false) => {}
                // What is wrong with one holds up no other.
                Err(error) => tracing::warn!(grant = %id, %error, "it can't be taken up again yet"),
            }
        }
        self.taken_up(row, &done).await
    }

    /// Strikes from the list what was taken up.
    async fn taken_up(&self, mut row: ClientRow, done: &[GrantId]) -> Result<(), Error> {
        loop {
            let before = row.grants_refused.revive.len();
            row.grants_refused.revive.retain(|id| !done.contains(id));
            if row.grants_refused.revive.len() == before {
                return Ok(());
            }
            row.revision += 1;
            let id = row.id.clone();
            if self.ports.store.update_client(row, Vec::new()).await? {
                return Ok(());
            }
            let Some(now_stored) = self.ports.store.client(&id).await? else { return Ok(()) };
            row = now_stored;
        }
    }

    /// Whether nothing of it is left to be taken up again.
    async fn revive(
        self: &Arc<Self>,
        id: &GrantId,
        retry_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let is_dead =
            |grant: &GrantRow| grant.state.life == Life::Dead && grant.facts.refresh.is_some();
        if !self.ports.store.grant(id).await?.is_some_and(|grant| is_dead(&grant)) {
            return Ok(true);
        }
        let claim = match Claim::take(self, id).await? {
            Taken::Claim(claim) => claim,
            Taken::Busy { .. } => return Ok(false),
            Taken::Missing => return Ok(true),
        };
        let grant = claim.grant();
        if !is_dead(grant) {
            claim.release(self).await;
            return Ok(true);
        }
        let change = Settlement {
            state: may_come_back(grant, retry_at, now),
            next_at: Some(retry_at),
            clear_intent: false,
            clear_rejected: false,
        };
        let done = claim.settle(self, change, Vec::new()).await?;
        self.cache.touch(id);
        Ok(done)
    }
}
