//! The API that tokens are for, as far as a probe needs it: header scheme, compulsory headers, a
//! valid token, the right data centre; and an answer with the account in it.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use indicia_catalog::api_key::signing_key;
use indicia_catalog::{Carried, Presented};
use indicia_oauth::{Answer, Timestamp};
use serde_json::{Value, json};

use crate::model::Model;
use crate::record::{GrantId, What};
use crate::refuse::{Dialect, Refusal};
use crate::route::{Hit, Kind};
use crate::wire::{self, Incoming, Params};

/// Stand for the token, its Basic form and what it signed in a service file's texts, which can't
/// hold them.
const MARKS: [char; 3] = ['\u{1}', '\u{2}', '\u{3}'];

impl Model {
    pub(crate) fn api(&mut self, incoming: &Incoming, hit: &Hit, now: Timestamp) -> Answer {
        let (token, found) = match self.bearer(incoming, hit, now) {
            Ok(token) => (self.record.access_token(&token), self.check_token(&token, hit, now)),
            Err(refusal) => (None, Err(refusal)),
        };
        let (grant, generation) = (token.map(|t| t.0), token.map(|t| t.1));
        let ok = found.is_ok();
        self.record.note(now, What::ApiCall { grant, generation, ok });
        match found {
            Ok(grant) => self.api_answer(incoming, grant),
            Err(refusal) => {
                self.note_refusal("api", grant, &refusal.why, now);
                refusal.answer(&self.service, Dialect::Api)
            }
        }
    }

    /// Takes the token out of headers, query or body, in the service's own way.
    fn bearer(&self, incoming: &Incoming, hit: &Hit, now: Timestamp) -> Result<String, Refusal> {
        let wanted = self.wanted(hit);
        let mut token = None;
        for (name, text) in &wanted.headers {
            let came = incoming.header(&name.to_ascii_lowercase()).map(str::to_owned);
            token = self.found(name, text, came, now)?.or(token);
        }
        let query = Params::of_query(&incoming.query);
        for (name, text) in &wanted.query {
            let came = query.raw(name).map(str::to_owned);
            token = self.found(name, text, came, now)?.or(token);
        }
        let body = Params::anywhere(incoming);
        for (name, text) in &wanted.body {
            let came = body.raw(name).map(str::to_owned);
            token = self.found(name, text, came, now)?.or(token);
        }
        token.ok_or_else(no_credential)
    }

    /// The token in what came in one place, if it is the place for one.
    fn found(
        &self,
        name: &str,
        text: &str,
        came: Option<String>,
        now: Timestamp,
    ) -> Result<Option<String>, Refusal> {
        let Some((before, rest)) = text.split_once(MARKS) else {
            return match came {
                Some(_) => Ok(None),
                None => Err(Refusal::request(format!("{name} is missing"))),
            };
        };
        let came = came.ok_or_else(no_credential)?;
        let form = text.chars().nth(before.chars().count());
        let scheme = came.get(..before.len());
        let inside = came
            .get(before.len()..)
            .filter(|_| scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(before)));
        let inside = inside.and_then(|inside| inside.strip_suffix(rest));
        let Some(inside) = inside else {
            return Err(invalid("the token came in another scheme"));
        };
        let token = match MARKS.iter().position(|mark| Some(*mark) == form) {
            Some(1) => of_basic(inside),
            Some(2) => self.signer(inside, now),
            _ => Some(inside.to_owned()),
        };
        token.map(Some).ok_or_else(|| invalid("this isn't made of a token that was issued here"))
    }

    /// The key that signed a JWT.
    fn signer(&self, jwt: &str, now: Timestamp) -> Option<String> {
        let rule = self.service.api_jwt.as_ref()?;
        let (signed, signature) = jwt.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let read = |part: &str| -> Option<Value> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let (header, claims) = (read(header)?, read(claims)?);
        let key = self.signing_keys.get(header["kid"].as_str()?)?;
        let (_, secret) = signing_key(key)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        hmac::verify(&hmac_key, signed.as_bytes(), &signature).ok()?;
        let now = now.as_millis().div_euclid(1_000);
        let (from, to) = (claims["iat"].as_i64()?, claims["exp"].as_i64()?);
        let life = i64::try_from(rule.life.as_secs()).ok()?;
        let right = header["alg"] == "HS256" && claims["aud"] == rule.audience.as_str();
        (right && to > now && to - from <= life).then(|| key.clone())
    }

    fn wanted(&self, hit: &Hit) -> Carried<String> {
        let inputs = self.all_inputs(&hit.inputs);
        let cx = self.bare_context(&inputs);
        let call = match hit.kind {
            Kind::Discovery => self.service.discovery(cx).ok().flatten(),
            Kind::Probe => self.service.probe(cx).ok().flatten(),
            Kind::Userinfo => self.service.userinfo(cx).ok().flatten(),
            _ => None,
        };
        let [token, basic, jwt] = MARKS.map(String::from);
        let marks = Presented::marked(&token, &basic, &jwt);
        let plain = |text: &zeroize::Zeroizing<String>| text.to_string();
        match call {
            Some(call) => call.carries.map(|text| plain(&marks.put(text))),
            None => self.service.api_carries(cx, &marks).map(plain),
        }
    }

    /// An account's owner makes a key, by hand.
    pub fn add_key(&mut self, key: &str, account: &str, now: Timestamp) {
        let account = self.account(account);
        let inputs = BTreeMap::new();
        let grant = self.record.begin("", &account.name, Vec::new(), inputs, now);
        self.accounts.insert(account.name.clone(), account);
        self.record.add_access(grant, key, now, None, 0);
        if let Some((id, _)) = signing_key(key) {
            self.signing_keys.insert(id.to_owned(), key.to_owned());
        }
    }

    fn check_token(&self, token: &str, hit: &Hit, now: Timestamp) -> Result<GrantId, Refusal> {
        let Some((grant, n)) = self.record.access_token(token) else {
            return Err(invalid("the token was never issued here"));
        };
        let Some(record) = self.record.grant(grant) else {
            return Err(invalid("the token was never issued here"));
        };
        let elsewhere = |(name, value): (&String, &String)| {
            record.inputs.get(name).is_some_and(|own| own != value)
        };
        let killed = record.generation(n).is_some_and(|g| g.access_killed.is_some());
        if killed {
            return Err(Refusal { code: "revoked", ..invalid("the token was taken back") });
        }
        if !self.record.is_access_token_valid(token, now) {
            return Err(Refusal { code: "expired", ..invalid("the token has ended") });
        }
        if hit.inputs.iter().any(elsewhere) {
            return Err(invalid("the token belongs to another place"));
        }
        Ok(grant)
    }

    fn api_answer(&self, incoming: &Incoming, grant: GrantId) -> Answer {
        let Some(record) = self.record.grant(grant) else {
            return wire::json(200, &json!({}));
        };
        let inputs = self.all_inputs(&record.inputs);
        let values = self.values(&record.account, &inputs);
        match self.service.sandbox.api_answers.get(&incoming.path) {
            Some(answer) => wire::json(200, &values.json(answer)),
            None => {
                let account = json!({ "id": "{account_id}", "name": "{account_name}" });
                let echo = json!({
                    "sandbox": self.service.id,
                    "method": incoming.method,
                    "path": incoming.path,
                });
                let mut echo = echo;
                if let Value::Object(members) = &mut echo {
                    members.insert("account".to_owned(), values.json(&account));
                }
                wire::json(200, &echo)
            }
        }
    }
}

/// What Basic credentials stand for: a pair, or a user without a password.
fn of_basic(text: &str) -> Option<String> {
    let pair = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let token = pair.strip_suffix(':').unwrap_or(&pair);
    Some(token.to_owned())
}

fn invalid(why: &str) -> Refusal {
    Refusal { code: "invalid", ..Refusal::grant(why) }
}

/// Services that tell it apart answer 401, and not as they answer a dead token.
fn no_credential() -> Refusal {
    Refusal { status: Some(401), ..Refusal::request("no token came") }
}
