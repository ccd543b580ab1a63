//! What else an authorization server answers: revocation, introspection, metadata.

use indicia_catalog::service::{Kills, TokenKind};
use indicia_catalog::{GrantType, RevocationRule};
use indicia_oauth::{Answer, ClientAuth, Timestamp, TokenEndpoint};
use serde_json::{Value, json};

use crate::clients::{Claimed, Registration};
use crate::model::Model;
use crate::record::{GrantId, What, Why};
use crate::refuse::{Dialect, Refusal};
use crate::route::Hit;
use crate::token::{at, check_form};
use crate::wire::{self, Incoming, Params};

impl Model {
    /// RFC 7009, as far as the service keeps to it.
    pub(crate) fn revoke(&mut self, incoming: &Incoming, hit: &Hit, now: Timestamp) -> Answer {
        self.revoke_request(incoming, hit, now).unwrap_or_else(|refusal| {
            self.note_refusal("revoke", None, &refusal.why, now);
            refusal.answer(&self.service, Dialect::Token)
        })
    }

    fn revoke_request(
        &mut self,
        incoming: &Incoming,
        hit: &Hit,
        now: Timestamp,
    ) -> Result<Answer, Refusal> {
        let client = self.revoking_client(incoming, hit)?;
        let inputs = self.all_inputs(&self.inputs_of(&client, &hit.inputs));
        let rule = self.service.revocation(client.context(&inputs));
        let Ok(RevocationRule::Call { endpoint, token_param, tokens, kills, .. }) = rule else {
            return Err(Refusal::request("nothing can be revoked here"));
        };
        let params = self.authenticated(&client, &endpoint, incoming, now)?;
        let Some(token) = params.value(&token_param) else {
            return Err(Refusal::request(format!("{token_param} is missing")));
        };
        let refresh = self.record.refresh_token(token).map(|(grant, _)| grant);
        let access = self.record.access_token(token);
        let found = refresh.or(access.map(|(grant, _)| grant));
        // Another client's token is none of its business (RFC 7009 §2.1).
        let own = found.filter(|grant| {
            self.record.grant(*grant).is_some_and(|g| g.client_id == client.client_id)
        });
        self.record.note(now, What::Revoke { grant: own });
        let taken = match refresh {
            Some(_) => tokens.contains(&TokenKind::RefreshToken),
            None => access.is_none() || tokens.contains(&TokenKind::AccessToken),
        };
        if !taken {
            return Err(Refusal {
                code: "unsupported_token_type",
                ..Refusal::request("wrong kind")
            });
        }
        if let Some(grant) = own {
            self.kill(grant, access.filter(|_| refresh.is_none()), kills, now);
        }
        Ok(self.done(incoming, own))
    }

    /// Where a revocation takes no client authentication, the token tells whose it is.
    fn revoking_client(&mut self, incoming: &Incoming, hit: &Hit) -> Result<Registration, Refusal> {
        let inputs = self.all_inputs(&hit.inputs);
        let rule = self.service.revocation(self.bare_context(&inputs));
        let Ok(RevocationRule::Call { endpoint, token_param, .. }) = rule else {
            return Err(Refusal::request("nothing can be revoked here"));
        };
        if endpoint.auth != ClientAuth::Omit {
            return self.known_client(&Claimed::of(incoming));
        }
        let params = Params::anywhere(incoming);
        let token = params.value(&token_param).unwrap_or_default();
        let found = self.record.refresh_token(token).or(self.record.access_token(token));
        let record = found.and_then(|(grant, _)| self.record.grant(grant));
        let client = record.and_then(|record| self.clients.get(&record.client_id));
        client.cloned().ok_or_else(|| Refusal::grant("the token isn't known"))
    }

    fn kill(
        &mut self,
        grant: GrantId,
        access: Option<(GrantId, u32)>,
        kills: Kills,
        now: Timestamp,
    ) {
        match (kills, access) {
            (Kills::Token, Some((_, n))) => self.record.kill_one_access(grant, n, now),
            (Kills::Token, None) => self.record.end_refresh_only(grant, Why::Revoked, now),
            (Kills::Grant, _) => self.record.end(grant, Why::Revoked, now),
            (Kills::Account, _) => self.end_all_of_account(grant, now),
        }
    }

    fn end_all_of_account(&mut self, grant: GrantId, now: Timestamp) {
        let Some(record) = self.record.grant(grant) else {
            return;
        };
        let (client_id, account) = (record.client_id.clone(), record.account.clone());
        let grants = self.record.grants().iter();
        let same = grants.filter(|g| g.client_id == client_id && g.account == account);
        let ids: Vec<GrantId> = same.map(|g| g.id).collect();
        ids.into_iter().for_each(|id| self.record.end(id, Why::Revoked, now));
    }

    fn done(&self, incoming: &Incoming, grant: Option<GrantId>) -> Answer {
        let told = self.service.sandbox.api_answers.get(&incoming.path);
        let record = grant.and_then(|id| self.record.grant(id));
        match (told, record) {
            (Some(told), Some(record)) => {
                wire::json(200, &self.values(&record.account, &record.inputs).json(told))
            }
            (Some(told), None) => wire::json(200, told),
            (None, _) => wire::answer(200, "text/plain; charset=utf-8", ""),
        }
    }

    /// RFC 7662.
    pub(crate) fn introspect(&mut self, incoming: &Incoming, hit: &Hit, now: Timestamp) -> Answer {
        self.introspect_request(incoming, hit, now).unwrap_or_else(|refusal| {
            self.note_refusal("introspect", None, &refusal.why, now);
            refusal.answer(&self.service, Dialect::Token)
        })
    }

    fn introspect_request(
        &mut self,
        incoming: &Incoming,
        hit: &Hit,
        now: Timestamp,
    ) -> Result<Answer, Refusal> {
        let client = self.known_client(&Claimed::of(incoming))?;
        let inputs = self.all_inputs(&self.inputs_of(&client, &hit.inputs));
        let endpoint = self.service.introspection(client.context(&inputs));
        let endpoint = endpoint.ok().flatten();
        let endpoint = endpoint.ok_or_else(|| Refusal::request("nothing is introspected here"))?;
        let params = self.authenticated(&client, &endpoint, incoming, now)?;
        let token = params.value("token").ok_or_else(|| Refusal::request("token is missing"))?;
        let refresh =
            self.record.refresh_token(token).filter(|_| self.record.is_refresh_token_live(token));
        let access = self
            .record
            .access_token(token)
            .filter(|_| self.record.is_access_token_valid(token, now));
        let own = refresh.or(access).and_then(|(grant, n)| {
            let record = self.record.grant(grant)?;
            (record.client_id == client.client_id).then_some((record, n))
        });
        let Some((record, n)) = own else {
            return Ok(wire::json(200, &json!({ "active": false })));
        };
        let mut body = json!({
            "active": true,
            "client_id": client.client_id,
            "scope": record.scopes.join(" "),
            "token_type": "Bearer",
        });
        let ends = record.generation(n).filter(|_| refresh.is_none()).and_then(|g| g.access_ends);
        let values = self.values(&record.account, &record.inputs);
        let told = self.service.sandbox.api_answers.get(&incoming.path).map(|v| values.json(v));
        if let Value::Object(members) = &mut body {
            members.extend(ends.map(|end| ("exp".to_owned(), json!(end.as_millis() / 1000))));
            members.extend(told.into_iter().filter_map(into_members).flatten());
        }
        Ok(wire::json(200, &body))
    }

    /// RFC 8414.
    pub(crate) fn metadata(&self, hit: &Hit) -> Answer {
        let inputs = self.all_inputs(&hit.inputs);
        let cx = self.bare_context(&inputs);
        let Ok(call) = self.service.authorize(cx) else {
            return wire::json(404, &json!({}));
        };
        let token = self.service.token_endpoint(GrantType::AuthorizationCode, cx).ok().flatten();
        let revocation = match self.service.revocation(cx) {
            Ok(RevocationRule::Call { endpoint, .. }) => Some(endpoint.url),
            _ => None,
        };
        let introspection = self.service.introspection(cx).ok().flatten();
        let device = self.service.device(cx).ok().flatten();
        let mut body = json!({
            "issuer": call.issuer,
            "authorization_endpoint": call.url,
            "token_endpoint": token.map(|t| t.url),
            "revocation_endpoint": revocation,
            "introspection_endpoint": introspection.map(|e| e.url),
            "device_authorization_endpoint": device.map(|e| e.url),
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": call.issuer_always,
        });
        if let Value::Object(members) = &mut body {
            members.retain(|_, value| !value.is_null());
        }
        wire::json(200, &body)
    }

    fn authenticated(
        &mut self,
        client: &Registration,
        endpoint: &TokenEndpoint,
        incoming: &Incoming,
        now: Timestamp,
    ) -> Result<Params, Refusal> {
        if !at(endpoint, incoming) {
            return Err(Refusal::request("this client's calls go to another address"));
        }
        let params = check_form(endpoint, false, incoming)?;
        self.authenticate(client, endpoint, (incoming, &params), now)?;
        Ok(params)
    }
}

fn into_members(value: Value) -> Option<serde_json::Map<String, Value>> {
    match value {
        Value::Object(members) => Some(members),
        _ => None,
    }
}
