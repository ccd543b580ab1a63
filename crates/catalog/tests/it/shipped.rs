//! Each shipped file checks clean, and has its row here.

use std::collections::BTreeMap;
use std::sync::Arc;

use indicia_catalog::check::check;
use indicia_catalog::service::{Kills, LimitPer, Omitted, Origin, Pkce};
use indicia_catalog::{
    Capability, Catalogue, ClientKind, Context, Flow, GrantType, RevocationRule, Rotation, Service,
};
use indicia_oauth::dialect::NoExpiry;
use indicia_oauth::{BasicEncoding, BodyCodec, ClientAuth, Verdict};
use std::time::Duration;

use crate::without;

#[test]
pub(crate) fn each_shipped_file_checks_clean() {
    let mut errors = Vec::new();
    for id in Catalogue::shipped().ids() {
        let text = Catalogue::shipped_text(&id).unwrap();
        let found = check(&format!("services/{id}.toml"), text);
        errors.extend(found.iter().map(ToString::to_string));
        assert_eq!(service(&id).origin, Origin::Shipped);
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

/// What decides behaviour, one row a service: PKCE; authentication for the code and for a refresh;
/// rotation as the engine must treat it; what a revocation ends; the name of its default address.
struct Row(
    &'static str,
    Pkce,
    ClientAuth,
    Option<ClientAuth>,
    Rotation,
    Option<Kills>,
    &'static str,
);

const BASIC: ClientAuth = ClientAuth::Basic(BasicEncoding::Form);
const BODY: ClientAuth = ClientAuth::Body;
const PASTED: &str = "https://localhost/";

const ROWS: &[Row] = &[
    Row(
        "aweber",
        Pkce::PublicOnly,
        BASIC,
        Some(BASIC),
        Rotation::Rotates,
        Some(Kills::Grant),
        "http://localhost:",
    ),
    Row(
        "brevo",
        Pkce::Supported,
        BODY,
        Some(BODY),
        Rotation::May,
        Some(Kills::Grant),
        "http://localhost:",
    ),
    Row(
        "campaign-monitor",
        Pkce::Unknown,
        BODY,
        Some(ClientAuth::Omit),
        Rotation::May,
        None,
        "http://localhost:",
    ),
    Row("constant-contact", Pkce::PublicOnly, BASIC, Some(BASIC), Rotation::Rotates, None, PASTED),
    Row("getresponse", Pkce::Unknown, BASIC, Some(BASIC), Rotation::May, None, PASTED),
    Row(
        "hubspot",
        Pkce::Unknown,
        BODY,
        Some(BODY),
        Rotation::May,
        Some(Kills::Grant),
        "http://localhost:",
    ),
    Row("intercom", Pkce::Unknown, BODY, None, Rotation::May, None, PASTED),
    Row("keap", Pkce::Unknown, BODY, Some(BASIC), Rotation::Rotates, None, PASTED),
    Row("kit", Pkce::Supported, BODY, Some(BODY), Rotation::May, Some(Kills::Grant), PASTED),
    Row(
        "klaviyo",
        Pkce::Required,
        BASIC,
        Some(BASIC),
        Rotation::May,
        Some(Kills::Grant),
        "http://localhost:",
    ),
    Row("mailchimp", Pkce::Unknown, BODY, None, Rotation::May, None, "http://127.0.0.1:"),
    Row("marketo", Pkce::Unknown, ClientAuth::Query, None, Rotation::May, None, PASTED),
    Row(
        "salesforce-account-engagement",
        Pkce::Supported,
        BODY,
        Some(BODY),
        Rotation::May,
        Some(Kills::Grant),
        PASTED,
    ),
    Row("salesforce-marketing-cloud", Pkce::Unknown, BODY, Some(BODY), Rotation::May, None, PASTED),
    Row(
        "zoho-campaigns",
        Pkce::Supported,
        BODY,
        Some(BODY),
        Rotation::Keeps,
        Some(Kills::Grant),
        "http://127.0.0.1:",
    ),
];

/// Services with API keys alone.
const KEYED: &[&str] = &["activecampaign", "mailjet", "sendgrid"];

#[test]
pub(crate) fn a_service_with_keys_alone_has_nothing_of_oauth() {
    for id in KEYED {
        let service = service(id);
        let (inputs, settings) = (examples(&service), BTreeMap::new());
        let cx = Context { kind: ClientKind::Public, inputs: &inputs, settings: &settings };
        assert!(!service.registers(), "{id}");
        assert!(service.authorize(cx).is_err(), "{id}");
        for grant in [GrantType::AuthorizationCode, GrantType::ClientCredentials] {
            assert!(service.token_endpoint(grant, cx).unwrap().is_none(), "{id}");
        }
        assert!(matches!(service.revocation(cx), Ok(RevocationRule::Cannot { .. })), "{id}");
        assert!(service.probe(cx).unwrap().is_some(), "{id}: a key is tried before it is kept");
    }
}

#[test]
pub(crate) fn each_service_has_its_row() {
    let ids: Vec<&str> = ROWS.iter().map(|row| row.0).collect();
    let mut all = [&ids[..], KEYED].concat();
    all.sort_unstable();
    assert_eq!(Catalogue::shipped().ids(), all, "a service was added without its row");
    for &Row(id, pkce, code, refresh, rotation, kills, address) in ROWS {
        let service = service(id);
        let (inputs, settings) = (examples(&service), BTreeMap::new());
        let cx = Context { kind: ClientKind::Confidential, inputs: &inputs, settings: &settings };
        let auth = |grant| service.token_endpoint(grant, cx).unwrap().map(|e| e.auth);
        assert_eq!(service.pkce, pkce, "{id}");
        assert_eq!(auth(GrantType::AuthorizationCode), Some(code), "{id}");
        assert_eq!(auth(GrantType::RefreshToken), refresh, "{id}");
        assert_eq!(service.refresh_rule(cx).effective_rotation(), rotation, "{id}");
        let told = match service.revocation(cx).unwrap() {
            RevocationRule::Cannot { by_hand } => {
                assert!(by_hand.len() > 40, "{id}: {by_hand}");
                None
            }
            RevocationRule::Call { kills, .. } => Some(kills),
        };
        assert_eq!(told, kills, "{id}");
        let uri = service.redirect.default_uri("c1", 8917);
        assert!(uri.starts_with(address), "{id}: {uri}");
        assert!(service.sandbox.accounts.len() >= 2, "{id}");
    }
}

/// A challenge is left out only where the service is known to refuse it.
// PK-5
#[test]
pub(crate) fn pk_5_pkce_is_left_out_for_a_cited_reason_only() {
    for id in Catalogue::shipped().ids() {
        let service = service(&id);
        let left_out = matches!(service.pkce, Pkce::Forbidden | Pkce::PublicOnly);
        assert!(!left_out || service.is_verified("pkce"), "{id}");
        assert!(!service.sources.is_empty(), "{id}");
    }
}

/// Nothing in a shipped file is anybody's credential.
// CA-6
#[test]
pub(crate) fn ca_6_no_secret_is_shipped() {
    for id in Catalogue::shipped().ids() {
        let text = Catalogue::shipped_text(&id).unwrap();
        for line in text.lines() {
            let key = line.split('=').next().unwrap_or_default().trim();
            assert!(!key.ends_with("client_secret") && !key.ends_with("password"), "{id}: {line}");
        }
    }
}

#[test]
pub(crate) fn a_token_that_never_ends_has_no_refresh() {
    let service = service("mailchimp");
    let rule = with(&[], |cx| service.refresh_rule(cx));
    assert!(!rule.supported);
    assert_eq!(service.dialect.no_expiry, NoExpiry::Never);
    assert!(service.scopes.full_access);
    assert_eq!(service.scopes_for(&[Capability::ContactsRead]), Ok((vec![], vec![])));
}

#[test]
pub(crate) fn a_setting_of_the_application_decides_the_rotation() {
    let service = service("constant-contact");
    let inputs = BTreeMap::new();
    for (value, rotation, keeps) in [
        (None, Rotation::Rotates, false),
        (Some("rotating"), Rotation::Rotates, false),
        (Some("long-lived"), Rotation::Keeps, true),
    ] {
        let settings = value.map(|v| ("rotation".to_owned(), v.to_owned())).into_iter().collect();
        let cx = Context { kind: ClientKind::Confidential, inputs: &inputs, settings: &settings };
        let rule = service.refresh_rule(cx);
        assert_eq!((rule.effective_rotation(), rule.keeps().is_some()), (rotation, keeps));
        assert_eq!(rule.idle, Some(days(180)));
    }
}

#[test]
pub(crate) fn settings_are_those_of_the_service() {
    let service = service("constant-contact");
    for (name, value, taken) in [
        ("rotation", "long-lived", true),
        ("rotation", "sometimes", false),
        ("scopes", "contact_data campaign_data", true),
        ("scopes", "contact_data,everything", false),
        ("rotatoin", "rotating", false),
        ("endpoint.token", "https://evil.example/token", false),
    ] {
        assert_eq!(service.check_setting(name, value).is_ok(), taken, "{name}={value}");
    }
}

#[test]
pub(crate) fn the_kind_of_client_decides_pkce_and_authentication() {
    let service = service("constant-contact");
    let (inputs, settings) = (BTreeMap::new(), BTreeMap::new());
    for (kind, pkce, auth) in
        [(ClientKind::Confidential, false, BASIC), (ClientKind::Public, true, ClientAuth::None)]
    {
        let cx = Context { kind, inputs: &inputs, settings: &settings };
        assert_eq!(service.authorize(cx).unwrap().pkce, pkce);
        let endpoint = service.token_endpoint(GrantType::RefreshToken, cx).unwrap().unwrap();
        assert_eq!(endpoint.auth, auth);
    }
}

#[test]
pub(crate) fn offline_access_is_asked_for_where_there_is_a_refresh_token() {
    let contact = service("constant-contact");
    let asked = contact.scopes_for(&[Capability::ContactsRead]).unwrap().0;
    assert_eq!(asked, ["offline_access", "account_read", "contact_data"]);
    let cloud = service("salesforce-marketing-cloud");
    let asked = |flow| cloud.scopes_for_flow(flow, &[Capability::CampaignsSend]).unwrap().0;
    assert_eq!(asked(Flow::AuthorizationCode), ["offline", "email_send"]);
    assert_eq!(asked(Flow::ClientCredentials), ["email_send"]);
    assert_eq!(cloud.scopes.omitted, Omitted::Everything);
}

#[test]
pub(crate) fn a_capability_without_scope_is_said() {
    let service = service("campaign-monitor");
    let error = service.scopes_for(&[Capability::CampaignsRead]).unwrap_err();
    assert!(error.starts_with("campaign-monitor has no scope for campaigns.read; it knows"));
}

#[test]
pub(crate) fn a_grant_shared_by_an_account_is_named_by_the_answer() {
    let service = service("hubspot");
    assert!(service.grant_per_account);
    assert_eq!(service.account_member.as_deref(), Some("hub_id"));
    assert!(!service.ends.is_empty() && service.ends.values().all(|day| day == "2027-02-16"));
    let (scope, optional) = service.scopes_for(&[Capability::CampaignsRead]).unwrap();
    assert_eq!((scope, optional), (vec!["oauth".into()], vec!["content".into()]));
    assert_eq!(service.sandbox.rotation_variants, [Rotation::Keeps, Rotation::Rotates]);
}

#[test]
pub(crate) fn a_refusal_is_played_in_the_services_own_words() {
    for (id, verdict, part) in [
        ("keap", Verdict::GrantRefused, "Invalid Refresh Token"),
        ("hubspot", Verdict::GrantRefused, "BAD_REFRESH_TOKEN"),
        ("zoho-campaigns", Verdict::Throttled, "Access Denied"),
        ("salesforce-marketing-cloud", Verdict::ClientRefused, "invalid_client"),
    ] {
        let service = service(id);
        let example = service.example(verdict).unwrap();
        assert!(example.body.contains(part), "{id}: {}", example.body);
    }
    assert!(service("zoho-campaigns").example(Verdict::GrantRefused).unwrap().status == 200);
    assert!(service("mailchimp").example(Verdict::GrantRefused).is_none());
    assert!(service("mailchimp").api_example(Verdict::GrantRefused).is_some());
}

#[test]
pub(crate) fn lives_and_limits_are_those_of_the_page() {
    let rule = |id: &str| {
        let service = service(id);
        with(&[], |cx| service.refresh_rule(cx))
    };
    assert_eq!((rule("keap").lifetime, rule("keap").idle), (Some(days(45)), Some(days(45))));
    assert_eq!(rule("klaviyo").idle, Some(days(90)));
    assert_eq!(rule("zoho-campaigns").mint_limit, Some((10, Duration::from_secs(600))));
    assert_eq!(service("salesforce-marketing-cloud").secrets.lifetime, Some(days(180)));
    assert!(service("salesforce-marketing-cloud").secrets.staged);
    assert_eq!(service("zoho-campaigns").secrets.per_input.as_deref(), Some("dc"));
    let limits = service("constant-contact").limits.clone();
    assert!(limits.len() == 2 && limits.iter().all(|limit| limit.per == LimitPer::Client));
}

#[test]
pub(crate) fn a_business_unit_is_a_parameter_of_client_credentials_alone() {
    let service = service("salesforce-marketing-cloud");
    let inputs = [("subdomain", "mc563885gzs27c5t9-63k636tzgm"), ("account_id", "500001234")];
    let params = |grant| with(&inputs, |cx| service.token_endpoint(grant, cx).unwrap().unwrap());
    let endpoint = params(GrantType::ClientCredentials);
    assert_eq!(endpoint.params, [("account_id".to_owned(), "500001234".to_owned())]);
    assert_eq!(endpoint.codec, BodyCodec::Json);
    assert!(params(GrantType::AuthorizationCode).params.is_empty());
}

/// A data centre's own secret never leaves for another's host.
#[test]
pub(crate) fn each_data_centre_has_its_own_hosts() {
    let service = service("zoho-campaigns");
    let input = service.inputs.iter().find(|input| input.name == "dc").unwrap();
    for (dc, row) in &input.table {
        let told = [
            ("location".to_owned(), dc.clone()),
            ("accounts-server".into(), format!("https://{}", row["accounts"])),
        ];
        let learnt = service.learn_from_callback(&told).unwrap();
        let learnt: Vec<(&str, &str)> =
            learnt.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let endpoint = with(&learnt, |cx| service.token_endpoint(GrantType::RefreshToken, cx));
        assert_eq!(
            endpoint.unwrap().unwrap().url,
            format!("https://{}/oauth/v2/token", row["accounts"])
        );
        let base = with(&learnt, |cx| service.api_base(cx, &BTreeMap::new())).unwrap();
        assert_eq!(base, Some(format!("https://{}/api/v1.1", row["campaigns"])));
    }
}

pub(crate) fn service(id: &str) -> Arc<Service> {
    without::changed(id).unwrap_or_else(|| Catalogue::shipped().service(id).unwrap())
}

fn examples(service: &Service) -> BTreeMap<String, String> {
    service.inputs.iter().map(|input| (input.name.clone(), input.example.clone())).collect()
}

fn with<T>(inputs: &[(&str, &str)], ask: impl Fn(Context<'_>) -> T) -> T {
    let inputs = inputs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let settings = BTreeMap::new();
    ask(Context { kind: ClientKind::Confidential, inputs: &inputs, settings: &settings })
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}
