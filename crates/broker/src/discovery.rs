//! Whose account is it, and where is its API? Learnt right after an exchange: from the token
//! answer, from the service's discovery call, or from its probe. What is learnt is checked by the
//! patterns of the catalogue before it is used.

use std::time::Duration;

use indicia_catalog::CallRule;
use indicia_oauth::{Answer, Request, TokenSet};
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::Broker;
use crate::call::Bound;
use crate::model::Account;
use crate::ports::Sent;
use crate::present;

/// Tries of a discovery call right after an exchange.
const TRIES: u32 = 3;

/// Pause between them, doubled each time.
const PAUSE: Duration = Duration::from_millis(300);

/// Longest account id or name that is kept, in characters.
const TEXT_CHARS_MAX: usize = 200;

impl Broker {
    /// Learns account and inputs; adds the inputs to `bound`. A service that doesn't answer leaves
    /// the account unknown: the grant is worth more than its name.
    pub(crate) async fn discover(&self, bound: &mut Bound, tokens: &TokenSet) -> Option<Account> {
        if let Ok(learnt) = bound.service.learn_from_answer(&tokens.extra) {
            bound.inputs.extend(learnt);
        }
        let from_answer = bound.service.account_member.as_ref().and_then(|member| {
            let id = tokens.extra.get(member)?.clone();
            Some(Account { id, name: None })
        });
        let discovery = bound.service.discovery(bound.cx()).ok().flatten();
        let discovered = self.ask(bound, discovery, tokens).await;
        if from_answer.is_some() || discovered.is_some() {
            return from_answer.or(discovered);
        }
        let userinfo = bound.service.userinfo(bound.cx()).ok().flatten();
        if let Some(account) = self.ask(bound, userinfo, tokens).await {
            return Some(account);
        }
        let probe = bound.service.probe(bound.cx()).ok().flatten();
        self.ask(bound, probe.filter(|p| p.account_id.is_some()), tokens).await
    }

    async fn ask(
        &self,
        bound: &mut Bound,
        call: Option<CallRule>,
        tokens: &TokenSet,
    ) -> Option<Account> {
        let call = call?;
        let mut pause = PAUSE;
        for tries in 1..=TRIES {
            let request = self.api_request(bound, &call, tokens.access_token.expose());
            match self.ports.transport.send(request, &|| true).await {
                Sent::Answer(answer) if answer.is_success() => {
                    return learn(bound, &call, &answer);
                }
                // A verdict of the API (a scope is missing) doesn't change by asking again.
                Sent::Answer(answer) if answer.status < 500 && answer.status != 429 => return None,
                _ if tries < TRIES => tokio::time::sleep(pause).await,
                _ => {}
            }
            pause *= 2;
        }
        None
    }

    /// A call of the catalogue with the token put in, at the client's environment.
    pub(crate) fn api_request(&self, bound: &Bound, call: &CallRule, token: &str) -> Request {
        let ready = present::ready(&bound.service, token, self.ports.clock.now());
        let carried = call.carries.map(|text| ready.presented.put(text));
        let lower = |(name, text): (String, _)| (name.to_ascii_lowercase(), text);
        let mut headers: Vec<_> = carried.headers.into_iter().map(lower).collect();
        let mut usual = vec![("accept", "application/json"), ("accept-encoding", "identity")];
        if !carried.body.is_empty() {
            usual.push(("content-type", "application/x-www-form-urlencoded"));
        }
        for (name, value) in usual {
            if !headers.iter().any(|(n, _)| n == name) {
                headers.push((name.to_owned(), Zeroizing::new(value.to_owned())));
            }
        }
        Request {
            method: call.method,
            url: with_query(&bound.client.environment.address_of(&call.url), &carried.query),
            headers,
            body: form(&carried.body),
        }
    }
}

/// The address, with parameters of the query put behind.
pub(crate) fn with_query(url: &str, query: &[(String, Zeroizing<String>)]) -> Zeroizing<String> {
    let joint = match (query.is_empty(), url.contains('?')) {
        (true, _) => "",
        (false, true) => "&",
        (false, false) => "?",
    };
    Zeroizing::new([url, joint, &form_text(query)].concat())
}

fn form(members: &[(String, Zeroizing<String>)]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(form_text(members).as_bytes().to_vec())
}

fn form_text(pairs: &[(String, Zeroizing<String>)]) -> Zeroizing<String> {
    let mut text = form_urlencoded::Serializer::new(String::new());
    text.extend_pairs(pairs.iter().map(|(name, value)| (name, value.as_str())));
    Zeroizing::new(text.finish())
}

fn learn(bound: &mut Bound, call: &CallRule, answer: &Answer) -> Option<Account> {
    let json: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    for (input, path) in &call.learns {
        if let Some(value) = text_at(&json, path)
            && bound.service.check_input(input, &value).is_ok()
        {
            bound.inputs.insert(input.clone(), value);
        }
    }
    let id = text_at(&json, call.account_id.as_ref()?)?;
    let name = call.account_name.as_ref().and_then(|path| text_at(&json, path));
    Some(Account { id, name })
}

/// The text at a dotted path (a number is an index); numbers count as text, control characters go.
fn text_at(json: &serde_json::Value, path: &str) -> Option<String> {
    let mut at = json;
    for part in path.split('.') {
        at = match at {
            serde_json::Value::Array(all) => all.get(part.parse::<usize>().ok()?)?,
            other => other.get(part)?,
        };
    }
    let text = match at {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let text: String = text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect();
    (!text.is_empty()).then_some(text)
}
