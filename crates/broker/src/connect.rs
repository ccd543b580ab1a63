//! Connecting: the browser half of an authorization code, its callback, and client credentials.
//!
//! Everything that decides where a code may go is frozen when the flow starts; a callback is matched
//! by its state, the exact redirect URI, and the issuer, before the code is within reach.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use indicia_catalog::{Capability, Flow, GrantType};
use indicia_oauth::authorization::{self, AuthorizationRequest, CallbackError, Expected};
use indicia_oauth::grant::{client_credentials, code as code_grant};
use indicia_oauth::{Credentials, Timestamp, pkce};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Broker;
use crate::adopt::Adoption;
use crate::call::Bound;
use crate::client_gate::{ChosenSecret, Gate};
use crate::commit_code::{CodeFlown, CodeKept, CodeSpend, FlowSecrets, TakenCode};
use crate::error::Error;
use crate::model::{ConnectionId, FlowRow, TakenFlow};
use crate::outcome::{self, Evidence, Outcome};
use crate::ports::Sent;
use crate::vault::Field;
use crate::view::ConnectionView;

/// How long a pending flow can be finished.
pub const FLOW_LIFE: Duration = Duration::from_secs(15 * 60);

/// Setting of a client with the scopes to ask for when nothing is said: separated by spaces.
pub const SCOPES_SETTING: &str = "scopes";

/// What to connect.
#[derive(Clone, Debug, Default)]
pub struct ConnectRequest {
    /// Our client id.
    pub client: String,
    /// The connection's id; the client's, then with -2, -3, where none is given.
    pub id: Option<String>,
    /// What it must be able to do.
    pub capabilities: Vec<Capability>,
    /// Scopes in the service's words, besides.
    pub scopes: Vec<String>,
    /// Connection-level inputs.
    pub inputs: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Flow; the service's preferred one where none is given.
    pub flow: Option<Flow>,
    /// A reconnect may go to another account.
    pub other_account: bool,
}

/// What comes next.
pub enum ConnectStep {
    /// A person has to log in.
    Browser(BrowserStep),
    /// Connected.
    Done(Box<ConnectionView>),
}

/// Where to send the browser.
#[derive(Clone, Debug)]
pub struct BrowserStep {
    /// The connection that will be made or renewed.
    pub connection: String,
    /// The address to open.
    pub authorize_url: String,
    /// Where the answer will arrive.
    pub redirect_uri: String,
    /// What is asked for: scope, meaning.
    pub asks: Vec<(String, String)>,
    /// There are no scopes: the token has full access to the account.
    pub full_access: bool,
    /// The flow can't be finished after this.
    pub expires_at: Timestamp,
}

/// Frozen at the start of a flow (RFC 9700 §4.4.2).
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Frozen {
    client_id: String,
    token_url: Option<String>,
    issuer: Option<String>,
    issuer_always: bool,
    redirect_in_request: bool,
    other_account: bool,
}

impl Broker {
    /// Begins a connection, or makes it where no person is needed.
    ///
    /// # Errors
    /// Unknown client, refused inputs, scopes that have to be chosen first, an id that is taken.
    pub async fn connect(self: &Arc<Self>, request: ConnectRequest) -> Result<ConnectStep, Error> {
        let client = self.client_named(&request.client).await?;
        let service = self.service(&client.service)?;
        service
            .inputs_for(&client.inputs, &request.inputs)
            .map_err(|e| {
                let bound = Bound {
                    client: client.clone(),
                    service: Arc::clone(&service),
                    inputs: BTreeMap::new(),
                };
                bound.filled(e)
            })?;
        let bound = self.bind(client, &request.inputs)?;
        let flow = flow_of(&bound, request.flow)?;
        let asked = asked(&bound, &request)?;
        let connection = self.connection_id(&bound, request.id.as_deref()).await?;
        match flow {
            Flow::AuthorizationCode => {
                let step = self.begin_code(&bound, connection, asked, &request).await?;
                Ok(ConnectStep::Browser(step))
            }
            Flow::ClientCredentials => {
                let view = self
                    .connect_credentials(bound, connection, asked, request)
                    .await?;
                Ok(ConnectStep::Done(Box::new(view)))
            }
            Flow::Implicit | Flow::Device | Flow::Import | Flow::ApiKey => Err(Error::Refused {
                code: "flow_not_offered",
                field: "flow".into(),
                detail: "this flow can't be used with `connect` yet".into(),
                hint: "choose authorization-code or client-credentials".into(),
            }),
        }
    }

    async fn connection_id(
        &self,
        bound: &Bound,
        wish: Option<&str>,
    ) -> Result<ConnectionId, Error> {
        if let Some(wish) = wish {
            let id = ConnectionId::new(wish).map_err(|e| Error::Refused {
                code: "input_refused",
                field: "id".into(),
                detail: e.to_string(),
                hint: "choose another with --id".into(),
            })?;
            if let Some((row, _)) = self.ports.store.connection(&id).await?
                && row.client != bound.client.id
            {
                return Err(Error::Conflict {
                    code: "id_taken",
                    detail: format!(
                        "there is a connection {id} already, of client {}",
                        row.client
                    ),
                    hint: "choose another with --id".into(),
                });
            }
            return Ok(id);
        }
        for n in 1_u32.. {
            let client = &bound.client.id;
            let text = if n == 1 {
                client.to_string()
            } else {
                format!("{client}-{n}")
            };
            let id = ConnectionId::new(&text).map_err(|e| Error::Internal(e.to_string()))?;
            if self.ports.store.connection(&id).await?.is_none() {
                return Ok(id);
            }
        }
        Err(Error::Internal("ran out of numbers".into()))
    }

    async fn begin_code(
        &self,
        bound: &Bound,
        connection: ConnectionId,
        asked: Asked,
        request: &ConnectRequest,
    ) -> Result<BrowserStep, Error> {
        let call = bound
            .service
            .authorize(bound.cx())
            .map_err(|e| bound.filled(e))?;
        let mut random = [0; authorization::STATE_RANDOM_BYTES];
        self.ports.random.fill(&mut random);
        let state = authorization::state(&random);
        let verifier = call.pkce.then(|| {
            let mut random = [0; pkce::RANDOM_BYTES];
            self.ports.random.fill(&mut random);
            pkce::verifier(&random)
        });
        let challenge = verifier.as_ref().map(pkce::challenge);
        let redirect_uri = bound.client.redirect_uri.clone();
        let mut params = call.params.clone();
        if let Some(name) = bound.service.scopes.optional_param.clone()
            && !asked.optional.is_empty()
        {
            params.push((name, asked.optional.join(&bound.service.scopes.separator)));
        }
        let url = authorization::url(&AuthorizationRequest {
            endpoint: &bound.client.environment.address_of(&call.url),
            client_id: &bound.client.client_id,
            redirect_uri: call.send_redirect_uri.then_some(redirect_uri.as_str()),
            scopes: &asked.scopes,
            scope_separator: &bound.service.scopes.separator,
            state: &state,
            challenge: challenge.as_deref(),
            params: &params,
        })
        .map_err(|e| misbuilt(&e.to_string()))?;
        let now = self.ports.clock.now();
        // Where the callback decides the endpoint (by a table of the catalogue), it isn't known yet.
        let token_url = bound
            .token_endpoint(GrantType::AuthorizationCode)
            .ok()
            .map(|e| e.url);
        let frozen = Frozen {
            client_id: bound.client.client_id.clone(),
            token_url,
            issuer: call.issuer,
            issuer_always: call.issuer_always,
            redirect_in_request: call.send_redirect_uri,
            other_account: request.other_account,
        };
        let state_hash = hash(&state);
        let secrets = FlowSecrets {
            state,
            verifier: verifier.map(|v| v.expose().to_owned()),
        };
        let expires_at = now.plus(FLOW_LIFE);
        let row = FlowRow {
            sealed: self.vault.seal(
                Field::Flow {
                    state_hash: &state_hash,
                },
                &secrets.to_bytes(),
            ),
            state_hash,
            client: bound.client.id.clone(),
            connection: connection.clone(),
            redirect_uri: redirect_uri.clone(),
            frozen: serde_json::to_string(&frozen).map_err(|e| Error::Internal(e.to_string()))?,
            asked: asked.all(),
            inputs: request.inputs.clone(),
            labels: request.labels.clone(),
            created_at: now,
            expires_at,
            used_at: None,
            journal: None,
        };
        self.ports.store.add_flow(row).await?;
        Ok(BrowserStep {
            connection: connection.to_string(),
            authorize_url: url,
            redirect_uri,
            asks: meanings(bound, &asked.all()),
            full_access: bound.service.scopes.full_access,
            expires_at,
        })
    }

    /// Finishes a pending flow with the address that the browser landed on.
    ///
    /// # Errors
    /// State unknown, used or expired; another client's callback; the user's refusal; another
    /// account. No token request is made in these cases, and what was there stays as it is.
    pub async fn finish(self: &Arc<Self>, callback_url: &str) -> Result<ConnectionView, Error> {
        let _open = self.flights.count();
        let callback_url = callback_url.trim();
        let (place, rest) = callback_url.split_once('?').unwrap_or((callback_url, ""));
        let query = rest.split('#').next().unwrap_or_default();
        let state = authorization::callback_state(query).map_err(callback_refused)?;
        let state_hash = hash(&state);
        match self.ports.store.flow(&state_hash).await? {
            Some(flow) if !arrived_at(&flow.redirect_uri, place) => return Err(elsewhere(&flow)),
            _ => {}
        }
        match CodeSpend::take(self, &state_hash).await? {
            TakenCode::Spend(spend) => self.exchange(*spend, query).await,
            TakenCode::Not(TakenFlow::Used(_)) => Err(state_error(
                "state_used",
                "this address was opened before; it works once",
            )),
            TakenCode::Not(TakenFlow::Expired(_)) => Err(state_error(
                "state_expired",
                "this connection attempt took too long",
            )),
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
                Outcome::Granted(tokens) => self.adopt_code(*kept, bound, *tokens, secret.n).await,
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
        let frozen: Frozen = serde_json::from_str(&flow.frozen)
            .map_err(|_| Error::Internal("a pending flow can't be read".into()))?;
        let expected = Expected {
            state: &spend.secrets().state,
            issuer: frozen.issuer.as_deref(),
            issuer_always: frozen.issuer_always,
        };
        let callback = authorization::check(query, &expected).map_err(callback_refused)?;
        let client = self.client_row(&flow.client).await?;
        let mut bound = self.bind(client, &flow.inputs)?;
        let learnt = bound.service.learn_from_callback(callback.extra());
        bound.inputs.extend(learnt.map_err(|e| bound.filled(e))?);
        let endpoint = bound.token_endpoint(GrantType::AuthorizationCode)?;
        let moved = frozen
            .token_url
            .as_ref()
            .is_some_and(|url| *url != endpoint.url);
        if moved || frozen.client_id != bound.client.client_id {
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
        let credentials = Credentials {
            client_id: &bound.client.client_id,
            secret: secret.secret.as_ref(),
        };
        let redirect = frozen
            .redirect_in_request
            .then_some(flow.redirect_uri.as_str());
        let verifier = spend.secrets().verifier();
        let code = callback.into_code();
        let request =
            code_grant::request(&endpoint, &credentials, code, redirect, verifier.as_ref())
                .map_err(|e| misbuilt(&e.to_string()))?;
        Ok((request, bound, secret))
    }

    /// Makes the connection from a kept answer; also `recover`'s way.
    pub(crate) async fn adopt_code(
        self: &Arc<Self>,
        kept: CodeKept,
        bound: Bound,
        tokens: indicia_oauth::TokenSet,
        secret_n: u32,
    ) -> Result<ConnectionView, Error> {
        let (flow, sent_at, in_journal) = kept.into_flow();
        let other_account =
            serde_json::from_str::<Frozen>(&flow.frozen).is_ok_and(|frozen| frozen.other_account);
        let now = self.ports.clock.now();
        self.client_was_accepted(&bound.client, secret_n, now)
            .await?;
        let adoption = Adoption {
            bound,
            connection: flow.connection.clone(),
            flow: Flow::AuthorizationCode,
            asked: flow.asked.clone(),
            labels: flow.labels.clone(),
            other_account,
            tokens,
            sent_at,
            in_journal,
            secret_n,
        };
        let view = self.adopt(adoption).await;
        // Refused for its account or id: kept no longer, or `recover` would try for ever.
        if matches!(view, Ok(_) | Err(Error::Conflict { .. })) {
            let _ = self.ports.journal.committed(&flow.state_hash, 0, now).await;
            let _ = self.ports.store.remove_flow(&flow.state_hash).await;
        }
        view
    }

    async fn exchange_failed(
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
                let told = self
                    .client_was_refused(&bound.client, input, secret.n, &evidence, now)
                    .await;
                told.err()
                    .unwrap_or_else(|| client_refused(bound, &evidence.text))
            }
            Outcome::GrantRefused(evidence) => Error::Refused {
                code: "code_refused",
                field: "code".into(),
                detail: format!(
                    "{service} refused the authorization code ({})",
                    evidence.text
                ),
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
            Outcome::Misconfigured(evidence) => misbuilt(&format!(
                "{service} refused the request as wrong ({})",
                evidence.text
            )),
            Outcome::Granted(_) => Error::Internal("a granted exchange can't fail".into()),
        }
    }

    async fn connect_credentials(
        self: &Arc<Self>,
        bound: Bound,
        connection: ConnectionId,
        asked: Asked,
        request: ConnectRequest,
    ) -> Result<ConnectionView, Error> {
        let _open = self.flights.count();
        let endpoint = bound.token_endpoint(GrantType::ClientCredentials)?;
        let now = self.ports.clock.now();
        let secret = match self.gate(&bound.client, bound.secret_input(), now).await? {
            Gate::Open(secret) => secret,
            Gate::Closed(refused) => return Err(client_refused(&bound, &refused.said)),
        };
        let credentials = Credentials {
            client_id: &bound.client.client_id,
            secret: secret.secret.as_ref(),
        };
        let separator = &bound.service.scopes.separator;
        let call = client_credentials::request(&endpoint, &credentials, &asked.scopes, separator)
            .map_err(|e| misbuilt(&e.to_string()))?;
        let outcome = match self.ports.transport.send(call, &|| true).await {
            Sent::Answer(answer) => outcome::classify(&answer, &bound.service.dialect, now),
            Sent::NotSent(why) => Outcome::not_sent(&why),
            Sent::MaybeSent(why) => Outcome::lost(&why),
        };
        match outcome {
            Outcome::Granted(tokens) => {
                self.client_was_accepted(&bound.client, secret.n, now)
                    .await?;
                let adoption = Adoption {
                    bound,
                    connection,
                    flow: Flow::ClientCredentials,
                    asked: asked.scopes,
                    labels: request.labels,
                    other_account: request.other_account,
                    tokens: without_refresh(*tokens),
                    sent_at: now,
                    in_journal: false,
                    secret_n: secret.n,
                };
                self.adopt(adoption).await
            }
            other => Err(self.exchange_failed(&bound, &secret, other, now).await),
        }
    }
}

/// A refresh token that comes with client credentials is ignored (RFC 6749 §4.4.3).
fn without_refresh(mut tokens: indicia_oauth::TokenSet) -> indicia_oauth::TokenSet {
    tokens.refresh_token = None;
    tokens
}

/// SHA-256 in hex: what a state is known by in the store.
pub(crate) fn hash(state: &str) -> String {
    hex::encode(Sha256::digest(state.as_bytes()))
}

/// Whether an answer arrived where it was asked to: exactly, but for a query that the redirect URI
/// itself has.
fn arrived_at(redirect_uri: &str, place: &str) -> bool {
    redirect_uri.split('?').next() == Some(place)
}

fn elsewhere(flow: &FlowRow) -> Error {
    Error::Refused {
        code: "callback_of_another_client",
        field: "callback".into(),
        detail: format!(
            "this answer was expected at {}, not here",
            flow.redirect_uri
        ),
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

fn callback_refused(error: CallbackError) -> Error {
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

fn client_refused(bound: &Bound, said: &str) -> Error {
    Error::Unavailable {
        code: "client_refused",
        detail: format!(
            "{} refuses client {} ({said})",
            bound.service.name, bound.client.id
        ),
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

fn misbuilt(detail: &str) -> Error {
    Error::Refused {
        code: "misconfigured",
        field: "service".into(),
        detail: detail.to_owned(),
        hint: "check redirect URI, scopes and inputs: `indicia clients show`, `indicia doctor`"
            .into(),
    }
}

fn flow_of(bound: &Bound, wish: Option<Flow>) -> Result<Flow, Error> {
    let offered = &bound.service.flows;
    let flow = wish
        .or_else(|| offered.first().copied())
        .unwrap_or(Flow::AuthorizationCode);
    if offered.contains(&flow) {
        return Ok(flow);
    }
    let names: Vec<String> = offered
        .iter()
        .filter_map(|f| serde_json::to_value(f).ok()?.as_str().map(str::to_owned))
        .collect();
    Err(Error::Refused {
        code: "flow_not_offered",
        field: "flow".into(),
        detail: format!("{} does not offer this flow", bound.service.name),
        hint: format!("it offers {}", names.join(", ")),
    })
}

/// What is asked for.
struct Asked {
    scopes: Vec<String>,
    optional: Vec<String>,
}

impl Asked {
    fn all(&self) -> Vec<String> {
        self.scopes.iter().chain(&self.optional).cloned().collect()
    }
}

fn asked(bound: &Bound, request: &ConnectRequest) -> Result<Asked, Error> {
    let rule = &bound.service.scopes;
    let (mut scopes, optional) =
        bound
            .service
            .scopes_for(&request.capabilities)
            .map_err(|detail| Error::Refused {
                code: "capability_unknown",
                field: "can".into(),
                detail,
                hint: format!("`indicia services show {}` lists them", bound.service.id),
            })?;
    let mut wished = request.scopes.clone();
    if wished.is_empty() && request.capabilities.is_empty() {
        let saved = bound
            .client
            .settings
            .get(SCOPES_SETTING)
            .cloned()
            .unwrap_or_default();
        wished = saved
            .split(' ')
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect();
        if wished.is_empty() && !rule.known.is_empty() && !rule.full_access {
            return Err(choose(bound));
        }
    }
    for scope in wished {
        if !scopes.contains(&scope) && !optional.contains(&scope) {
            scopes.push(scope);
        }
    }
    Ok(Asked { scopes, optional })
}

fn choose(bound: &Bound) -> Error {
    let rule = &bound.service.scopes;
    let can: Vec<String> = rule.capabilities.keys().map(ToString::to_string).collect();
    Error::Refused {
        code: "scopes_missing",
        field: "can".into(),
        detail: format!(
            "say what the connection must be able to do: {}",
            can.join(", ")
        ),
        hint: format!(
            "for example --can {}; `indicia services show {}` lists the scopes",
            can.first().map_or("account.read", String::as_str),
            bound.service.id
        ),
    }
}

fn meanings(bound: &Bound, scopes: &[String]) -> Vec<(String, String)> {
    let meaning = |scope: &String| {
        let known = bound.service.scopes.known.iter().find(|k| k.name == *scope);
        (
            scope.clone(),
            known.map(|k| k.meaning.clone()).unwrap_or_default(),
        )
    };
    scopes.iter().map(meaning).collect()
}
