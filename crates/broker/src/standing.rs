//! What a token set doesn't cure: scopes that the service left out, an account that could not be
//! learnt. Found anew at each token set, so that it neither sticks nor gets lost.

use indicia_oauth::Timestamp;

use crate::call::Bound;
use crate::model::{Account, Reason, ReasonCode};

/// The standing reason for attention, if there is one.
pub(crate) fn standing_reason(
    bound: &Bound,
    asked: &[String],
    granted: Option<&Vec<String>>,
    account: Option<&Account>,
    now: Timestamp,
) -> Option<Reason> {
    let reason = |code, detail: String, next_step: &str| Reason {
        code,
        detail,
        since: now,
        next_step: next_step.to_owned(),
        cause: None,
    };
    let missing = missing_scopes(bound, asked, granted);
    if !missing.is_empty() {
        let detail = format!("the service granted less than was asked: no {}", missing.join(", "));
        let next = "connect again and allow all, or ask for less";
        return Some(reason(ReasonCode::FewerScopes, detail, next));
    }
    if account.is_none() && bound.service.grant_per_account {
        let detail = "the account could not be learnt: treated as if shared".to_owned();
        let next = "connect again when the service answers";
        return Some(reason(ReasonCode::AccountUnknown, detail, next));
    }
    None
}

fn missing_scopes(bound: &Bound, asked: &[String], granted: Option<&Vec<String>>) -> Vec<String> {
    let scopes = &bound.service.scopes;
    let Some(granted) = granted.filter(|_| scopes.comparable) else {
        return Vec::new();
    };
    let optional = |scope: &&String| scopes.optional.contains(scope);
    asked.iter().filter(|s| !granted.contains(s) && !optional(s)).cloned().collect()
}
