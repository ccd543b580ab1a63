//! A token in the forms in which the service's API takes it, a JWT that it signs among them.

use aws_lc_rs::hmac;
use indicia_catalog::api_key::signing_key;
use indicia_catalog::{Presented, Service};
use indicia_oauth::{Timestamp, jwt};
use serde_json::json;
use zeroize::Zeroizing;

/// A token, ready for calls to the API.
pub(crate) struct Ready {
    pub(crate) presented: Presented,
    /// What it signed, where the service has its calls signed: that, and when it ends.
    pub(crate) signed: Option<(Zeroizing<String>, Timestamp)>,
}

/// Makes it ready for a call that is made now.
pub(crate) fn ready(service: &Service, token: &str, now: Timestamp) -> Ready {
    let signed = sign(service, token, now);
    let text = signed.as_ref().map(|(text, _)| text.clone());
    Ready { presented: Presented::new(token, text), signed }
}

/// RFC 7515 with HS256, the key's id in `kid`. A token that isn't a key that signs (it was checked
/// when it came) signs nothing.
fn sign(service: &Service, token: &str, now: Timestamp) -> Option<(Zeroizing<String>, Timestamp)> {
    let rule = service.api_jwt.as_ref()?;
    let (id, secret) = signing_key(token)?;
    let seconds = |at: Timestamp| at.as_millis().div_euclid(1_000);
    let header = json!({ "alg": "HS256", "kid": id, "typ": "JWT" });
    let end = seconds(now.plus(rule.life));
    let claims = json!({ "aud": rule.audience, "exp": end, "iat": seconds(now) });
    let unsigned = jwt::unsigned(&header, &claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), unsigned.as_bytes());
    let end = Timestamp::from_millis(end.saturating_mul(1_000));
    Some((jwt::signed(&unsigned, tag.as_ref()), end))
}
