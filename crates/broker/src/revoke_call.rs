//! The service's half of a revocation: the calls that are pending, what they were answered, and the
//! proof that a token is dead.

use std::collections::BTreeMap;

use indicia_catalog::RevocationRule;
use indicia_catalog::service::Kills;
use indicia_oauth::revocation::{self, Revoked};
use indicia_oauth::{Answer, Timestamp};

use crate::Broker;
use crate::call::{Bound, refuses_token};
use crate::client_gate::Gate;
use crate::error::Error;
use crate::model::{Event, EventKind, RevocationItem, RevocationItemState, RevocationRow};
use crate::outcome::Evidence;
use crate::ports::Sent;
use crate::revoke::{PROBE_ITEMS, is_wide, shown};
use crate::schedule;
use crate::spoken::Spoken;

impl Broker {
    /// Makes the calls that are pending, and writes down what the service answered.
    pub(crate) async fn call_service(&self, row: RevocationRow) -> Result<RevocationRow, Error> {
        let mut row = row;
        let now = self.ports.clock.now();
        for n in 0..row.items.len() {
            if row.items[n].state == RevocationItemState::Pending {
                let number = u32::try_from(n).unwrap_or(u32::MAX);
                let id = row.id.clone();
                if let Err(error) = self.call_item(&id, number, &mut row.items[n], now).await {
                    row.items[n].answer = Some(error.to_string());
                }
            }
        }
        if row.proof.is_none() {
            row.proof = self.prove(&mut row).await;
        }
        // What is done is kept no longer than the proof needs it.
        for item in &mut row.items {
            if item.state == RevocationItemState::Revoked {
                (item.sealed, item.probe) = (None, None);
            }
        }
        let pending = |i: &&RevocationItem| i.state == RevocationItemState::Pending;
        let tries = row.items.iter().filter(pending).map(|i| i.tries).max();
        row.next_at = tries.map(|tries| now.plus(schedule::back_off(tries, None, &row.id)));
        row.revision += 1;
        let done = Event {
            kind: EventKind::RevocationDone,
            at: now,
            connection: row.connections.first().cloned(),
            client: None,
            grant: row.items.first().map(|i| i.grant.clone()),
            facts: BTreeMap::from([("revocation".into(), row.id.clone())]),
        };
        let events = if row.next_at.is_none() { vec![done] } else { Vec::new() };
        if self.ports.store.update_revocation(row.clone(), events).await? {
            return Ok(row);
        }
        // Somebody else tried it meanwhile: theirs is the stored truth.
        Ok(self.ports.store.revocation(&row.id).await?.unwrap_or(row))
    }

    async fn call_item(
        &self,
        id: &str,
        n: u32,
        item: &mut RevocationItem,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.may_send().await?;
        item.tries += 1;
        item.at = Some(now);
        let Some(client) = self.ports.store.client(&item.client).await? else {
            item.state = RevocationItemState::Cannot;
            item.next_step = Some("its client is gone: end it in the service's settings".into());
            return Ok(());
        };
        let bound = self.bind(client, &item.inputs)?;
        let Ok(RevocationRule::Call { endpoint, token_param, hint, .. }) =
            bound.service.revocation(bound.cx())
        else {
            item.state = RevocationItemState::Cannot;
            item.next_step = Some("this service can no longer revoke".into());
            return Ok(());
        };
        if self.would_end_a_newer(item, &bound).await? {
            item.state = RevocationItemState::Cannot;
            item.answer =
                Some("not sent: it would end a newer connection of the same account".into());
            item.next_step = Some("revoke that connection too, if it should end".into());
            return Ok(());
        }
        let token = item.sealed.as_ref().and_then(|sealed| self.open_item(id, n, sealed));
        let Some(token) = token else {
            item.state = RevocationItemState::Cannot;
            return Ok(());
        };
        let secret = match self.gate(&bound.client, bound.secret_input(), now).await? {
            Gate::Open(secret) => secret,
            Gate::Closed(refused) => {
                item.answer = Some(format!("the service refuses the client ({})", refused.said));
                return Ok(());
            }
        };
        let proven = self.client_proof(&bound, &secret)?;
        let endpoint = bound.at_environment(endpoint);
        let hint = hint.then_some(item.what.as_str());
        match revocation::request(&endpoint, &proven.credentials(), &token_param, &token, hint) {
            Ok(request) => {
                let spoken = Spoken::of(&request);
                let sent = match self.ports.transport.send(request, &|| true).await {
                    Sent::Answer(answer) => Sent::Answer(spoken.hidden(&answer)),
                    other => other,
                };
                let refused = matches!(&sent, Sent::Answer(answer) if answer.status == 401);
                note(item, sent);
                if refused && secret.secret.is_some() {
                    self.note_refused_client(&bound, secret.n, item, now).await;
                }
                if item.state == RevocationItemState::Revoked {
                    // Good news about the client, of which a canary would wait for long.
                    self.client_was_accepted(&bound.client, secret.n, now).await.ok();
                }
            }
            Err(error) => {
                item.state = RevocationItemState::Cannot;
                item.answer = Some(error.to_string());
            }
        }
        Ok(())
    }

    /// The service doesn't take the client (RFC 7009 §2.1): another secret may be the right one,
    /// and is tried next.
    async fn note_refused_client(
        &self,
        bound: &Bound,
        secret_n: u32,
        item: &RevocationItem,
        now: Timestamp,
    ) {
        let text = item.answer.clone().unwrap_or_default();
        let evidence = Evidence { status: Some(401), text, ..Evidence::default() };
        let input = bound.secret_input();
        // A failure only means that the same secret is refused once more.
        let _ = self.client_was_refused(&bound.client, input, secret_n, &evidence, now).await;
    }

    /// Whether the service's call would end a grant that lives: one that was made after this one
    /// was taken back, for the same account.
    async fn would_end_a_newer(&self, item: &RevocationItem, bound: &Bound) -> Result<bool, Error> {
        match item.account.as_ref().filter(|_| is_wide(bound)) {
            Some(account) => {
                Ok(self.ports.store.grant_of_account(&item.client, account).await?.is_some())
            }
            None => Ok(false),
        }
    }

    /// Shows that a token is dead: the service's probe must refuse it.
    async fn prove(&self, row: &mut RevocationRow) -> Option<(String, Timestamp)> {
        let id = row.id.clone();
        for (n, item) in row.items.iter_mut().enumerate() {
            if item.state != RevocationItemState::Revoked {
                continue;
            }
            let Some(sealed) = item.probe.clone() else { continue };
            let n = PROBE_ITEMS + u32::try_from(n).ok()?;
            let token = self.open_item(&id, n, &sealed)?;
            let client = self.ports.store.client(&item.client).await.ok()??;
            let bound = self.bind(client, &item.inputs).ok()?;
            let probe = bound.service.probe(bound.cx()).ok()??;
            let shown = format!("{} {}", probe.method.as_str(), shown(&probe.url));
            let request = self.api_request(&bound, &probe, &token);
            if let Sent::Answer(answer) = self.ports.transport.send(request, &|| true).await {
                if refuses_token(&bound.service, &answer) {
                    return Some((shown, self.ports.clock.now()));
                }
                if answer.is_success() {
                    still_works(item, &bound);
                }
            }
        }
        None
    }
}

/// The API takes the access token although the service said that it took it back. Where revoking is
/// known to end it, that answer is not believed: it may have been somebody else's, such as a
/// network's login page, which RFC 7009 §2.2 lets us take for a yes.
fn still_works(item: &mut RevocationItem, bound: &Bound) {
    let ends_it = matches!(
        bound.service.revocation(bound.cx()),
        Ok(RevocationRule::Call { kills: Kills::Grant | Kills::Account, .. })
    );
    if ends_it && item.sealed.is_some() && item.tries < DOUBTED_TRIES_MAX {
        item.state = RevocationItemState::Pending;
        item.answer = Some("the service said yes, but the API still takes the token".to_owned());
    } else {
        item.next_step = Some("the access token still works; it ends by itself".to_owned());
    }
}

/// Times that a yes is doubted.
const DOUBTED_TRIES_MAX: u32 = 5;

fn is_page(answer: &Answer) -> bool {
    answer.body.trim_ascii_start().starts_with(b"<")
}

fn note(item: &mut RevocationItem, sent: Sent) {
    let pending = |item: &mut RevocationItem, answer: String| item.answer = Some(answer);
    match sent {
        Sent::Answer(answer) => match revocation::read(&answer) {
            // RFC 7009 §2.2 has us ignore the body of a yes; a page of a network or a gateway has
            // that status too.
            Revoked::Done if is_page(&answer) && item.tries < DOUBTED_TRIES_MAX => {
                pending(item, format!("status {}, but with a page: asked again", answer.status));
            }
            Revoked::Done => {
                item.state = RevocationItemState::Revoked;
                item.answer = Some(format!("status {}", answer.status));
                item.next_step = None;
            }
            Revoked::Later(_) => pending(item, format!("status {}: later", answer.status)),
            Revoked::UnsupportedType => {
                item.state = RevocationItemState::Cannot;
                item.answer = Some("the service can't revoke this kind of token".into());
                item.sealed = None;
            }
            Revoked::Refused(said) if answer.status == 401 || answer.status == 403 => {
                pending(item, format!("the service refused the call: {said}"));
            }
            Revoked::Refused(said) => {
                item.state = RevocationItemState::Cannot;
                item.answer = Some(format!("the service refused the call: {said}"));
                item.next_step = Some("end it in the service's settings".into());
                item.sealed = None;
            }
        },
        Sent::NotSent(why) | Sent::MaybeSent(why) => pending(item, why),
    }
}
