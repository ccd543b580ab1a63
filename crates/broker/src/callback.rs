//! The callback of an authorization request: matched by state, exact redirect URI and issuer before
//! the code is within reach; exchanged once, ever.

use std::sync::Arc;

use indicia_catalog::{Flow, GrantType};
use indicia_oauth::Timestamp;
use indicia_oauth::authorization::{self, CallbackError, Expected};
use indicia_oauth::grant::code as code_grant;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::Broker;
use crate::adopt::Adoption;
use crate::call::Bound;
use crate::client_gate::{ChosenSecret, Gate};
use crate::commit_code::{CodeFlown, CodeKept, CodeSpend, TakenCode};
use crate::connect::{Frozen, hash, misbuilt};
use crate::error::Error;
use crate::model::{FlowRow, RotationOwner, TakenFlow};
use crate::outcome::{Evidence, Outcome};
use crate::view::ConnectionView;

impl Broker {
    /// Finishes a pending flow with the address that the browser landed on.
    ///
    /// # Errors
    /// State unknown, used or expired; another client's callback; the user's refusal; another
    /// account. No token request is made in these cases, and what was there stays as it is.
    pub async fn finish(self: &Arc<Self>, callback_url: &str) -> Result<ConnectionView, Error> {
        let broker = Arc::clone(self);
        let url = Zeroizing::new(callback_url.trim().to_owned());
        let (tell, told) = oneshot::channel();
        // A task of its own: a caller who goes away must not take a code's answer with him.
        self.ports.spawn.spawn(Box::pin(async move {
            let open = broker.flights.count();
            let view = broker.finish_now(&url).await;
            drop(open);
            // Nobody may be waiting any more.
            let _ = tell.send(view);
        }));
        told.await.unwrap_or_else(|_| Err(Error::Internal("the attempt was stopped".into())))
    }

    async fn finish_now(self: &Arc<Self>, callback_url: &str) -> Result<ConnectionView, Error> {
        self.may_send().await?;
        let landed = Landed::of(callback_url).map_err(callback_refused)?;
        let Landed { answer, in_fragment, ref state, .. } = landed;
        let state_hash = hash(state);
        let implicit = match self.ports.store.flow(&state_hash).await? {
            Some(flow) if !landed.is_at(&flow.redirect_uri) => return Err(elsewhere(&flow)),
            Some(flow) => {
                let implicit = Frozen::of(&flow)?.flow == Flow::Implicit;
                if implicit != in_fragment {
                    return Err(misplaced(state, answer));
                }
                implicit
            }
            None => false,
        };
        match CodeSpend::take(self, &state_hash).await? {
            TakenCode::Spend(spend) if implicit => self.take_fragment(*spend, answer).await,
            TakenCode::Spend(spend) => self.exchange(*spend, answer).await,
            TakenCode::Not(TakenFlow::Used(_)) => {
                Err(state_error("state_used", "this address was opened before; it works once"))
            }
            TakenCode::Not(TakenFlow::Expired(_)) => {
                Err(state_error("state_expired", "this connection attempt took too long"))
            }
            TakenCode::Not(TakenFlow::Unknown | TakenFlow::Taken(_)) => Err(state_error(
                "state_unknown",
                "this address doesn't belong to a connection attempt that was started here",
            )),
        }
    }

    async fn exchange(
        self: &Arc<Self>,
        spend: CodeSpend,
        query: &str,
    ) -> Result<ConnectionView, Error> {
        let (request, bound, secret) = match self.exchange_request(&spend, query).await {
            Ok(ready) => ready,
            Err(error) => {
                spend.give_up(self).await;
                return Err(error);
            }
        };
        let now = self.ports.clock.now();
        match spend.send(self, request, bound.inputs.clone()).await {
            CodeFlown::Kept(kept) => match kept.outcome(&bound.service.dialect) {
                Outcome::Granted(tokens) => {
                    self.adopt_code(*kept, bound, *tokens, Some(secret.n)).await
                }
                outcome => Err(self.exchange_failed(&bound, &secret, outcome, now).await),
            },
            CodeFlown::NoAnswer(outcome) => {
                Err(self.exchange_failed(&bound, &secret, outcome, now).await)
            }
        }
    }

    /// Checks the callback and builds the exchange.
    async fn exchange_request(
        &self,
        spend: &CodeSpend,
        query: &str,
    ) -> Result<(indicia_oauth::Request, Bound, ChosenSecret), Error> {
        let flow = spend.flow();
        let frozen = Frozen::of(flow)?;
        let expected = Expected {
            state: &spend.secrets().state,
            issuer: frozen.issuer.as_deref(),
            issuer_always: frozen.issuer_always,
        };
        // mark: checked-before-the-code
        let callback = authorization::check(query, &expected).map_err(callback_refused)?;
        let client = self.client_row(&flow.client).await?;
        let mut bound = self.bind(client, &flow.inputs)?;
        let before = bound.token_endpoint(GrantType::AuthorizationCode).ok().map(|e| e.url);
        let learnt = bound.service.learn_from_callback(callback.extra());
        bound.inputs.extend(learnt.map_err(|e| bound.filled(e))?);
        let endpoint = bound.token_endpoint(GrantType::AuthorizationCode)?;
        if frozen.token_url != before || frozen.client_id != bound.client.client_id {
            return Err(Error::Refused {
                code: "flow_changed",
                field: "state".into(),
                detail: "the client or its service changed since this attempt began".into(),
                hint: "start again with `indicia connect`".into(),
            });
        }
        let now = self.ports.clock.now();
        let secret = match self.gate(&bound.client, bound.secret_input(), now).await? {
            Gate::Open(secret) => secret,
            Gate::Closed(refused) => return Err(client_refused(&bound, &refused.said)),
        };
        let proven = self.client_proof(&bound, &secret)?;
        let redirect = frozen.redirect_in_request.then_some(flow.redirect_uri.as_str());
        let verifier = spend.secrets().verifier();
        let code = callback.into_code();
        let request = code_grant::request(
            &endpoint,
            &proven.credentials(),
            code,
            redirect,
            verifier.as_ref(),
        )
        .map_err(|e| misbuilt(&e.to_string()))?;
        Ok((request, bound, secret))
    }

    /// Makes the connection from a kept answer; also `recover`'s way.
    pub(crate) async fn adopt_code(
        self: &Arc<Self>,
        kept: CodeKept,
        bound: Bound,
        mut tokens: indicia_oauth::TokenSet,
        secret_n: Option<u32>,
    ) -> Result<ConnectionView, Error> {
        let (flow, sent_at, in_journal) = kept.into_flow();
        let frozen = Frozen::of(&flow)?;
        let now = self.ports.clock.now();
        if frozen.flow == Flow::Implicit {
            // One can't come this way (RFC 6749 §4.2.2), and was seen by whoever saw the address.
            tokens.refresh_token = None;
            if let Err(error) = self.must_be_ours(&bound, tokens.access_token.expose()).await {
                if matches!(error, Error::Refused { .. }) {
                    // Nothing of it is wanted: `recover` must not find it.
                    self.flow_is_done(&flow, now).await;
                }
                return Err(error);
            }
        }
        if let Some(n) = secret_n {
            // The grant is worth more than the note about the client.
            self.client_was_accepted(&bound.client, n, now).await.ok();
        }
        let adoption = Adoption {
            bound,
            connection: flow.connection.clone(),
            flow: frozen.flow,
            consent: Some(flow.state_hash.clone()),
            asked: flow.asked.clone(),
            labels: flow.labels.clone(),
            other_account: frozen.other_account,
            tokens,
            sent_at,
            in_journal,
            secret_n,
            owner: RotationOwner::Indicia,
            learn_account: true,
        };
        let view = self.adopt(adoption).await;
        // Refused for its account or id: kept no longer, or `recover` would try for ever.
        if matches!(view, Ok(_) | Err(Error::Conflict { .. })) {
            self.flow_is_done(&flow, now).await;
        }
        view
    }

    /// Nothing is to be made of its answer any more.
    pub(crate) async fn flow_is_done(&self, flow: &FlowRow, now: Timestamp) {
        let _ = self.ports.journal.committed(&flow.state_hash, 0, now).await;
        let _ = self.ports.store.remove_flow(&flow.state_hash).await;
    }

    /// What an exchange without a token means for who asked.
    pub(crate) async fn exchange_failed(
        &self,
        bound: &Bound,
        secret: &ChosenSecret,
        outcome: Outcome,
        now: Timestamp,
    ) -> Error {
        let service = &bound.service.name;
        match outcome {
            Outcome::ClientRefused(evidence) => {
                let input = bound.secret_input();
                let told =
                    self.client_was_refused(&bound.client, input, secret.n, &evidence, now).await;
                told.err().unwrap_or_else(|| client_refused(bound, &evidence.text))
            }
            Outcome::GrantRefused(evidence) => Error::Refused {
                code: "code_refused",
                field: "code".into(),
                detail: format!("{service} refused the authorization code ({})", evidence.text),
                hint: "start again with `indicia connect`".into(),
            },
            Outcome::Ambiguous(evidence) if evidence.kept => Error::Unavailable {
                code: "unreadable_answer",
                detail: format!(
                    "{service} answered with something that can't be read ({}); it is kept",
                    evidence.text
                ),
                retry_after: None,
                hint: "`indicia recover` reads it again once the service file is right".into(),
            },
            Outcome::Ambiguous(evidence) => again(service, "answer_lost", &evidence),
            Outcome::Throttled(evidence) => again(service, "throttled", &evidence),
            Outcome::Unavailable(evidence) | Outcome::Nonsense(evidence) => {
                again(service, "service_unavailable", &evidence)
            }
            Outcome::Misconfigured(evidence) => {
                misbuilt(&format!("{service} refused the request as wrong ({})", evidence.text))
            }
            Outcome::Granted(_) => Error::Internal("a granted exchange can't fail".into()),
        }
    }
}

/// The address that a browser landed on, taken apart. It holds a code or a token: it doesn't print.
pub struct Landed<'a> {
    /// The address without the answer.
    pub place: &'a str,
    /// The query, or the fragment.
    pub answer: &'a str,
    /// Which of the two.
    pub in_fragment: bool,
    /// The answer's state.
    pub state: String,
}

impl<'a> Landed<'a> {
    /// Takes it apart.
    pub fn of(url: &'a str) -> Result<Self, CallbackError> {
        let (address, fragment) = url.split_once('#').unwrap_or((url, ""));
        let (place, query) = address.split_once('?').unwrap_or((address, ""));
        // Some services put something behind the `#` of a code's callback, too.
        let in_query = authorization::callback_state(query) != Err(CallbackError::State);
        let in_fragment = !in_query && !fragment.is_empty();
        let answer = if in_fragment { fragment } else { query };
        let state = authorization::callback_state(answer)?;
        Ok(Self { place, answer, in_fragment, state })
    }

    /// Whether it arrived where it was asked to: exactly, but for a query that the redirect URI
    /// itself has.
    pub fn is_at(&self, redirect_uri: &str) -> bool {
        redirect_uri.split('?').next() == Some(self.place)
    }
}

/// An answer in the query of an implicit flow, or in the fragment of a code's. A refusal is told
/// wherever it stands; anything else leaves the flow as it is.
fn misplaced(state: &str, answer: &str) -> Error {
    let expected = Expected { state, issuer: None, issuer_always: false };
    match authorization::check(answer, &expected) {
        Err(refused @ CallbackError::Refused { .. }) => callback_refused(refused),
        _ => callback_refused(CallbackError::Malformed("the answer isn't where this flow has it")),
    }
}

fn elsewhere(flow: &FlowRow) -> Error {
    Error::Refused {
        code: "callback_of_another_client",
        field: "callback".into(),
        detail: format!("this answer was expected at {}, not here", flow.redirect_uri),
        hint: "open the address of this client; the attempt still waits".into(),
    }
}

fn state_error(code: &'static str, detail: &str) -> Error {
    Error::Refused {
        code,
        field: "state".into(),
        detail: detail.into(),
        hint: "start again with `indicia connect`".into(),
    }
}

pub(crate) fn callback_refused(error: CallbackError) -> Error {
    let (code, detail) = match &error {
        CallbackError::Refused { code, description } if code == "access_denied" => (
            "access_denied",
            description.as_ref().map_or_else(
                || "access was refused at the login page".to_owned(),
                |d| format!("access was refused at the login page: {d}"),
            ),
        ),
        CallbackError::Refused { code, description } => (
            "service_refused",
            match description {
                Some(text) => format!("the service refused: {code}, {text}"),
                None => format!("the service refused: {code}"),
            },
        ),
        CallbackError::State => ("state_unknown", error.to_string()),
        CallbackError::Issuer => ("issuer_mismatch", error.to_string()),
        CallbackError::Malformed(_) | CallbackError::Twice(_) | CallbackError::Empty => {
            ("callback_malformed", error.to_string())
        }
    };
    Error::Refused {
        code,
        field: "callback".into(),
        detail,
        hint: "start again with `indicia connect`".into(),
    }
}

pub(crate) fn client_refused(bound: &Bound, said: &str) -> Error {
    Error::Unavailable {
        code: "client_refused",
        detail: format!("{} refuses client {} ({said})", bound.service.name, bound.client.id),
        retry_after: None,
        hint: format!(
            "check the client ID and give it a valid secret: `indicia clients secrets {} add`",
            bound.client.id
        ),
    }
}

fn again(service: &str, code: &'static str, evidence: &Evidence) -> Error {
    Error::Unavailable {
        code,
        detail: format!("{service} gave no usable answer ({})", evidence.text),
        retry_after: evidence.retry_after,
        hint: "an authorization code is never sent twice: start again with `indicia connect`"
            .into(),
    }
}
