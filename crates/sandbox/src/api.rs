//! The API that tokens are for, as far as a probe needs it: header scheme, compulsory headers, a
//! valid token, the right data centre; and an answer with the account in it.

use indicia_oauth::{Answer, Timestamp};
use serde_json::{Value, json};

use crate::model::Model;
use crate::record::{GrantId, What};
use crate::refuse::{Dialect, Refusal};
use crate::route::{Hit, Kind};
use crate::wire::{self, Incoming};

/// Stands for the token in header templates; no header of a service file can hold it.
const TOKEN_MARK: &str = "\u{1}";

impl Model {
    pub(crate) fn api(&mut self, incoming: &Incoming, hit: &Hit, now: Timestamp) -> Answer {
        let (token, found) = match self.bearer(incoming, hit) {
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

    /// Takes the token out of the headers, in the service's own scheme.
    fn bearer(&self, incoming: &Incoming, hit: &Hit) -> Result<String, Refusal> {
        let mut token = None;
        for (name, template) in self.wanted_headers(hit) {
            let came = incoming.header(&name.to_ascii_lowercase());
            let Some((before, after)) = template.split_once(TOKEN_MARK) else {
                if came.is_none() {
                    return Err(Refusal::request(format!("the header {name} is missing")));
                }
                continue;
            };
            let inside = came.and_then(|value| {
                let scheme = value.get(..before.len())?;
                let rest = value.get(before.len()..)?;
                scheme.eq_ignore_ascii_case(before).then(|| rest.strip_suffix(after)).flatten()
            });
            token = Some(match (came, inside) {
                (None, _) => return Err(no_credential()),
                (Some(_), Some(inside)) => inside.to_owned(),
                (Some(_), None) => return Err(invalid("the token came in another header scheme")),
            });
        }
        token.ok_or_else(no_credential)
    }

    fn wanted_headers(&self, hit: &Hit) -> Vec<(String, String)> {
        let inputs = self.all_inputs(&hit.inputs);
        let cx = self.bare_context(&inputs);
        let call = match hit.kind {
            Kind::Discovery => self.service.discovery(cx).ok().flatten(),
            Kind::Probe => self.service.probe(cx).ok().flatten(),
            Kind::Userinfo => self.service.userinfo(cx).ok().flatten(),
            _ => None,
        };
        match call {
            Some(call) => {
                let marked = |value: String| value.replace("{token}", TOKEN_MARK);
                call.headers.into_iter().map(|(name, value)| (name, marked(value))).collect()
            }
            None => self.service.api_headers(cx, TOKEN_MARK),
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

fn invalid(why: &str) -> Refusal {
    Refusal { code: "invalid", ..Refusal::grant(why) }
}

/// Services that tell it apart answer 401, and not as they answer a dead token.
fn no_credential() -> Refusal {
    Refusal { status: Some(401), ..Refusal::request("no token came") }
}
