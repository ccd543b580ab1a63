//! From a committed token set to what is handed out, and from a grant to the error it means.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use indicia_oauth::{Expiry, Timestamp};
use zeroize::Zeroizing;

use crate::Broker;
use crate::cache::Ready;
use crate::call::Bound;
use crate::committed::Committed;
use crate::decide::may_come_back;
use crate::end::Behind;
use crate::error::Error;
use crate::model::{ClientRow, ConnectionId, GrantRow, Life, Reason, ReasonCode};
use crate::present;
use crate::view::{ConnectionState, ExpiryKind, TokenView, Warning};

/// State of a grant, in the four words of a connection.
pub(crate) fn state(grant: &GrantRow, client: Option<&ClientRow>) -> ConnectionState {
    match grant.state.life {
        Life::Revoked => ConnectionState::Revoked,
        Life::Dead => ConnectionState::ReauthorizationRequired,
        Life::Alive if grant.state.reason.is_some() => ConnectionState::Attention,
        Life::Alive if client.is_some_and(|c| c.refused.is_some()) => ConnectionState::Attention,
        Life::Alive if client.is_some_and(|c| c.grants_refused.held.is_some()) => {
            ConnectionState::Attention
        }
        Life::Alive => ConnectionState::Active,
    }
}

/// Why, with the client's verdict where the grant has nothing of its own.
/// The next step names the connection that was asked about: a grant doesn't know its own.
pub(crate) fn reason(
    grant: &GrantRow,
    client: Option<&ClientRow>,
    connection: &ConnectionId,
) -> Option<Reason> {
    let named = |reason: Reason| {
        let next = reason.next_step.replace("connect CLIENT", &format!("connect {}", grant.client));
        Reason { next_step: next.replace("--id ID", &format!("--id {connection}")), ..reason }
    };
    grant.state.reason.clone().map(named).or_else(|| {
        if let Some(held) = client?.grants_refused.held.as_ref() {
            let reason = may_come_back(grant, held.retry_at, held.since).reason?;
            let detail = format!("{} ({})", reason.detail, held.said);
            return Some(named(Reason { detail, since: held.since, ..reason }));
        }
        let refused = client?.refused.as_ref()?;
        Some(Reason {
            code: ReasonCode::ClientRefused,
            detail: format!("the service refuses the client ({})", refused.said),
            since: refused.since,
            next_step: format!(
                "give it a valid secret: `indicia clients secrets {} add`",
                grant.client
            ),
            cause: None,
        })
    })
}

/// Why a grant is as it is, in words.
pub(crate) fn why(grant: &GrantRow) -> Option<String> {
    grant.state.reason.as_ref().map(|reason| reason.detail.clone())
}

pub(crate) fn expiry(expiry: Expiry) -> (ExpiryKind, Option<Timestamp>) {
    match expiry {
        Expiry::At(end) => (ExpiryKind::At, Some(end)),
        Expiry::Never => (ExpiryKind::Never, None),
        Expiry::Unknown => (ExpiryKind::Unknown, None),
    }
}

/// The code of a reason, as the contract spells it.
pub(crate) fn code(code: ReasonCode) -> String {
    serde_json::to_value(code).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

impl Broker {
    /// Makes a committed token set ready to hand out under a connection's name.
    pub(crate) fn ready(
        &self,
        connection: &ConnectionId,
        committed: &Committed,
        bound: &Bound,
        behind: Behind,
    ) -> Ready {
        let row = committed.row();
        let tokens = committed.tokens();
        let mut warnings: Vec<Warning> = reason(row, Some(&bound.client), connection)
            .map(|r| Warning { code: code(r.code), detail: r.detail })
            .into_iter()
            .collect();
        if behind == Behind::Yes {
            warnings.push(Warning {
                code: "store_behind".into(),
                detail: "the store can't be written; this token is kept in the journal".into(),
            });
        }
        let mut facts = row.facts.clone();
        let now = self.ports.clock.now();
        let ready = present::ready(&bound.service, tokens.access_token.expose(), now);
        if let Some((_, end)) = &ready.signed {
            // What is handed out ends; what signed it doesn't: after that it signs anew.
            (facts.expiry, facts.obtained_at) = (Expiry::At(*end), now);
        }
        let token = match &ready.signed {
            Some((signed, _)) => signed.as_str(),
            None => tokens.access_token.expose(),
        };
        let (kind, expires_at) = expiry(facts.expiry);
        let base = bound.service.api_base(bound.cx(), &tokens.extra).ok().flatten();
        let carried = bound.service.api_carries(bound.cx(), &ready.presented);
        let view = TokenView {
            connection: connection.to_string(),
            service: bound.service.id.clone(),
            account: row.account.clone(),
            state: state(row, Some(&bound.client)),
            access_token: Zeroizing::new(token.to_owned()),
            token_type: tokens.token_type.clone(),
            expiry: kind,
            expires_at,
            scopes: row.facts.granted.clone().unwrap_or_else(|| row.asked.clone()),
            headers: carried.headers,
            query: carried.query,
            body: carried.body,
            api_base_url: base.map(|url| bound.client.environment.address_of(&url)),
            version: row.version,
            warnings,
        };
        Ready {
            view: Arc::new(view),
            grant: row.id.clone(),
            facts,
            next_at: row.next_at,
            nudged: AtomicBool::new(false),
            read_at: self.cache.now(),
        }
    }

    /// What a grant without a valid token means for who asked.
    pub(crate) fn unserved(
        &self,
        connection: &ConnectionId,
        grant: &GrantRow,
        client: Option<&ClientRow>,
    ) -> Error {
        let why = reason(grant, client, connection);
        match grant.state.life {
            Life::Revoked => {
                return Error::Revoked {
                    connection: connection.clone(),
                    client: grant.client.clone(),
                };
            }
            Life::Dead => {
                if let Some(mut reason) = why {
                    reason.next_step = format!(
                        "connect again, the id stays: `indicia connect {} --id {connection}`",
                        grant.client
                    );
                    return Error::Reauthorization {
                        connection: connection.clone(),
                        reason: Box::new(reason),
                    };
                }
            }
            Life::Alive => {}
        }
        let now = self.ports.clock.now();
        let retry_at = grant.state.retry_at.filter(|at| *at > now);
        let detail = why.as_ref().map_or_else(
            || "no valid token is at hand".to_owned(),
            |r| format!("no valid token is at hand: {}", r.detail),
        );
        Error::Unavailable {
            code: why.map_or("service_unavailable", |r| unavailable_code(r.code)),
            detail,
            retry_after: Some(retry_at.map_or(Duration::from_secs(1), |at| at.since(now))),
            hint: format!("it is tried again by itself; `indicia explain {connection}` tells more"),
        }
    }
}

const fn unavailable_code(code: ReasonCode) -> &'static str {
    match code {
        ReasonCode::AnswerLost => "answer_lost",
        ReasonCode::ClientRefused => "client_refused",
        ReasonCode::Throttled => "throttled",
        ReasonCode::Misconfigured => "misconfigured",
        ReasonCode::RefusalUnconfirmed => "refusal_unconfirmed",
        ReasonCode::ManyRefused => "many_refused",
        _ => "service_unavailable",
    }
}
