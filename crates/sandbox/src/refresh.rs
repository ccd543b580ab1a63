//! Refreshing, and what every token answer is made of.
//!
//! Tokens aren't kept: each is a hash of the seed, the grant and its number, so that the same pair
//! can be given again within the grace, while the record holds nothing that could leak.

use std::time::Duration;

use indicia_catalog::{GrantType, RefreshRule, Rotation};
use indicia_oauth::dialect::NoExpiry;
use indicia_oauth::expiry::ExpiryKind;
use indicia_oauth::{Answer, Timestamp};
use serde_json::{Map, Value, json};

use crate::clients::Registration;
use crate::fill::Values;
use crate::model::Model;
use crate::record::{GrantId, GrantRecord, Outcome, RefreshRecord, RefreshSeen, What, Why};
use crate::refuse::Refusal;
use crate::token::{Asked, Denied, at, token_endpoint};
use crate::wire;

impl Model {
    /// Refresh (RFC 6749 §6).
    pub(crate) fn refresh(&mut self, asked: &Asked<'_>, now: Timestamp) -> Result<Answer, Denied> {
        let Some(token) = asked.params.value("refresh_token") else {
            return Err(Refusal::request("refresh_token is missing").into());
        };
        let Some((grant, n)) = self.record.refresh_token(token) else {
            return Err(Refusal::grant("the refresh token isn't known").into());
        };
        self.check_grant(asked, grant).map_err(|refusal| refusal.of(grant))?;
        let rule = self.rule(&asked.client, grant);
        self.check_age(&rule, grant, n, now)?;
        let live = self.record.grant(grant).and_then(|g| g.live_refresh()).map(|r| r.n);
        let (generation, outcome) = if live == Some(n) {
            self.within_mint_limit(&asked.client, grant, now)?;
            self.renew(&rule, grant, n, now)
        } else {
            self.forgive(&rule, grant, n, now)?
        };
        if let Some(record) = self.record.grant_mut(grant) {
            record.refreshes.push(RefreshSeen { at: now, generation, outcome });
        }
        self.record.note(now, What::Refresh { grant, generation, outcome });
        Ok(self.token_answer(grant, generation, GrantType::RefreshToken, now))
    }

    fn check_grant(&self, asked: &Asked<'_>, grant: GrantId) -> Result<(), Refusal> {
        let Some(record) = self.record.grant(grant) else {
            return Err(Refusal::grant("the refresh token isn't known"));
        };
        if record.client_id != asked.client.client_id {
            return Err(Refusal::grant("the refresh token was issued to another client"));
        }
        let inputs = self.inputs_of(&asked.client, &record.inputs);
        let endpoint =
            token_endpoint(&self.service, GrantType::RefreshToken, &asked.client, &inputs)?;
        if !at(&endpoint.endpoint, asked.incoming) {
            return Err(Refusal::grant("the refresh token belongs to another data centre"));
        }
        if let Some((why, _)) = record.ended {
            return Err(Refusal::grant(format!("the grant has ended: {why:?}").to_lowercase()));
        }
        Ok(())
    }

    fn check_age(
        &mut self,
        rule: &RefreshRule,
        grant: GrantId,
        n: u32,
        now: Timestamp,
    ) -> Result<(), Denied> {
        if !rule.supported {
            return Err(Refusal::grant_type("there are no refresh tokens here").of(grant));
        }
        let tokens = self.record.grant(grant).map(|g| &g.refresh_tokens);
        let token = tokens.and_then(|tokens| tokens.iter().find(|token| token.n == n));
        let Some(why) = token.and_then(|token| over(rule, token, now)) else { return Ok(()) };
        self.record.end(grant, why, now);
        Err(Refusal::grant("the refresh token's life is over").of(grant))
    }

    /// Ends each grant whose refresh token's life is over, as the service would at its next use: so
    /// that the record tells at once what lives.
    pub fn settle(&mut self, now: Timestamp) {
        let now = self.own_time(now);
        let ended = |model: &Self, grant: &GrantRecord| {
            let live = grant.live_refresh()?;
            let client = model.clients.get(&grant.client_id)?;
            over(&model.rule(client, grant.id), live, now)
        };
        let grants = self.record.grants().iter();
        let ended: Vec<(GrantId, Why)> =
            grants.filter_map(|grant| Some((grant.id, ended(self, grant)?))).collect();
        ended.into_iter().for_each(|(grant, why)| self.record.end(grant, why, now));
    }

    /// A live refresh token was used.
    fn renew(
        &mut self,
        rule: &RefreshRule,
        grant: GrantId,
        n: u32,
        now: Timestamp,
    ) -> (u32, Outcome) {
        if let Some(generation) = self.asked_too_early(rule, grant, now) {
            return (generation, Outcome::TooEarly);
        }
        if self.kills_access(rule) {
            self.record.kill_access(grant, now);
        }
        let rotates = self.rotates(rule, grant, n);
        let refresh_n = if rotates { self.add_refresh(grant, now) } else { n };
        let generation = self.add_access(grant, refresh_n, now);
        if let Some(token) = self.record.grant_mut(grant).and_then(|g| g.refresh_mut(n)) {
            token.used = now;
            token.gave = Some(generation);
            token.spent = rotates.then_some(now);
        }
        (generation, if rotates { Outcome::Rotated } else { Outcome::Kept })
    }

    /// The token set that comes again, where a new one isn't given yet.
    pub(crate) fn asked_too_early(
        &self,
        rule: &RefreshRule,
        grant: GrantId,
        now: Timestamp,
    ) -> Option<u32> {
        let earliest = rule.earliest_before_end?;
        let newest = self.record.grant(grant)?.generations.last()?;
        let ends = newest.access_ends.filter(|_| newest.access_killed.is_none())?;
        (now < ends.minus(earliest)).then_some(newest.n)
    }

    /// A spent refresh token was used: the same pair again within the grace, else refused, with or
    /// without the whole family.
    fn forgive(
        &mut self,
        rule: &RefreshRule,
        grant: GrantId,
        n: u32,
        now: Timestamp,
    ) -> Result<(u32, Outcome), Denied> {
        let used = self.record.grant_mut(grant).and_then(|g| g.refresh_mut(n)).map(|t| t.clone());
        let spent = used.as_ref().and_then(|token| token.spent);
        let gave = used.and_then(|token| token.gave);
        let within = spent.zip(rule.reuse_grace).is_some_and(|(at, grace)| now <= at.plus(grace));
        if let Some(generation) =
            gave.filter(|_| within).filter(|gave| self.is_newest(grant, *gave))
        {
            return Ok((generation, Outcome::Forgiven));
        }
        self.record.note(now, What::ReuseDetected { grant });
        if self.options.reuse_kills.unwrap_or(self.service.sandbox.reuse_kills) {
            self.record.end(grant, Why::Reuse, now);
        }
        Err(Refusal::grant("the refresh token was used before").of(grant))
    }

    /// Whether a generation's refresh token hasn't been used since.
    fn is_newest(&self, grant: GrantId, generation: u32) -> bool {
        let Some(record) = self.record.grant(grant) else {
            return false;
        };
        let carried = record.generation(generation).map(|g| g.refresh_n);
        record.live_refresh().is_some_and(|live| Some(live.n) == carried && live.gave.is_none())
    }

    pub(crate) fn within_mint_limit(
        &self,
        client: &Registration,
        grant: GrantId,
        now: Timestamp,
    ) -> Result<(), Denied> {
        let Some((max, window)) = self.rule(client, grant).mint_limit else {
            return Ok(());
        };
        let minted = self.record.minted_within(grant, window, now);
        if minted < usize::try_from(max).unwrap_or(usize::MAX) {
            return Ok(());
        }
        Err(Refusal::throttled("too many tokens were asked for", window.as_secs()).of(grant))
    }

    pub(crate) fn rule(&self, client: &Registration, grant: GrantId) -> RefreshRule {
        let empty = std::collections::BTreeMap::new();
        let own = self.record.grant(grant).map_or(&empty, |g| &g.inputs);
        let inputs = self.all_inputs(&self.inputs_of(client, own));
        self.service.refresh_rule(client.context(&inputs))
    }

    pub(crate) fn refreshes(&self, client: &Registration, grant: GrantId) -> bool {
        self.rule(client, grant).supported
    }

    /// Whether this refresh gives a new refresh token.
    fn rotates(&self, rule: &RefreshRule, grant: GrantId, n: u32) -> bool {
        match self.played_rotation(rule) {
            Rotation::Rotates => true,
            Rotation::Keeps => false,
            Rotation::May => {
                let newest = self.record.grant(grant).map_or(0, |g| g.newest());
                let purpose =
                    ["rotates", &grant.0.to_string(), &n.to_string(), &newest.to_string()];
                self.chance.pick(2, &purpose) == 0
            }
        }
    }

    /// An unverified rotation is played each way, by seed.
    fn played_rotation(&self, rule: &RefreshRule) -> Rotation {
        let variants = [Rotation::Rotates, Rotation::Keeps, Rotation::May];
        let listed = &self.service.sandbox.rotation_variants;
        let pick = |of: &[Rotation]| of[self.chance.pick(of.len(), &["rotation"])];
        match (self.options.rotation, rule.effective_rotation()) {
            (Some(rotation), _) => rotation,
            (None, Rotation::May) if listed.is_empty() => pick(&variants),
            (None, Rotation::May) => pick(listed),
            (None, known) => known,
        }
    }

    fn kills_access(&self, rule: &RefreshRule) -> bool {
        let listed = &self.service.sandbox.kills_access_variants;
        match listed.is_empty() {
            true => rule.kills_access,
            false => listed[self.chance.pick(listed.len(), &["kills access"])],
        }
    }

    /// The refresh token in force, where accounts share one; else a first one.
    pub(crate) fn live_or_new_refresh(&mut self, grant: GrantId, now: Timestamp) -> u32 {
        let live = self.record.grant(grant).and_then(|g| g.live_refresh()).map(|r| r.n);
        live.unwrap_or_else(|| self.add_refresh(grant, now))
    }

    fn add_refresh(&mut self, grant: GrantId, now: Timestamp) -> u32 {
        let n =
            self.record.grant(grant).and_then(|g| g.refresh_tokens.last()).map_or(1, |r| r.n + 1);
        let text = self.refresh_text(grant, n);
        self.record.add_refresh(grant, &text, now)
    }

    pub(crate) fn add_access(&mut self, grant: GrantId, refresh_n: u32, now: Timestamp) -> u32 {
        let n = self.record.grant(grant).map_or(0, |g| g.newest()) + 1;
        let text = self.access_text(grant, n);
        let ends = self.access_life().map(|life| now.plus(life));
        self.record.add_access(grant, &text, now, ends, refresh_n)
    }

    fn access_text(&self, grant: GrantId, n: u32) -> String {
        self.chance.token("sbx-access-", &[&grant.0.to_string(), &n.to_string()])
    }

    fn refresh_text(&self, grant: GrantId, n: u32) -> String {
        self.chance.token("sbx-refresh-", &[&grant.0.to_string(), &n.to_string()])
    }

    /// `None`: access tokens never end.
    fn access_life(&self) -> Option<Duration> {
        let told = self.service.sandbox.expires_in.as_ref();
        let says_nothing = told.is_none_or(|v| v.is_null() || v.as_f64() == Some(0.0));
        if self.service.dialect.no_expiry == NoExpiry::Never && says_nothing {
            return None;
        }
        let life = self.service.sandbox.access_life;
        Some(self.options.life_max.map_or(life, |max| life.min(max)))
    }

    /// The answer that holds one token set (RFC 6749 §5.1), spelt as the service spells it.
    pub(crate) fn token_answer(
        &self,
        grant: GrantId,
        generation: u32,
        by: GrantType,
        now: Timestamp,
    ) -> Answer {
        let facts = &self.service.sandbox;
        let mut members = self.usual_members(grant, generation, now);
        members.retain(|name, _| !facts.answer_omits.contains(name));
        if by == GrantType::RefreshToken {
            members.retain(|name, _| !facts.refresh_omits.contains(name));
        }
        if let Some(record) = self.record.grant(grant) {
            let values = self.values(&record.account, &record.inputs);
            for (name, value) in &facts.answer_extra {
                members.insert(name.clone(), values.json(value));
            }
        }
        wire::json(200, &Value::Object(members))
    }

    fn usual_members(&self, grant: GrantId, generation: u32, now: Timestamp) -> Map<String, Value> {
        let dialect = &self.service.dialect;
        let mut members = Map::new();
        let Some(record) = self.record.grant(grant) else {
            return members;
        };
        let Some(set) = record.generation(generation) else {
            return members;
        };
        members.insert(dialect.access_token.clone(), json!(self.access_text(grant, generation)));
        members.insert("token_type".to_owned(), json!("Bearer"));
        if let Some((name, kind)) = dialect.expires.first() {
            let capped = self.options.life_max.is_some() && set.access_ends.is_some();
            let odd = self.service.sandbox.expires_in.clone().filter(|_| !capped);
            let told = odd.or_else(|| Some(told_end(*kind, set.access_ends?, now)));
            members.extend(told.map(|told| (name.clone(), told)));
        }
        if set.refresh_n > 0 {
            let token = self.refresh_text(grant, set.refresh_n);
            members.insert(dialect.refresh_token.clone(), json!(token));
        }
        if let Some(name) = dialect.scope.as_ref().filter(|_| !record.scopes.is_empty()) {
            let separator = dialect.scope_separators.chars().next().unwrap_or(' ');
            // Under another name than RFC 6749 has for it, it is a list.
            let scopes = match name.as_str() {
                "scope" => json!(record.scopes.join(&separator.to_string())),
                _ => json!(record.scopes),
            };
            members.insert(name.clone(), scopes);
        }
        members
    }

    /// What texts of the service file are filled in with, for one account.
    pub(crate) fn values<'a>(
        &'a self,
        account: &str,
        inputs: &'a std::collections::BTreeMap<String, String>,
    ) -> Values<'a> {
        let account = self.accounts.get(account).cloned().unwrap_or_else(|| self.account(account));
        Values::new(&self.service, inputs)
            .with("account_id", account.id)
            .with("account_name", account.name)
    }
}

/// Why a refresh token's life is over, if it is.
fn over(rule: &RefreshRule, token: &RefreshRecord, now: Timestamp) -> Option<Why> {
    let past =
        |since: Timestamp, life: Option<Duration>| life.is_some_and(|life| now >= since.plus(life));
    match (past(token.issued, rule.lifetime), past(token.used, rule.idle)) {
        (true, _) => Some(Why::Aged),
        (false, true) => Some(Why::Idle),
        (false, false) => None,
    }
}

/// The end of an access token, told as the service tells it.
fn told_end(kind: ExpiryKind, ends: Timestamp, now: Timestamp) -> Value {
    let left = ends.since(now);
    match kind {
        ExpiryKind::Seconds => json!(left.as_secs()),
        ExpiryKind::Millis => json!(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        ExpiryKind::UnixSeconds => json!(ends.as_millis() / 1000),
        ExpiryKind::UnixMillis => json!(ends.as_millis()),
        ExpiryKind::Rfc3339 => json!(crate::when::rfc3339(ends)),
    }
}
