//! The device flow (RFC 8628): a person enters a code on any device that has a browser, and we ask
//! the token endpoint meanwhile, no faster than it wants.
//!
//! What would surprise: an answer that was lost doesn't end the flow, although a device code is
//! used once. Whether the person had decided by then is unknown; if so, the next poll is refused,
//! and nothing is worse than if it hadn't been sent. Once a token came, nothing is sent any more.

use std::sync::Arc;
use std::time::Duration;

use indicia_catalog::{Flow, GrantType};
use indicia_oauth::grant::device::{self, DeviceAuthorization, DeviceError};
use indicia_oauth::{DeviceCode, Request, Timestamp};
use tokio::sync::oneshot;

use crate::Broker;
use crate::call::Bound;
use crate::callback::client_refused;
use crate::client_gate::{ChosenSecret, Gate};
use crate::commit_code::{CodeSpend, FlowSecrets, Polled, TakenCode};
use crate::connect::{Asked, ConnectRequest, Frozen, misbuilt};
use crate::error::Error;
use crate::model::{ConnectionId, FlowRow, TakenFlow};
use crate::outcome::{self, Evidence, Outcome};
use crate::ports::Sent;
use crate::scopes::{AskedScope, asks};
use crate::spoken::Spoken;
use crate::view::ConnectionView;

/// What the person has to do. Its texts come from the service, judged: printable, and addresses are
/// https.
#[derive(Clone, Debug)]
pub struct DeviceStep {
    /// The flow, for [`Broker::finish_device`]. No secret.
    pub flow: String,
    /// The connection that will be made or renewed.
    pub connection: String,
    /// The code to enter.
    pub user_code: String,
    /// Where to enter it.
    pub verification_uri: String,
    /// The same with the code in it, where the service tells one: for a picture.
    pub verification_uri_complete: Option<String>,
    /// What is asked for.
    pub asks: Vec<AskedScope>,
    /// There are no scopes: the token has full access to the account.
    pub full_access: bool,
    /// The code can't be entered after this.
    pub expires_at: Timestamp,
}

impl Broker {
    pub(crate) async fn begin_device(
        &self,
        bound: &Bound,
        connection: ConnectionId,
        asked: &Asked,
        request: &ConnectRequest,
    ) -> Result<DeviceStep, Error> {
        let token_url = bound.token_endpoint(GrantType::DeviceCode)?.url;
        let begun = self.ports.clock.now();
        let authorization = self.authorize_device(bound, asked, begun).await?;
        let secrets = self.device_secrets(&authorization);
        let frozen = Frozen {
            client_id: bound.client.client_id.clone(),
            token_url: Some(token_url),
            issuer: None,
            issuer_always: false,
            redirect_in_request: false,
            other_account: request.other_account,
            flow: Flow::Device,
            interval_secs: authorization.interval.as_secs(),
        };
        let row = self.pending(bound, connection, asked, request, (&frozen, &secrets))?;
        let row = FlowRow { expires_at: begun.plus(authorization.life), ..row };
        let place = |uri: &str| bound.client.environment.address_of(uri);
        let step = DeviceStep {
            flow: row.state_hash.clone(),
            connection: row.connection.to_string(),
            user_code: authorization.user_code,
            verification_uri: place(&authorization.verification_uri),
            verification_uri_complete: authorization.verification_uri_complete.map(|u| place(&u)),
            asks: asks(bound, &row.asked, &request.capabilities),
            full_access: bound.service.scopes.full_access,
            expires_at: row.expires_at,
        };
        self.ports.store.add_flow(row).await?;
        Ok(step)
    }

    /// Asks for the two codes (RFC 8628 §3.1). Nothing is granted by it, so nothing is kept.
    async fn authorize_device(
        &self,
        bound: &Bound,
        asked: &Asked,
        now: Timestamp,
    ) -> Result<DeviceAuthorization, Error> {
        let endpoint = bound.service.device(bound.cx()).map_err(|e| bound.filled(e))?;
        let endpoint = endpoint.ok_or_else(|| not_offered(bound))?;
        let endpoint = bound.at_environment(endpoint);
        let secret = match self.gate(&bound.client, bound.secret_input(), now).await? {
            Gate::Open(secret) => secret,
            Gate::Closed(refused) => return Err(client_refused(bound, &refused.said)),
        };
        let separator = &bound.service.scopes.separator;
        let proven = self.client_proof(bound, &secret)?;
        let request = device::request(&endpoint, &proven.credentials(), &asked.all(), separator)
            .map_err(|e| misbuilt(&e.to_string()))?;
        let spoken = Spoken::of(&request);
        let outcome = match self.ports.transport.send(request, &|| true).await {
            Sent::Answer(answer) if answer.status == 200 => {
                let found = device::read(&answer).map_err(|error| odd(bound, &error))?;
                return checked(bound, found);
            }
            Sent::Answer(answer) => {
                outcome::classify(&answer, &bound.service.dialect, now, &spoken)
            }
            Sent::NotSent(why) => Outcome::not_sent(&why),
            Sent::MaybeSent(why) => Outcome::lost(&why),
        };
        Err(self.device_failed(bound, &secret, outcome, now).await)
    }

    fn device_secrets(&self, authorization: &DeviceAuthorization) -> FlowSecrets {
        let mut random = [0; indicia_oauth::authorization::STATE_RANDOM_BYTES];
        self.ports.random.fill(&mut random);
        FlowSecrets {
            state: indicia_oauth::authorization::state(&random),
            verifier: None,
            device_code: Some(authorization.device_code.expose().to_owned()),
        }
    }

    /// Waits until the person has decided, or the code's life is over, and makes the connection.
    /// Who stops waiting stops the polls.
    ///
    /// # Errors
    /// The person's refusal; a code that ended; a service that refuses or can't be reached until
    /// then; a flow that is unknown or is waited for elsewhere.
    pub async fn finish_device(self: &Arc<Self>, flow: &str) -> Result<ConnectionView, Error> {
        let broker = Arc::clone(self);
        let flow = flow.to_owned();
        let (mut tell, told) = oneshot::channel();
        // A task of its own: a caller who goes away must not take an answer with him.
        self.ports.spawn.spawn(Box::pin(async move {
            let view = broker.poll_until_decided(&flow, &mut tell).await;
            // Nobody may be waiting any more.
            let _ = tell.send(view);
        }));
        told.await.unwrap_or_else(|_| Err(Error::Internal("the attempt was stopped".into())))
    }

    async fn poll_until_decided(
        self: &Arc<Self>,
        flow: &str,
        waiter: &mut oneshot::Sender<Result<ConnectionView, Error>>,
    ) -> Result<ConnectionView, Error> {
        self.may_send().await?;
        let mut spend = match CodeSpend::take(self, flow).await? {
            TakenCode::Spend(spend) => spend,
            TakenCode::Not(TakenFlow::Expired(_)) => return Err(expired()),
            TakenCode::Not(TakenFlow::Used(_)) => return Err(used()),
            TakenCode::Not(TakenFlow::Unknown | TakenFlow::Taken(_)) => return Err(unknown()),
        };
        let frozen = Frozen::of(spend.flow())?;
        let mut pace = Pace { interval: Duration::from_secs(frozen.interval_secs) };
        let mut wait = pace.interval;
        loop {
            let wakes_at = self.ports.clock.now().plus(wait);
            let stopped = wakes_at >= spend.flow().expires_at
                || tokio::time::timeout(wait, waiter.closed()).await.is_ok();
            if stopped {
                spend.give_up(self).await;
                return Err(expired());
            }
            let open = self.flights.count();
            let polled = self.poll_once(spend, &frozen).await;
            drop(open);
            let (still, evidence) = match polled? {
                Next::Connected(view) => return Ok(*view),
                Next::Again(still, evidence) => (still, evidence),
            };
            spend = still;
            wait = pace.after(&evidence);
        }
    }

    /// One poll: connected, to be asked again, or the end of it.
    async fn poll_once(
        self: &Arc<Self>,
        spend: Box<CodeSpend>,
        frozen: &Frozen,
    ) -> Result<Next, Error> {
        let now = self.ports.clock.now();
        let (request, bound, secret) = match self.poll_request(&spend, frozen, now).await {
            Ok(ready) => ready,
            Err(error) => {
                spend.give_up(self).await;
                return Err(error);
            }
        };
        let known = (&bound.service.dialect, bound.inputs.clone());
        match spend.poll(self, request, known).await {
            Polled::Kept(kept) => match kept.outcome(&bound.service.dialect) {
                // mark: one-success-then-silence
                Outcome::Granted(tokens) => {
                    let n = Some(secret.n);
                    let view = self.adopt_code(*kept, bound, *tokens, n).await?;
                    Ok(Next::Connected(Box::new(view)))
                }
                other => Err(self.device_failed(&bound, &secret, other, now).await),
            },
            Polled::Open(spend, outcome) => match asks_again(outcome) {
                Ok(evidence) => Ok(Next::Again(spend, evidence)),
                Err(outcome) => {
                    spend.give_up(self).await;
                    Err(self.device_failed(&bound, &secret, outcome, now).await)
                }
            },
        }
    }

    async fn poll_request(
        &self,
        spend: &CodeSpend,
        frozen: &Frozen,
        now: Timestamp,
    ) -> Result<(Request, Bound, ChosenSecret), Error> {
        let flow = spend.flow();
        let bound = self.bind(self.client_row(&flow.client).await?, &flow.inputs)?;
        let endpoint = bound.token_endpoint(GrantType::DeviceCode)?;
        let same_place = frozen.token_url.as_ref() == Some(&endpoint.url);
        if !same_place || frozen.client_id != bound.client.client_id {
            return Err(Error::Refused {
                code: "flow_changed",
                field: "flow".into(),
                detail: "the client or its service changed since this attempt began".into(),
                hint: AGAIN.into(),
            });
        }
        let secret = match self.gate(&bound.client, bound.secret_input(), now).await? {
            Gate::Open(secret) => secret,
            Gate::Closed(refused) => return Err(client_refused(&bound, &refused.said)),
        };
        let code = DeviceCode::new(spend.secrets().device_code.clone().unwrap_or_default());
        let proven = self.client_proof(&bound, &secret)?;
        let request = device::token_request(&endpoint, &proven.credentials(), &code)
            .map_err(|e| misbuilt(&e.to_string()))?;
        drop(proven);
        Ok((request, bound, secret))
    }

    /// What the end of it means for who asked.
    async fn device_failed(
        &self,
        bound: &Bound,
        secret: &ChosenSecret,
        outcome: Outcome,
        now: Timestamp,
    ) -> Error {
        let service = &bound.service.name;
        match outcome {
            Outcome::Nonsense(e) if e.code.as_deref() == Some("access_denied") => Error::Refused {
                code: "access_denied",
                field: "user_code".into(),
                detail: format!("access was refused at {service}"),
                hint: AGAIN.into(),
            },
            Outcome::Nonsense(e) if e.code.as_deref() == Some("expired_token") => expired(),
            Outcome::GrantRefused(evidence) => Error::Refused {
                code: "code_refused",
                field: "device_code".into(),
                detail: format!("{service} refused the device code ({})", evidence.text),
                hint: AGAIN.into(),
            },
            Outcome::Throttled(e) | Outcome::Unavailable(e) | Outcome::Nonsense(e) => {
                Error::Unavailable {
                    code: "service_unavailable",
                    detail: format!("{service} gave no usable answer ({})", e.text),
                    retry_after: e.retry_after,
                    hint: AGAIN.into(),
                }
            }
            other => self.exchange_failed(bound, secret, other, now).await,
        }
    }
}

enum Next {
    Connected(Box<ConnectionView>),
    Again(Box<CodeSpend>, Evidence),
}

/// Whether a poll's outcome leaves the code as it was, as far as we know (RFC 8628 §3.5): then what
/// it says, for the pace. Any other error ends the polling.
fn asks_again(outcome: Outcome) -> Result<Evidence, Outcome> {
    match outcome {
        Outcome::Nonsense(evidence) if evidence.code.as_deref() == Some(PENDING) => Ok(evidence),
        Outcome::Throttled(e) | Outcome::Unavailable(e) | Outcome::Ambiguous(e) => Ok(e),
        other => Err(other),
    }
}

/// How often is asked.
struct Pace {
    interval: Duration,
}

impl Pace {
    /// The wait after an answer, or after none (RFC 8628 §3.5).
    fn after(&mut self, evidence: &Evidence) -> Duration {
        match evidence.code.as_deref() {
            Some(PENDING) => {}
            // mark: slow-down-for-good
            Some("slow_down") => self.interval += device::SLOW_DOWN,
            _ => {
                // mark: silence-is-answered-by-less
                let longest = device::INTERVAL_MAX.max(self.interval);
                self.interval = (self.interval * 2).min(longest);
            }
        }
        evidence.retry_after.map_or(self.interval, |wished| wished.max(self.interval))
    }
}

/// A service of the internet sends nobody to plain http, and a sandbox's addresses are rewritten
/// after this.
fn checked(bound: &Bound, found: DeviceAuthorization) -> Result<DeviceAuthorization, Error> {
    let may = |uri: &String| uri.starts_with("https:") || bound.service.loopback_http;
    if may(&found.verification_uri) && found.verification_uri_complete.iter().all(may) {
        return Ok(found);
    }
    Err(odd(bound, &DeviceError::Member("verification_uri")))
}

fn odd(bound: &Bound, error: &DeviceError) -> Error {
    Error::Refused {
        code: "device_answer_refused",
        field: "service".into(),
        detail: format!("what {} answered can't be shown: {error}", bound.service.name),
        hint: "check `[device]` in the service file, or choose another flow".into(),
    }
}

fn not_offered(bound: &Bound) -> Error {
    Error::Refused {
        code: "flow_not_offered",
        field: "flow".into(),
        detail: format!("{} tells of no device authorization endpoint", bound.service.name),
        hint: "choose another flow".into(),
    }
}

fn expired() -> Error {
    Error::Refused {
        code: "device_expired",
        field: "user_code".into(),
        detail: "nobody entered the code in time".into(),
        hint: AGAIN.into(),
    }
}

fn used() -> Error {
    Error::Refused {
        code: "state_used",
        field: "flow".into(),
        detail: "this attempt is waited for elsewhere, or has ended".into(),
        hint: AGAIN.into(),
    }
}

fn unknown() -> Error {
    Error::Refused {
        code: "state_unknown",
        field: "flow".into(),
        detail: "no such attempt was started here".into(),
        hint: AGAIN.into(),
    }
}

const PENDING: &str = "authorization_pending";
const AGAIN: &str = "start again with `indicia connect`, once somebody can enter the code";
