//! What may be known of a token set without opening it, and how two token sets become one.

use std::time::Duration;

use indicia_catalog::{Flow, RefreshRule};
use indicia_oauth::{Expiry, Timestamp, TokenSet};

use crate::model::TokenFacts;
use crate::schedule;
use crate::vault::Vault;

/// The token set from now on: the new one, with the refresh token before where no new one came
/// (RFC 6749 §6), and what the service said once and doesn't repeat.
pub(crate) fn merge(old: TokenSet, mut new: TokenSet) -> TokenSet {
    if new.refresh_token.is_none() {
        new.refresh_token = old.refresh_token;
        new.refresh_expires_at = new.refresh_expires_at.or(old.refresh_expires_at);
    }
    if new.scopes.is_none() {
        new.scopes = old.scopes;
    }
    for (member, text) in old.extra {
        new.extra.entry(member).or_insert(text);
    }
    new
}

/// The facts of a token set. `before`: those of the version that it follows.
pub(crate) fn facts(
    vault: &Vault,
    before: Option<&TokenFacts>,
    tokens: &TokenSet,
    sent_at: Timestamp,
) -> TokenFacts {
    let refresh = tokens.refresh_token.as_ref().map(|t| vault.fingerprint(t.expose()));
    let same = before.is_some_and(|b| b.refresh == refresh);
    let replaced = before.is_some_and(|b| b.refresh.is_some() && refresh.is_some() && !same);
    TokenFacts {
        expiry: tokens.expiry,
        obtained_at: sent_at,
        granted: tokens.scopes.clone(),
        access: vault.fingerprint(tokens.access_token.expose()),
        refresh,
        refresh_since: if same {
            before.and_then(|b| b.refresh_since)
        } else {
            refresh.map(|_| sent_at)
        },
        refresh_expires_at: tokens.refresh_expires_at,
        rotated: before.is_some_and(|b| b.rotated) || replaced,
        rejected: false,
    }
}

/// When the new token set is due. A refresh that gave the same access token again came too early:
/// it isn't repeated before that token's end. Without a refresh token all there is to do is to tell
/// of that end ahead.
pub(crate) fn next_at(
    before: Option<&TokenFacts>,
    facts: &TokenFacts,
    rule: &RefreshRule,
    flow: Flow,
    grant: &str,
) -> Option<Timestamp> {
    // A life of nothing must not be asked for again and again.
    let ended = matches!(facts.expiry, Expiry::At(end) if end <= facts.obtained_at);
    let floor = facts.obtained_at.plus(if ended { ENDED_PAUSE } else { Duration::ZERO });
    let renewable = facts.refresh.is_some() || flow == Flow::ClientCredentials;
    if !renewable {
        return schedule::ends_soon_at(facts).map(|at| at.max(floor));
    }
    if before.is_some_and(|b| b.access == facts.access) {
        return match facts.expiry {
            Expiry::At(end) => Some(end.max(floor)),
            Expiry::Never | Expiry::Unknown => None,
        };
    }
    schedule::refresh_at(facts, rule, grant).map(|due| due.max(floor))
}

/// A token that had ended when it came is asked for again after this.
const ENDED_PAUSE: Duration = Duration::from_secs(30);
