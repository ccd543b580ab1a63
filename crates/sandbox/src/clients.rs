//! Registered applications, and how one proves who it is: exactly as the service file says for that
//! endpoint, and no other way.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indicia_catalog::{ClientKind, Context};
use indicia_oauth::{BasicEncoding, ClientAuth, TokenEndpoint};
use percent_encoding::percent_decode_str;

use crate::refuse::Refusal;
use crate::wire::{Incoming, Params};

/// An application as registered at the simulated service. Its secrets are play money, and don't
/// print all the same.
#[derive(Clone)]
pub struct Registration {
    /// The client identifier.
    pub client_id: String,
    /// Secrets that work now, or the public keys (PEM) of a client that signs; none for a public
    /// client.
    pub secrets: Vec<String>,
    /// Its kind.
    pub kind: ClientKind,
    /// Redirect URIs, exact.
    pub redirect_uris: Vec<String>,
    /// Inputs at client level (a tenant).
    pub inputs: BTreeMap<String, String>,
    /// Settings as the portal has them.
    pub settings: BTreeMap<String, String>,
}

impl Registration {
    /// Its context, with the inputs that `inputs` holds for it.
    pub(crate) fn context<'a>(&'a self, inputs: &'a BTreeMap<String, String>) -> Context<'a> {
        Context { kind: self.kind, inputs, settings: &self.settings }
    }
}

/// What a request says of its client, by whichever way.
pub(crate) struct Claimed {
    pub client_id: Option<String>,
    pub secret: Option<String>,
}

impl Claimed {
    /// Looks everywhere; says nothing on whether it is the right place.
    pub fn of(incoming: &Incoming) -> Self {
        if let Some((id, secret)) = basic(incoming, BasicEncoding::Form) {
            return Self { client_id: Some(id), secret: Some(secret) };
        }
        let params = Params::anywhere(incoming);
        let owned = |name: &str| params.value(name).map(str::to_owned);
        Self { client_id: owned("client_id"), secret: owned("client_secret") }
    }
}

/// Checks the client by the secret that it sent, or by having none.
pub(crate) fn by_secret(
    client: &Registration,
    endpoint: &TokenEndpoint,
    incoming: &Incoming,
    params: &Params,
) -> Result<(), Refusal> {
    let query = Params::of_query(&incoming.query);
    let (id, secret) = match endpoint.auth {
        ClientAuth::Basic(encoding) => {
            only(params, &query, "client_secret", Place::Header)?;
            match basic(incoming, encoding) {
                Some((id, secret)) => (Some(id), Some(secret)),
                None => (None, None),
            }
        }
        ClientAuth::Body => {
            no_basic(incoming)?;
            pair(params)
        }
        ClientAuth::Query => {
            no_basic(incoming)?;
            pair(&query)
        }
        ClientAuth::None => {
            no_basic(incoming)?;
            only(params, &query, "client_secret", Place::Nowhere)?;
            (params.value("client_id").map(str::to_owned), None)
        }
        ClientAuth::Omit => return no_basic(incoming),
        ClientAuth::PrivateKeyJwt => {
            return Err(Refusal::client("this client signs, and sent no assertion"));
        }
    };
    if id.as_deref() != Some(client.client_id.as_str()) {
        return Err(Refusal::client("the client didn't say who it is in the place for that"));
    }
    let known = match secret {
        Some(secret) => client.secrets.contains(&secret),
        None => endpoint.auth == ClientAuth::None && client.kind == ClientKind::Public,
    };
    known.then_some(()).ok_or_else(|| Refusal::client("the client's secret is missing or wrong"))
}

enum Place {
    Header,
    Nowhere,
}

fn only(params: &Params, query: &Params, name: &str, place: Place) -> Result<(), Refusal> {
    let elsewhere = params.raw(name).or_else(|| query.raw(name)).is_some();
    let why = match place {
        Place::Header => "the secret belongs into the header, and only there",
        Place::Nowhere => "this client has no secret, but sent one",
    };
    if elsewhere { Err(Refusal::client(why)) } else { Ok(()) }
}

fn no_basic(incoming: &Incoming) -> Result<(), Refusal> {
    match incoming.header("authorization") {
        None => Ok(()),
        Some(_) => Err(Refusal::client("this call takes no Authorization header")),
    }
}

fn pair(params: &Params) -> (Option<String>, Option<String>) {
    let owned = |name: &str| params.value(name).map(str::to_owned);
    (owned("client_id"), owned("client_secret"))
}

/// Reads Basic credentials in the encoding that the service wants.
fn basic(incoming: &Incoming, encoding: BasicEncoding) -> Option<(String, String)> {
    let (scheme, value) = incoming.header("authorization")?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    match encoding {
        BasicEncoding::Raw => Some((id.to_owned(), secret.to_owned())),
        BasicEncoding::Form => Some((form_decoded(id)?, form_decoded(secret)?)),
    }
}

fn form_decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(|text| text.into_owned())
}
