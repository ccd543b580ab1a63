//! Device authorization (RFC 8628): a device without a browser shows a code, a person enters it on
//! another one, and the token endpoint is asked meanwhile.
//!
//! What would surprise: whatever is shown to the person comes from the network, so it is judged
//! here: an address that isn't https, or a code that no keyboard has, is refused and never shown.

use std::time::Duration;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::address;
use crate::answer::Answer;
use crate::call;
use crate::client_auth::{Credentials, TokenEndpoint};
use crate::grant::BuildError;
use crate::json::Json;
use crate::request::Request;
use crate::secret::DeviceCode;

/// The grant type of [`token_request`] (RFC 8628 §3.4).
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Between two polls where the service says nothing (RFC 8628 §3.2).
pub const INTERVAL_DEFAULT: Duration = Duration::from_secs(5);

/// What `slow_down` adds to the interval, for good (RFC 8628 §3.5).
pub const SLOW_DOWN: Duration = Duration::from_secs(5);

/// The longest interval that is believed, and that back-off reaches.
pub const INTERVAL_MAX: Duration = Duration::from_secs(60);

/// The longest life of a device code that is believed.
pub const LIFE_MAX: Duration = Duration::from_secs(3_600);

/// Characters of a user code at most.
pub const USER_CODE_CHARS_MAX: usize = 64;

/// Bytes of a verification address at most: more fits no screen and no picture.
pub const URI_BYTES_MAX: usize = 1_024;

/// What the person is to do, and what is polled with.
pub struct DeviceAuthorization {
    /// Polled with; never shown.
    pub device_code: DeviceCode,
    /// To be entered by the person: printable ASCII.
    pub user_code: String,
    /// Where: https (or http on loopback), printable.
    pub verification_uri: String,
    /// The same with the code in it, for a picture or a link.
    pub verification_uri_complete: Option<String>,
    /// How long both codes live, from when they were asked for; at most [`LIFE_MAX`].
    pub life: Duration,
    /// Shortest time between two polls, 1 s to [`INTERVAL_MAX`].
    pub interval: Duration,
}

/// Why a device authorization answer isn't used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DeviceError {
    /// It is no 200 with a JSON object.
    #[error("the answer can't be read")]
    Unreadable,
    /// A member that is needed is missing, or isn't what it must be.
    #[error("{0} is missing, or isn't what it must be")]
    Member(&'static str),
}

/// Builds the device authorization request (RFC 8628 §3.1). Client authentication is that of the
/// token endpoint (§3.1, last paragraph).
pub fn request(
    endpoint: &TokenEndpoint,
    credentials: &Credentials<'_>,
    scopes: &[String],
    scope_separator: &str,
) -> Result<Request, BuildError> {
    let scope = scopes.join(scope_separator);
    call::build(endpoint, credentials, &[("scope", &scope)])
}

/// Reads its answer (RFC 8628 §3.2). All of it can be used, or nothing is.
pub fn read(answer: &Answer) -> Result<DeviceAuthorization, DeviceError> {
    let json = Json::parse(&answer.body).filter(|_| answer.status == 200 && answer.complete);
    let Some(json @ Json::Object(_)) = json else { return Err(DeviceError::Unreadable) };
    let text = |name: &'static str| match json.at(name) {
        Ok(Some(Json::Text(text))) if !text.is_empty() => Ok(Some(text.clone())),
        Ok(None | Some(Json::Null)) => Ok(None),
        Ok(Some(_)) | Err(_) => Err(DeviceError::Member(name)),
    };
    let needed = |name: &'static str| text(name)?.ok_or(DeviceError::Member(name));
    let uri = |name, uri: Zeroizing<String>| match is_shown(&uri) {
        true => Ok(uri.to_string()),
        false => Err(DeviceError::Member(name)),
    };
    let user_code = needed("user_code")?;
    if !is_typed(&user_code) {
        return Err(DeviceError::Member("user_code"));
    }
    let complete = text("verification_uri_complete")?;
    let device_code = needed("device_code")?;
    Ok(DeviceAuthorization {
        device_code: DeviceCode::new(device_code.as_str()),
        user_code: user_code.to_string(),
        verification_uri: uri("verification_uri", needed("verification_uri")?)?,
        verification_uri_complete: match complete {
            Some(complete) => Some(uri("verification_uri_complete", complete)?),
            None => None,
        },
        life: seconds(&json, "expires_in")?.ok_or(DeviceError::Member("expires_in"))?.min(LIFE_MAX),
        interval: seconds(&json, "interval")?
            .unwrap_or(INTERVAL_DEFAULT)
            .clamp(Duration::from_secs(1), INTERVAL_MAX),
    })
}

/// Builds a poll (RFC 8628 §3.4). The code is only borrowed: it is asked with until the person has
/// decided.
pub fn token_request(
    endpoint: &TokenEndpoint,
    credentials: &Credentials<'_>,
    device_code: &DeviceCode,
) -> Result<Request, BuildError> {
    let own = [("grant_type", GRANT_TYPE), ("device_code", device_code.expose())];
    call::build(endpoint, credentials, &own)
}

/// A whole number of seconds above zero; services write it as a number or as a text.
fn seconds(json: &Json, name: &'static str) -> Result<Option<Duration>, DeviceError> {
    let wrong = DeviceError::Member(name);
    match json.at(name) {
        Ok(None | Some(Json::Null)) => Ok(None),
        Ok(Some(Json::Number(text))) => whole(text).map(Some).ok_or(wrong),
        Ok(Some(Json::Text(text))) => whole(text).map(Some).ok_or(wrong),
        Ok(Some(_)) | Err(_) => Err(wrong),
    }
}

fn whole(text: &str) -> Option<Duration> {
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    whole.parse().ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

/// What a person can read and type: nothing hidden, nothing that moves the cursor.
fn is_typed(code: &str) -> bool {
    code.len() <= USER_CODE_CHARS_MAX && code.bytes().all(|b| matches!(b, b' '..=b'~'))
}

/// An address that may be shown: one that could be called, and short.
fn is_shown(uri: &str) -> bool {
    uri.len() <= URI_BYTES_MAX && address::is_endpoint(uri)
}
