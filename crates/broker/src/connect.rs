//! Connecting: what is asked for, and what a flow through the browser begins with.
//!
//! Everything that decides where a code may go is frozen when the flow starts; a callback is
//! matched by its state, the exact redirect URI, and the issuer, before the code is within reach.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use indicia_catalog::service::AuthorizeCall;
use indicia_catalog::{Capability, Flow, GrantType};
use indicia_oauth::authorization::{self, AuthorizationRequest, ResponseType};
use indicia_oauth::{Timestamp, pkce};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Broker;
use crate::api_key::KeyStep;
use crate::call::Bound;
use crate::commit_code::FlowSecrets;
use crate::device::DeviceStep;
use crate::error::Error;
use crate::model::{ClientRow, ConnectionId, ConnectionRow, FlowRow};
use crate::scopes::{AskedScope, asks};
use crate::vault::Field;
use crate::view::ConnectionView;

/// How long a pending flow can be finished.
pub const FLOW_LIFE: Duration = Duration::from_secs(15 * 60);

/// Setting of a client with the scopes to ask for when nothing is said, separated by spaces or
/// commas.
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
    /// A person has to enter a code, on any device: then [`Broker::finish_device`].
    Device(DeviceStep),
    /// A person has to hand over a key: then [`Broker::connect_key`].
    Key(KeyStep),
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
    /// What is asked for.
    pub asks: Vec<AskedScope>,
    /// There are no scopes: the token has full access to the account.
    pub full_access: bool,
    /// The answer is the token itself, in the address's fragment: no server sees it, a page has to
    /// hand it over.
    pub implicit: bool,
    /// The flow can't be finished after this.
    pub expires_at: Timestamp,
}

/// Frozen at the start of a flow (RFC 9700 §4.4.2).
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Frozen {
    pub(crate) client_id: String,
    pub(crate) token_url: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) issuer_always: bool,
    pub(crate) redirect_in_request: bool,
    pub(crate) other_account: bool,
    pub(crate) flow: Flow,
    /// Between two polls, where it is the device flow.
    #[serde(default)]
    pub(crate) interval_secs: u64,
}

impl Frozen {
    pub(crate) fn of(flow: &FlowRow) -> Result<Self, Error> {
        serde_json::from_str(&flow.frozen)
            .map_err(|_| Error::Internal("a pending flow can't be read".into()))
    }
}

impl Broker {
    /// Begins a connection, or makes it where no person is needed.
    ///
    /// # Errors
    /// Unknown client, refused inputs, scopes that have to be chosen first, an id that is taken.
    pub async fn connect(self: &Arc<Self>, request: ConnectRequest) -> Result<ConnectStep, Error> {
        self.may_send().await?;
        let client = self.client_named(&request.client).await?;
        let bound = self.bound_for(client, &request.inputs)?;
        let flow = flow_of(&bound, request.flow)?;
        let asked = asked(&bound, &request, flow)?;
        let connection = self.connection_id(&bound, request.id.as_deref()).await?;
        match flow {
            Flow::AuthorizationCode | Flow::Implicit => {
                let step = self.begin_in_browser(&bound, connection, asked, (&request, flow));
                let step = step.await?;
                Ok(ConnectStep::Browser(step))
            }
            Flow::ClientCredentials => {
                let view = self.connect_credentials(bound, connection, asked, request).await?;
                Ok(ConnectStep::Done(Box::new(view)))
            }
            Flow::Device => {
                let step = self.begin_device(&bound, connection, &asked, &request).await?;
                Ok(ConnectStep::Device(step))
            }
            Flow::ApiKey => Ok(ConnectStep::Key(self.key_step(&bound, connection).await?)),
            Flow::Import => Err(Error::Refused {
                code: "flow_not_offered",
                field: "flow".into(),
                detail: "a token set that exists isn't asked for".into(),
                hint: "give it to `indicia import`".into(),
            }),
        }
    }

    /// Binds a client for a new connection, whose inputs are checked.
    pub(crate) fn bound_for(
        &self,
        client: ClientRow,
        inputs: &BTreeMap<String, String>,
    ) -> Result<Bound, Error> {
        let bound = self.bind(client, inputs)?;
        let checked = bound.service.inputs_for(&bound.client.inputs, inputs);
        checked.map_err(|e| bound.filled(e))?;
        Ok(bound)
    }

    pub(crate) async fn connection_id(
        &self,
        bound: &Bound,
        wish: Option<&str>,
    ) -> Result<ConnectionId, Error> {
        if let Some(wish) = wish {
            let there = match ConnectionId::new(wish) {
                Ok(id) => self.ports.store.connection(&id).await?,
                Err(_) => None,
            };
            return own_id(bound, wish, there.as_ref().map(|(row, _)| row));
        }
        for n in 1_u32.. {
            let client = &bound.client.id;
            let text = if n == 1 { client.to_string() } else { format!("{client}-{n}") };
            let id = ConnectionId::new(&text).map_err(|e| Error::Internal(e.to_string()))?;
            if self.ports.store.connection(&id).await?.is_none() {
                return Ok(id);
            }
        }
        Err(Error::Internal("ran out of numbers".into()))
    }

    async fn begin_in_browser(
        &self,
        bound: &Bound,
        connection: ConnectionId,
        asked: Asked,
        (request, flow): (&ConnectRequest, Flow),
    ) -> Result<BrowserStep, Error> {
        let mut call = bound.service.authorize(bound.cx()).map_err(|e| bound.filled(e))?;
        let implicit = flow == Flow::Implicit;
        // There is no code that a verifier could be bound to.
        call.pkce &= !implicit;
        let secrets = self.flow_secrets(&call);
        let url = authorize_url(bound, &call, &asked, &secrets, implicit)?;
        let of = (&call, &secrets, implicit);
        let row = self.flow_row(bound, connection, &asked, request, of)?;
        let step = BrowserStep {
            connection: row.connection.to_string(),
            authorize_url: url,
            redirect_uri: row.redirect_uri.clone(),
            asks: asks(bound, &asked.all(), &request.capabilities),
            full_access: bound.service.scopes.full_access,
            implicit,
            expires_at: row.expires_at,
        };
        self.ports.store.add_flow(row).await?;
        Ok(step)
    }

    fn flow_secrets(&self, call: &AuthorizeCall) -> FlowSecrets {
        let mut random = [0; authorization::STATE_RANDOM_BYTES];
        self.ports.random.fill(&mut random);
        let state = authorization::state(&random);
        let verifier = call.pkce.then(|| {
            let mut random = [0; pkce::RANDOM_BYTES];
            self.ports.random.fill(&mut random);
            pkce::verifier(&random).expose().to_owned()
        });
        FlowSecrets { state, verifier, device_code: None }
    }

    fn flow_row(
        &self,
        bound: &Bound,
        connection: ConnectionId,
        asked: &Asked,
        request: &ConnectRequest,
        (call, secrets, implicit): (&AuthorizeCall, &FlowSecrets, bool),
    ) -> Result<FlowRow, Error> {
        // As known before the callback: that one may only choose from a table of the catalogue.
        let token_url = bound.token_endpoint(GrantType::AuthorizationCode).ok().map(|e| e.url);
        let frozen = Frozen {
            client_id: bound.client.client_id.clone(),
            token_url,
            issuer: call.issuer.clone(),
            issuer_always: call.issuer_always,
            redirect_in_request: call.send_redirect_uri,
            other_account: request.other_account,
            flow: if implicit { Flow::Implicit } else { Flow::AuthorizationCode },
            interval_secs: 0,
        };
        let row = self.pending(bound, connection, asked, request, (&frozen, secrets))?;
        Ok(FlowRow { redirect_uri: bound.client.redirect_uri.clone(), ..row })
    }

    /// A flow that waits for a person, for [`FLOW_LIFE`], and for no callback.
    pub(crate) fn pending(
        &self,
        bound: &Bound,
        connection: ConnectionId,
        asked: &Asked,
        request: &ConnectRequest,
        (frozen, secrets): (&Frozen, &FlowSecrets),
    ) -> Result<FlowRow, Error> {
        let state_hash = hash(&secrets.state);
        let now = self.ports.clock.now();
        Ok(FlowRow {
            sealed: self.vault.seal(Field::Flow { state_hash: &state_hash }, &secrets.to_bytes()),
            state_hash,
            client: bound.client.id.clone(),
            connection,
            redirect_uri: String::new(),
            frozen: serde_json::to_string(frozen).map_err(|e| Error::Internal(e.to_string()))?,
            asked: asked.all(),
            inputs: request.inputs.clone(),
            labels: request.labels.clone(),
            created_at: now,
            expires_at: now.plus(FLOW_LIFE),
            used_at: None,
            journal: None,
            taken_no: 0,
            revoked: false,
        })
    }
}

fn authorize_url(
    bound: &Bound,
    call: &AuthorizeCall,
    asked: &Asked,
    secrets: &FlowSecrets,
    implicit: bool,
) -> Result<String, Error> {
    let rule = &bound.service.scopes;
    let mut params = call.params.clone();
    if let Some(name) = rule.optional_param.clone()
        && !asked.optional.is_empty()
    {
        params.push((name, asked.optional.join(&rule.separator)));
    }
    let redirect_uri = bound.client.redirect_uri.as_str();
    let challenge = secrets.verifier().as_ref().map(pkce::challenge);
    authorization::url(&AuthorizationRequest {
        response_type: if implicit { ResponseType::Token } else { ResponseType::Code },
        endpoint: &bound.client.environment.address_of(&call.url),
        client_id: &bound.client.client_id,
        redirect_uri: call.send_redirect_uri.then_some(redirect_uri),
        scopes: &asked.scopes,
        scope_separator: &rule.separator,
        state: &secrets.state,
        challenge: challenge.as_deref(),
        params: &params,
    })
    .map_err(|e| misbuilt(&e.to_string()))
}

fn flow_of(bound: &Bound, wish: Option<Flow>) -> Result<Flow, Error> {
    let offered = &bound.service.flows;
    let flow = wish.or_else(|| offered.first().copied()).unwrap_or(Flow::AuthorizationCode);
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

/// The id that is wished for, where it can be one and isn't another client's; `there`: what has it.
pub(crate) fn own_id(
    bound: &Bound,
    wish: &str,
    there: Option<&ConnectionRow>,
) -> Result<ConnectionId, Error> {
    let id = ConnectionId::new(wish).map_err(|e| Error::Refused {
        code: "input_refused",
        field: "id".into(),
        detail: e.to_string(),
        hint: "choose another with --id".into(),
    })?;
    match there.filter(|row| row.client != bound.client.id) {
        None => Ok(id),
        Some(row) => Err(Error::Conflict {
            code: "id_taken",
            detail: format!("there is a connection {id} already, of client {}", row.client),
            hint: "choose another with --id".into(),
        }),
    }
}

/// What is asked for.
pub(crate) struct Asked {
    pub(crate) scopes: Vec<String>,
    pub(crate) optional: Vec<String>,
}

impl Asked {
    pub(crate) fn all(&self) -> Vec<String> {
        self.scopes.iter().chain(&self.optional).cloned().collect()
    }
}

fn asked(bound: &Bound, request: &ConnectRequest, flow: Flow) -> Result<Asked, Error> {
    if flow == Flow::ApiKey {
        return no_scopes(bound, request);
    }
    let rule = &bound.service.scopes;
    let (mut scopes, optional) = bound
        .service
        .scopes_for_flow(flow, &request.capabilities)
        .map_err(|detail| capability_unknown(&bound.service.id, detail))?;
    let mut wished = request.scopes.clone();
    if wished.is_empty() && request.capabilities.is_empty() {
        let saved = bound.client.settings.get(SCOPES_SETTING).cloned().unwrap_or_default();
        wished = saved.split([' ', ',']).filter(|s| !s.is_empty()).map(str::to_owned).collect();
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

/// The service has no scopes for a capability.
pub(crate) fn capability_unknown(service: &str, detail: String) -> Error {
    Error::Refused {
        code: "capability_unknown",
        field: "can".into(),
        detail,
        hint: format!("`indicia services show {service}` lists them"),
    }
}

/// What a key may do was said where it was made.
fn no_scopes(bound: &Bound, request: &ConnectRequest) -> Result<Asked, Error> {
    if request.scopes.is_empty() && request.capabilities.is_empty() {
        return Ok(Asked { scopes: Vec::new(), optional: Vec::new() });
    }
    Err(Error::Refused {
        code: "scopes_not_asked",
        field: "can".into(),
        detail: format!("what a key of {} may do is said where it is made", bound.service.name),
        hint: format!(
            "leave --can and --scope out; make the key there: {}",
            bound.service.portal_url
        ),
    })
}

fn choose(bound: &Bound) -> Error {
    let rule = &bound.service.scopes;
    let can: Vec<String> = rule.capabilities.keys().map(ToString::to_string).collect();
    Error::Refused {
        code: "scopes_missing",
        field: "can".into(),
        detail: format!("say what the connection must be able to do: {}", can.join(", ")),
        hint: format!(
            "for example --can {}; `indicia services show {}` lists the scopes",
            can.first().map_or("account.read", String::as_str),
            bound.service.id
        ),
    }
}

/// SHA-256 in hex: what a state is known by in the store.
pub(crate) fn hash(state: &str) -> String {
    hex::encode(Sha256::digest(state.as_bytes()))
}

pub(crate) fn misbuilt(detail: &str) -> Error {
    Error::Refused {
        code: "misconfigured",
        field: "service".into(),
        detail: detail.to_owned(),
        hint: "check redirect URI, scopes and inputs: `indicia clients show`, `indicia doctor`"
            .into(),
    }
}
