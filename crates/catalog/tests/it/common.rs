//! What is odd about several services, or goes by all of them. Each test fails once a service's
//! file no longer says it.

use std::collections::BTreeMap;
use std::time::Duration;

use indicia_catalog::{Catalogue, ClientKind, Context, GrantType, Presented, Service};
use indicia_oauth::Verdict;

use crate::quirks::{api_refusal, api_verdict};
use crate::shipped::service;

/// An id of an error deep inside, or its words, tell a token's end from all else that is a 401.
#[test]
pub(crate) fn a_401_is_read_by_what_it_says() {
    for (id, body, verdict) in [
        (
            "campaign-monitor",
            r#"{"Code":120,"Message":"Invalid OAuth Token"}"#,
            Verdict::GrantRefused,
        ),
        (
            "campaign-monitor",
            r#"{"Code":121,"Message":"Expired OAuth Token"}"#,
            Verdict::GrantRefused,
        ),
        (
            "campaign-monitor",
            r#"{"Code":122,"Message":"Revoked OAuth Token"}"#,
            Verdict::GrantRefused,
        ),
        (
            "campaign-monitor",
            r#"{"Code":102,"Message":"Invalid ClientID"}"#,
            Verdict::Misconfigured,
        ),
        (
            "hubspot",
            r#"{"status":"error","category":"EXPIRED_AUTHENTICATION"}"#,
            Verdict::GrantRefused,
        ),
        ("hubspot", r#"{"status":"error","category":"INVALID_AUTHENTICATION"}"#, Verdict::Nonsense),
        (
            "keap",
            r#"{"fault":{"detail":{"errorcode":"keymanagement.service.invalid_access_token"}}}"#,
            Verdict::GrantRefused,
        ),
        (
            "keap",
            r#"{"fault":{"detail":{"errorcode":"oauth.v2.InvalidAccessToken"}}}"#,
            Verdict::Misconfigured,
        ),
    ] {
        assert_eq!(
            api_verdict(&service(id), 401, "application/json", body),
            verdict,
            "{id}: {body}"
        );
    }
}

/// Both are 429; a second is waited out, a day isn't.
#[test]
pub(crate) fn constant_contact_counts_by_the_second_and_by_the_day() {
    let service = service("constant-contact");
    let refused = |status, body: &str| {
        let refusal = api_refusal(&service, status, "application/json", body);
        (refusal.verdict, refusal.retry_after)
    };
    for (key, wait) in [("throttled", 1), ("quota_exceeded", 3600)] {
        let body = format!(r#"[{{"error_key":"{key}","error_message":"-"}}]"#);
        assert_eq!(
            refused(429, &body),
            (Verdict::Throttled, Some(Duration::from_secs(wait))),
            "{key}"
        );
    }
    assert_eq!(refused(403, r#"{"message":"Forbidden"}"#), (Verdict::Misconfigured, None));
}

/// Writing doesn't include reading there; lists and consent have scopes of their own; whose account
/// it is, too.
#[test]
pub(crate) fn klaviyo_is_asked_for_no_more_than_is_wanted() {
    let service = service("klaviyo");
    let asked = |can: &str| service.scopes_for(&[can.parse().unwrap()]).unwrap().0;
    let write = ["accounts:read", "profiles:write", "subscriptions:write", "lists:write"];
    assert_eq!(asked("contacts.write"), write);
    assert_eq!(asked("contacts.read"), ["accounts:read", "profiles:read"]);
    assert!(service.check_setting("scopes", "lists:read").is_ok());
    assert!(service.check_setting("scopes", "list:read").is_err(), "there is no such scope");
}

/// Guides and metadata name different endpoints.
#[test]
pub(crate) fn kit_is_said_to_be_unverified() {
    let service = service("kit");
    assert!(!service.is_verified("flows") && !service.is_verified("revocation"));
}

/// The data centre becomes part of the host that the token goes to.
#[test]
pub(crate) fn mailchimp_learns_a_data_centre_and_nothing_else() {
    let service = service("mailchimp");
    for (dc, taken) in
        [("us6", true), ("eu12", true), ("evil.example/", false), ("us6.evil", false), ("", false)]
    {
        assert_eq!(service.check_input("dc", dc).is_ok(), taken, "{dc}");
    }
}

/// Where nothing narrows a token, nobody is told that something does.
#[test]
pub(crate) fn what_a_token_can_do_is_not_made_smaller_than_it_is() {
    for id in [
        "activecampaign",
        "getresponse",
        "intercom",
        "keap",
        "kit",
        "mailchimp",
        "mailjet",
        "marketo",
        "salesforce-account-engagement",
    ] {
        assert!(service(id).scopes.full_access, "{id}");
    }
    for id in ["aweber", "brevo", "campaign-monitor", "hubspot", "klaviyo", "zoho-campaigns"] {
        assert!(!service(id).scopes.full_access, "{id}");
    }
}

/// Each input as its file's example has it.
fn examples(service: &Service) -> BTreeMap<String, String> {
    let inputs = service.inputs.iter();
    inputs.map(|input| (input.name.clone(), input.example.clone())).collect()
}

/// Metadata found on a vendor's host may be of another server, such as one for agents: the
/// endpoints stand in the file.
#[test]
pub(crate) fn no_shipped_service_takes_its_endpoints_from_metadata() {
    for id in Catalogue::shipped().ids() {
        let service = service(&id);
        let inputs = examples(&service);
        let settings = BTreeMap::new();
        let cx = Context { kind: ClientKind::Confidential, inputs: &inputs, settings: &settings };
        let issuer = service.authorize(cx).ok().and_then(|call| call.issuer);
        assert_eq!(issuer, None, "{id}");
        let grants = [GrantType::AuthorizationCode, GrantType::ClientCredentials];
        let told = grants.iter().any(|grant| service.token_endpoint(*grant, cx).unwrap().is_some());
        assert!(told || !service.registers(), "{id}");
    }
}

/// No address and no body carries it, where logs and caches would keep it.
// ST-5, ST-6
#[test]
fn st_5_st_6_each_shipped_api_takes_its_token_in_one_header_alone() {
    for id in Catalogue::shipped().ids() {
        let service = service(&id);
        let inputs = examples(&service);
        let settings = BTreeMap::new();
        let cx = Context { kind: ClientKind::Confidential, inputs: &inputs, settings: &settings };
        let token = Presented::new("the~token", None);
        let carried = service.api_carries(cx, &token).map(|text| text.to_string());
        // As it is, or as user and password in Base64.
        let has = |value: &str| value.contains("the~token") || value.contains("dGhlfnRva2Vu");
        let ways = carried.headers.iter().filter(|(_, value)| has(value));
        assert_eq!(ways.count(), 1, "{id}: {:?}", carried.headers);
        assert!(carried.query.is_empty() && carried.body.is_empty(), "{id}");
    }
}

/// That two secrets live at once is documented by none: a new one is a swap.
#[test]
pub(crate) fn no_service_is_trusted_to_take_two_secrets() {
    for id in Catalogue::shipped().ids() {
        let service = service(&id);
        assert!(service.secrets.live_max == 1 || !service.registers(), "{id}");
    }
}

#[test]
pub(crate) fn secrets_change_as_the_service_does_it() {
    let staged = ["salesforce-account-engagement", "salesforce-marketing-cloud"];
    for id in Catalogue::shipped().ids() {
        assert_eq!(service(&id).secrets.staged, staged.contains(&id.as_str()), "{id}");
    }
}

/// What no program can mind stands where a person reads it: in the steps of registering.
#[test]
pub(crate) fn what_only_people_can_mind_is_told() {
    for (id, words) in [
        ("activecampaign", "it dies with that user"),
        ("brevo", "Apps are private"),
        ("salesforce-account-engagement", "the sixth ends the first"),
        ("zoho-campaigns", "the 21st ends the first"),
    ] {
        let steps = &service(id).portal_steps;
        assert!(steps.iter().any(|step| step.contains(words)), "{id}: {words}");
    }
}
