//! How a client proves who it is at an endpoint, as values (RFC 6749 §2.3).
//!
//! What would surprise: the method is data of the endpoint, never found out by trying. A second
//! attempt in another form would spend a code or refresh token, and trips brute-force locks.

use crate::request::Method;
use crate::secret::{ClientAssertion, ClientSecret};

/// How Basic credentials are encoded before base64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BasicEncoding {
    /// Form-encode id and secret first (RFC 6749 §2.3.1), with the WHATWG set.
    #[default]
    Form,
    /// As they are: what many servers take instead.
    Raw,
}

/// How the client authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// `Authorization: Basic`.
    Basic(BasicEncoding),
    /// `client_id` and `client_secret` as members of the body.
    Body,
    /// `client_id` and `client_secret` in the query. Only where a service takes nothing else.
    Query,
    /// A public client: `client_id` alone (RFC 6749 §3.2.1).
    None,
    /// Nothing at all, not even `client_id`.
    Omit,
    /// `client_assertion`, signed with a key of the client's (RFC 7523 §2.2), and `client_id`.
    PrivateKeyJwt,
}

/// How parameters travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyCodec {
    /// `application/x-www-form-urlencoded` (RFC 6749 App. B).
    #[default]
    Form,
    /// A JSON object of strings.
    Json,
    /// All in the query string.
    Query,
}

/// Who the client is.
pub struct Credentials<'a> {
    /// The client identifier that the service issued (RFC 6749 §2.2).
    pub client_id: &'a str,
    /// What proves it.
    pub proof: Proof<'a>,
}

/// What a client proves who it is with.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// Nothing: a public client.
    None,
    /// A secret that the service knows too.
    Secret(&'a ClientSecret),
    /// A signature by a key of which the service knows the public part. It goes in the place of a
    /// secret, whatever the endpoint's method for secrets is.
    Assertion(&'a ClientAssertion),
}

impl<'a> From<Option<&'a ClientSecret>> for Proof<'a> {
    fn from(secret: Option<&'a ClientSecret>) -> Self {
        secret.map_or(Self::None, Self::Secret)
    }
}

/// An endpoint that takes authenticated parameters: token, revocation, introspection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEndpoint {
    /// Absolute `https` URL; its own query is kept; no fragment (RFC 6749 §3.2).
    pub url: String,
    /// Normally POST.
    pub method: Method,
    /// How parameters travel.
    pub codec: BodyCodec,
    /// How the client authenticates here.
    pub auth: ClientAuth,
    /// Headers that the service demands on this call.
    pub headers: Vec<(String, String)>,
    /// Further fixed parameters. A name that the protocol uses is refused (RFC 6749 §3.2).
    pub params: Vec<(String, String)>,
}
