//! The implicit flow (RFC 6749 §4.2): the token set in the fragment of the way back, and never a
//! refresh token.

use std::collections::BTreeMap;

use indicia_catalog::GrantType;
use indicia_oauth::Timestamp;
use serde_json::Value;
use url::form_urlencoded;

use crate::model::{Account, Model};
use crate::record::What;

impl Model {
    /// Begins a grant, and writes its token set into the fragment.
    pub(crate) fn in_fragment(
        &mut self,
        (client_id, account): (&str, &Account),
        scopes: Vec<String>,
        inputs: BTreeMap<String, String>,
        (redirect_uri, state): (&str, Option<&str>),
        now: Timestamp,
    ) -> String {
        let grant = self.record.begin(client_id, &account.name, scopes, inputs, now);
        let generation = self.add_access(grant, 0, now);
        self.record.note(now, What::Exchange { grant, generation });
        let answer = self.token_answer(grant, generation, GrantType::AuthorizationCode, now);
        let members: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let mut fragment = form_urlencoded::Serializer::new(String::new());
        for (name, value) in members.as_object().into_iter().flatten() {
            match value {
                Value::String(text) => fragment.append_pair(name, text),
                Value::Number(number) => fragment.append_pair(name, &number.to_string()),
                _ => continue,
            };
        }
        if let Some(state) = state {
            fragment.append_pair("state", state);
        }
        format!("{redirect_uri}#{}", fragment.finish())
    }
}
