//! Whether a connection has the least scopes that do the job: what was asked for, what was granted,
//! and what is needed for that which it must be able to do.

use std::collections::{BTreeMap, BTreeSet};

use indicia_catalog::service::ScopeRule;
use indicia_catalog::{Capability, Flow};
use serde::Serialize;

use crate::Broker;
use crate::call::Bound;
use crate::connect::capability_unknown;
use crate::error::Error;
use crate::model::{ClientRow, GrantRow, Life};
use crate::ports::ConnectionFilter;

/// A scope that is asked for, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedScope {
    /// As the service spells it.
    pub scope: String,
    /// What it allows; none where the catalogue doesn't know it.
    pub meaning: Option<String>,
    /// Why it is asked for.
    pub why: Why,
}

/// Why a scope is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was wished for by its name.
    Named,
    /// For these capabilities.
    Can(Vec<Capability>),
    /// For a refresh token: without it the account's owner would be asked again and again.
    Offline,
    /// To learn whose account it is.
    Identity,
}

/// What is asked for in a request with these capabilities.
pub(crate) fn asks(bound: &Bound, scopes: &[String], can: &[Capability]) -> Vec<AskedScope> {
    let rule = &bound.service.scopes;
    let why = |scope: &String| {
        let needs = |c: &&Capability| rule.capabilities.get(c).is_some_and(|s| s.contains(scope));
        let needing: Vec<Capability> = can.iter().filter(needs).copied().collect();
        match needing.is_empty() {
            false => Why::Can(needing),
            true if rule.offline.as_ref() == Some(scope) => Why::Offline,
            true if rule.always.contains(scope) => Why::Identity,
            true => Why::Named,
        }
    };
    let asked = |scope: &String| AskedScope {
        scope: scope.clone(),
        meaning: meaning(rule, scope),
        why: why(scope),
    };
    scopes.iter().map(asked).collect()
}

fn meaning(rule: &ScopeRule, scope: &str) -> Option<String> {
    let known = rule.known.iter().find(|known| known.name == scope);
    known.map(|known| known.meaning.clone())
}

/// Scopes of one connection, or of all of a client's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScopesReport {
    /// The connection; none where it is about all of a client's.
    pub connection: Option<String>,
    /// Client.
    pub client: String,
    /// Service.
    pub service: String,
    /// Connections that were looked at: those whose grant wasn't revoked.
    pub connections: u64,
    /// The service knows no scopes, or one for everything: a token may do all that its account may.
    pub full_access: bool,
    /// Every scope that was asked for, granted or is needed.
    pub scopes: Vec<ScopeUse>,
    /// Capabilities whose scopes all of the connections have.
    pub allows: Vec<Capability>,
    /// What could be better.
    pub advice: Vec<ScopeAdvice>,
}

/// A scope, and how many connections have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScopeUse {
    /// As the service spells it.
    pub scope: String,
    /// What it allows; none where the catalogue doesn't know it.
    pub meaning: Option<String>,
    /// Connections that asked for it.
    pub asked: u64,
    /// Connections that have it. Where a service doesn't tell, all that was asked for is granted
    /// (RFC 6749 §5.1).
    pub granted: u64,
    /// Whether the capabilities that were named need it; none where none was named.
    pub needed: Option<bool>,
}

/// Something that could be better, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScopeAdvice {
    /// Stable code.
    pub code: ScopeAdviceCode,
    /// In words.
    pub detail: String,
    /// What to do.
    pub next_step: String,
}

/// Kinds of advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeAdviceCode {
    /// The service has no smaller grant than the whole account.
    FullAccess,
    /// Scopes that were asked for weren't granted.
    NotGranted,
    /// Scopes were granted for which nobody asked.
    NotAsked,
    /// Scopes are missing for what the connection must be able to do.
    Missing,
    /// Scopes are there that it doesn't need.
    NotNeeded,
}

/// What is counted of the connections.
#[derive(Default)]
struct Counted {
    connections: u64,
    /// Of each scope: asked, granted.
    scopes: BTreeMap<String, (u64, u64)>,
    /// Asked for and, by the service's own word, not granted.
    refused: BTreeSet<String>,
}

impl Counted {
    fn count(&mut self, grant: &GrantRow, rule: &ScopeRule) {
        self.connections += 1;
        for scope in distinct(&grant.asked) {
            self.scopes.entry(scope.clone()).or_default().0 += 1;
        }
        let told = grant.facts.granted.as_ref().filter(|_| rule.comparable);
        for scope in distinct(told.unwrap_or(&grant.asked)) {
            self.scopes.entry(scope.clone()).or_default().1 += 1;
        }
        let refused = |scope: &&String| told.is_some_and(|told| !told.contains(scope));
        self.refused.extend(grant.asked.iter().filter(refused).cloned());
    }

    fn all_have(&self, scopes: &[String]) -> bool {
        let has = |scope| self.scopes.get(scope).is_some_and(|(_, n)| *n == self.connections);
        self.connections > 0 && scopes.iter().all(has)
    }
}

fn distinct(scopes: &[String]) -> BTreeSet<&String> {
    scopes.iter().collect()
}

impl Broker {
    /// Scopes of a connection; `needed` is what it must be able to do, as far as that is known.
    ///
    /// # Errors
    /// [`Error::NotFound`]. [`Error::Refused`]: a capability for which the service has no scopes.
    pub async fn scopes(&self, id: &str, needed: &[Capability]) -> Result<ScopesReport, Error> {
        let (connection, grant) = self.load(id).await?;
        let client = self.client_row(&grant.client).await?;
        let rule = &self.service(&client.service)?.scopes;
        let mut counted = Counted::default();
        counted.count(&grant, rule);
        let report = self.report(&client, grant.flow, counted, needed)?;
        Ok(ScopesReport { connection: Some(connection.id.to_string()), ..report })
    }

    /// The same for all connections of a client, a revoked grant's left out.
    ///
    /// # Errors
    /// As [`Self::scopes`].
    pub async fn scopes_of_client(
        &self,
        id: &str,
        needed: &[Capability],
    ) -> Result<ScopesReport, Error> {
        let client = self.client_named(id).await?;
        let service = self.service(&client.service)?;
        let filter = ConnectionFilter { client: Some(client.id.clone()), ..Default::default() };
        let mut counted = Counted::default();
        let mut flow = service.flows.first().copied().unwrap_or(Flow::AuthorizationCode);
        let mut after = None;
        loop {
            let rows = self.ports.store.connections(&filter, after.as_ref(), PAGE).await?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(last.id.clone());
            for (_, grant) in rows.iter().filter(|(_, g)| g.state.life != Life::Revoked) {
                flow = grant.flow;
                counted.count(grant, &service.scopes);
            }
        }
        self.report(&client, flow, counted, needed)
    }

    fn report(
        &self,
        client: &ClientRow,
        flow: Flow,
        mut counted: Counted,
        capabilities: &[Capability],
    ) -> Result<ScopesReport, Error> {
        let service = self.service(&client.service)?;
        let rule = &service.scopes;
        let needed = match capabilities {
            [] => None,
            some => {
                let least = service.scopes_for_flow(flow, some);
                let (scopes, optional) = least.map_err(|d| capability_unknown(&service.id, d))?;
                Some([scopes, optional].concat())
            }
        };
        let allows = rule.capabilities.iter().filter(|(_, scopes)| counted.all_have(scopes));
        let allows = allows.map(|(capability, _)| *capability).collect();
        for scope in needed.iter().flatten() {
            counted.scopes.entry(scope.clone()).or_default();
        }
        let scopes = counted.scopes.iter().map(|(scope, (asked, granted))| ScopeUse {
            meaning: meaning(rule, scope),
            asked: *asked,
            granted: *granted,
            needed: needed.as_ref().map(|needed| needed.contains(scope)),
            scope: scope.clone(),
        });
        let scopes = scopes.collect::<Vec<_>>();
        Ok(ScopesReport {
            connection: None,
            client: client.id.to_string(),
            service: client.service.clone(),
            connections: counted.connections,
            full_access: rule.full_access,
            advice: advice(rule, &counted, &scopes),
            scopes,
            allows,
        })
    }
}

fn advice(rule: &ScopeRule, counted: &Counted, scopes: &[ScopeUse]) -> Vec<ScopeAdvice> {
    let mut advice = Vec::new();
    if rule.full_access {
        advice.push(ScopeAdvice {
            code: ScopeAdviceCode::FullAccess,
            detail: "a token may do all that its account may: the service knows no less".into(),
            next_step: "where the service has users with fewer rights, connect as one of those"
                .into(),
        });
    }
    let of = |wanted: &dyn Fn(&ScopeUse) -> bool| {
        let names = scopes.iter().filter(|scope| wanted(scope)).map(|s| s.scope.as_str());
        names.collect::<Vec<_>>().join(" ")
    };
    let mut tell = |code, scopes: String, detail: &str, next_step: &str| {
        if !scopes.is_empty() {
            let detail = format!("{detail}: {scopes}");
            advice.push(ScopeAdvice { code, detail, next_step: next_step.to_owned() });
        }
    };
    tell(
        ScopeAdviceCode::NotGranted,
        of(&|s| counted.refused.contains(&s.scope)),
        "asked for, and not granted",
        "connect again on the same id and allow all, or ask for less",
    );
    tell(
        ScopeAdviceCode::NotAsked,
        of(&|s| s.asked == 0 && s.granted > 0),
        "granted, though nobody asked",
        "see what the application's registration at the service allows by itself",
    );
    let lacks = |s: &ScopeUse| s.needed == Some(true) && s.granted < counted.connections;
    tell(
        ScopeAdviceCode::Missing,
        of(&lacks),
        "needed, and not there",
        "connect again on the same id with these capabilities",
    );
    tell(
        ScopeAdviceCode::NotNeeded,
        of(&|s| s.needed == Some(false) && s.granted > 0),
        "there, and not needed",
        "connect again on the same id with these capabilities alone; where the service goes on \
         granting what it granted before, revoke first",
    );
    advice
}

/// Connections that are read at once.
const PAGE: usize = 500;
