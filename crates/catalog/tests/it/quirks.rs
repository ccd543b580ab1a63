//! What is odd about single services and can't be told from a transcript: hosts by input, headers,
//! settings, kinds of client. Each test fails once the service's file no longer says it.

use std::collections::BTreeMap;
use std::time::Duration;

use indicia_catalog::service::Omitted;
use indicia_catalog::{
    Capability, ClientKind, Context, Flow, GrantType, Presented, RevocationRule, Rotation, Service,
};
use indicia_oauth::dialect::NoExpiry;
use indicia_oauth::token_answer::{self, Reading, Refusal};
use indicia_oauth::{
    Answer, BasicEncoding, BodyCodec, ClientAuth, Method, Timestamp, TokenEndpoint, Verdict,
};
use zeroize::Zeroizing;

use crate::shipped::service;

/// A challenge is named an error for a confidential client there, and is compulsory for a public
/// one; the account's id is needed in each later path.
#[test]
pub(crate) fn aweber_takes_pkce_of_public_clients_only() {
    let service = service("aweber");
    for (kind, pkce, auth) in [
        (ClientKind::Confidential, false, ClientAuth::Basic(BasicEncoding::Form)),
        (ClientKind::Public, true, ClientAuth::None),
    ] {
        let asked = Asked { kind, ..Asked::default() };
        assert_eq!(service.authorize(asked.cx()).unwrap().pkce, pkce, "{kind:?}");
        assert_eq!(asked.token(&service, GrantType::RefreshToken).auth, auth, "{kind:?}");
    }
    let asked = service.scopes_for(&[Capability::ContactsWrite]).unwrap().0;
    assert_eq!(asked, ["account.read", "subscriber.write"]);
}

/// Writing doesn't include reading there, and a client-credentials request without scopes gets all
/// that the app has: none of ours is without.
#[test]
pub(crate) fn brevo_is_asked_for_no_more_than_is_wanted() {
    let service = service("brevo");
    let asked = |flow, can: &[_]| service.scopes_for_flow(flow, can).unwrap().0;
    let both = [Capability::ContactsRead, Capability::ContactsWrite];
    let all = ["account:read", "contacts:read", "contacts:write"];
    assert_eq!(asked(Flow::AuthorizationCode, &both), all);
    assert_eq!(asked(Flow::AuthorizationCode, &both[1..]), ["account:read", "contacts:write"]);
    assert_eq!(service.scopes.omitted, Omitted::Everything);
    assert_eq!(asked(Flow::ClientCredentials, &[]), ["account:read"]);
}

#[test]
pub(crate) fn brevo_gives_an_applications_own_tokens_at_another_host() {
    let (service, asked) = (service("brevo"), Asked::default());
    let url = |grant| asked.token(&service, grant).url;
    assert_eq!(
        url(GrantType::ClientCredentials),
        "https://api.brevo.com/realms/partner/oauth/token"
    );
    assert_eq!(url(GrantType::RefreshToken), "https://oauth.brevo.com/realms/partner/oauth/token");
    let rule = service.refresh_rule(asked.cx());
    assert_eq!((rule.lifetime, rule.idle), (Some(DAY * 30), Some(DAY * 30)));
}

/// Retail and the two MAX hosts know nothing of each other; MAX wants the account's domain with
/// each call, that for a token included. The address of no request is ours to say.
#[test]
pub(crate) fn getresponse_max_has_hosts_and_a_header_of_its_own() {
    let service = service("getresponse");
    for (edition, domain, host) in [
        (None, None, "api.getresponse.com"),
        (Some("max-us"), Some("acme.getresponse360.com"), "api3.getresponse360.com"),
        (Some("max-pl"), Some("acme.getresponse360.pl"), "api3.getresponse360.pl"),
    ] {
        let told = [("edition", edition), ("login", domain), ("domain", domain)];
        let asked = Asked::with(told.into_iter().filter_map(|(n, v)| Some((n, v?))));
        let authorize = service.authorize(asked.cx()).unwrap();
        let login = domain.unwrap_or("app.getresponse.com");
        assert_eq!(authorize.url, format!("https://{login}/oauth2_authorize.html"));
        assert!(!authorize.send_redirect_uri);
        let header = domain.map(|domain| ("X-Domain".to_owned(), domain.to_owned()));
        for grant in GRANTS {
            let endpoint = asked.token(&service, grant);
            assert_eq!(endpoint.url, format!("https://{host}/v3/token"));
            assert_eq!(endpoint.headers, Vec::from_iter(header.clone()));
        }
        let base = service.api_base(asked.cx(), &BTreeMap::new()).unwrap();
        assert_eq!(base, Some(format!("https://{host}/v3")));
        let headers = headers(&service, asked.cx());
        assert_eq!(headers.iter().find(|(name, _)| name == "X-Domain"), header.as_ref());
    }
    assert!(service.check_input("edition", "max-de").is_err());
    assert!(service.check_input("login", "mail.acme.example").is_err());
    assert!(service.check_input("domain", "mail.acme.example").is_ok());
    assert!(service.redirect.single && service.scopes.full_access);
}

/// Each region has its own hosts, and nobody else can say one; the version travels where one is
/// given.
#[test]
pub(crate) fn intercom_has_regions_and_a_version_header() {
    let service = service("intercom");
    for (region, version, part) in
        [(None, None, ""), (Some("eu"), Some("2.6"), ".eu"), (Some("au"), None, ".au")]
    {
        let told = [("region", region), ("version", version)];
        let asked = Asked::with(told.into_iter().filter_map(|(n, v)| Some((n, v?))));
        let login = service.authorize(asked.cx()).unwrap().url;
        assert_eq!(login, format!("https://app{part}.intercom.com/oauth"));
        let token = asked.token(&service, GrantType::AuthorizationCode).url;
        assert_eq!(token, format!("https://api{part}.intercom.io/auth/eagle/token"));
        let base = service.api_base(asked.cx(), &BTreeMap::new()).unwrap();
        assert_eq!(base, Some(format!("https://api{part}.intercom.io")));
        let headers = headers(&service, asked.cx());
        let sent = headers.iter().find(|(name, _)| name == "Intercom-Version");
        assert_eq!(sent.map(|(_, value)| value.as_str()), version);
    }
    assert!(service.check_input("region", "api.evil.example/").is_err());
    assert_eq!(service.dialect.no_expiry, NoExpiry::Never);
    assert!(!service.refresh_rule(Asked::default().cx()).supported);
    assert_eq!(service.scopes_for(&[Capability::ContactsRead]), Ok((vec![], vec![])));
}

/// Token requests are JSON, a revocation is a form; a tenant has tokens of its own.
#[test]
pub(crate) fn kit_speaks_json_for_tokens_and_a_form_for_revocation() {
    let service = service("kit");
    for (tenant, sent) in [(None, None), (Some("shop-one.example"), Some("shop-one.example"))] {
        let asked = Asked::with(tenant.map(|tenant| ("tenant", tenant)));
        let params = service.authorize(asked.cx()).unwrap().params;
        let came = params.iter().find(|(name, _)| name == "tenant_name");
        assert_eq!(came.map(|(_, value)| value.as_str()), sent);
        assert_eq!(asked.token(&service, GrantType::RefreshToken).codec, BodyCodec::Json);
        let Ok(RevocationRule::Call { endpoint, .. }) = service.revocation(asked.cx()) else {
            panic!("there is a call");
        };
        assert_eq!((endpoint.codec, endpoint.auth), (BodyCodec::Form, ClientAuth::Body));
    }
    assert!(service.check_input("tenant", "a\nb").is_err());
    let public = Asked { kind: ClientKind::Public, ..Asked::default() };
    assert!(service.authorize(public.cx()).unwrap().pkce);
    assert_eq!(public.token(&service, GrantType::RefreshToken).auth, ClientAuth::None);
}

/// The credentials travel in the address; before its end the same token comes again, so nobody asks
/// for one earlier; `scope` is somebody's e-mail address.
#[test]
pub(crate) fn marketo_is_asked_in_the_address_and_not_before_the_end() {
    let service = service("marketo");
    let asked = Asked::with([("munchkin_id", "123-abc-456")]);
    let endpoint = asked.token(&service, GrantType::ClientCredentials);
    assert_eq!(endpoint.url, "https://123-abc-456.mktorest.com/identity/oauth/token");
    assert_eq!((endpoint.method, endpoint.codec), (Method::Get, BodyCodec::Query));
    assert_eq!(endpoint.auth, ClientAuth::Query);
    let rule = service.refresh_rule(asked.cx());
    assert_eq!((rule.supported, rule.earliest_before_end), (false, Some(Duration::ZERO)));
    assert_eq!(service.dialect.scope, None);
    for strange in ["123-abc-456.evil.example", "evil", "123-ABC-456", "1234-abc-456"] {
        assert!(service.check_input("munchkin_id", strange).is_err(), "{strange}");
    }
}

/// The answer names an API that isn't this one, no answer names an end, and each call names a
/// business unit.
#[test]
pub(crate) fn account_engagement_has_its_own_api_and_a_business_unit() {
    let service = service("salesforce-account-engagement");
    let unit = ("business_unit", "0Uv5g0000008Q1aCAE");
    let kept = [("instance_url".to_owned(), "https://acme.my.salesforce.com".to_owned())].into();
    let headers = headers(&service, Asked::with([unit]).cx());
    assert!(headers.contains(&("Pardot-Business-Unit-Id".to_owned(), unit.1.to_owned())));
    assert!(service.check_input(unit.0, "0Uv5g0000008Q1a").is_err(), "15 characters");
    assert_eq!(service.dialect.no_expiry, NoExpiry::Unknown);
    for (org, login, host, api) in [
        (None, None, "login.salesforce.com", "pi.pardot.com"),
        (Some("sandbox"), None, "test.salesforce.com", "pi.demo.pardot.com"),
        (Some("developer"), None, "login.salesforce.com", "pi.demo.pardot.com"),
        (None, Some("acme.my.salesforce.com"), "acme.my.salesforce.com", "pi.pardot.com"),
    ] {
        let told = [("org", org), ("login", login)];
        let asked = Asked::with(told.into_iter().filter_map(|(n, v)| Some((n, v?))));
        for grant in GRANTS {
            let url = asked.token(&service, grant).url;
            assert_eq!(url, format!("https://{host}/services/oauth2/token"));
        }
        let base = service.api_base(asked.cx(), &kept).unwrap();
        assert_eq!(base, Some(format!("https://{api}/api/v5")));
    }
    for strange in ["salesforce.com", "my.salesforce.com", "acme.my.salesforce.com.evil.example"] {
        assert!(service.check_input("login", strange).is_err(), "{strange}");
    }
}

/// Nobody is taken at the word of a default: unsaid, a refresh may rotate.
#[test]
pub(crate) fn account_engagement_rotates_as_the_app_is_set() {
    let service = service("salesforce-account-engagement");
    for (value, rotation, idle) in [
        (None, Rotation::May, None),
        (Some("off"), Rotation::Keeps, None),
        (Some("on"), Rotation::Rotates, Some(DAY * 30)),
    ] {
        let settings = value.map(|v| ("rotation".to_owned(), v.to_owned())).into_iter().collect();
        let asked = Asked { settings, ..Asked::default() };
        let rule = service.refresh_rule(asked.cx());
        assert_eq!((rule.effective_rotation(), rule.idle), (rotation, idle), "{value:?}");
        assert_eq!(rule.reuse_grace, None, "{value:?}: a second use is taken for theft");
    }
    let asked = |flow| service.scopes_for_flow(flow, &[]).unwrap().0;
    assert_eq!(asked(Flow::AuthorizationCode), ["offline_access", "pardot_api"]);
    assert_eq!(asked(Flow::ClientCredentials), ["pardot_api"]);
}

/// A client, as it is registered.
struct Asked {
    kind: ClientKind,
    inputs: BTreeMap<String, String>,
    settings: BTreeMap<String, String>,
}

impl Default for Asked {
    fn default() -> Self {
        let kind = ClientKind::Confidential;
        Self { kind, inputs: BTreeMap::new(), settings: BTreeMap::new() }
    }
}

impl Asked {
    fn with<'a>(inputs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let inputs = inputs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        Self { inputs, ..Self::default() }
    }

    fn cx(&self) -> Context<'_> {
        Context { kind: self.kind, inputs: &self.inputs, settings: &self.settings }
    }

    fn token(&self, service: &Service, grant: GrantType) -> TokenEndpoint {
        service.token_endpoint(grant, self.cx()).unwrap().unwrap()
    }
}

const GRANTS: [GrantType; 3] =
    [GrantType::AuthorizationCode, GrantType::ClientCredentials, GrantType::RefreshToken];
const DAY: Duration = Duration::from_secs(86_400);

/// A key without credits is answered with the same status as a dead one: it must not be given up.
#[test]
pub(crate) fn sendgrid_tells_an_empty_account_from_a_dead_key() {
    let service = service("sendgrid");
    let verdict = |body: &str| api_verdict(&service, 401, "application/json", body);
    let spent = r#"{"errors":[{"message":"Maximum credits exceeded","field":null,"help":null}]}"#;
    assert_eq!(verdict(spent), Verdict::Throttled);
    let dead = r#"{"errors":[{"message":"The provided authorization grant is invalid, expired, or revoked"}]}"#;
    assert_eq!(verdict(dead), Verdict::GrantRefused);
    for wrong in ["", "SG.", "SG.a", "sg.a.b", "SG.a.b c", "Bearer SG.a.b"] {
        assert!(service.check_api_key(wrong).is_err(), "{wrong}");
    }
    let asked = Asked { inputs: one("region", "eu"), ..Asked::default() };
    let base = service.api_base(asked.cx(), &BTreeMap::new()).unwrap();
    assert_eq!(base.as_deref(), Some("https://api.eu.sendgrid.com"));
}

/// Its host is the account's own, in two domains; a wrong key is 403; public lists have OAuth
/// addresses that were invented.
#[test]
pub(crate) fn activecampaign_has_a_host_of_its_own_and_answers_403() {
    let service = service("activecampaign");
    assert_eq!(service.flows, [Flow::ApiKey]);
    for (domain, host) in [("", "blue.api-us1.com"), ("activehosted.com", "blue.activehosted.com")]
    {
        let mut inputs = one("account", "blue");
        if !domain.is_empty() {
            inputs.extend(one("domain", domain));
        }
        let asked = Asked { inputs, ..Asked::default() };
        let base = service.api_base(asked.cx(), &BTreeMap::new()).unwrap();
        assert_eq!(base, Some(format!("https://{host}/api/3")));
        assert_eq!(headers(&service, asked.cx()), [("Api-Token".to_owned(), "t".to_owned())]);
    }
    for (name, value) in [("account", "blue.evil"), ("domain", "evil.example")] {
        assert!(service.check_input(name, value).is_err(), "{value}");
    }
    let verdict = api_verdict(&service, 403, "application/json", r#"{"message":"Forbidden"}"#);
    assert_eq!(verdict, Verdict::GrantRefused);
}

/// Its call about keys answers with secret keys: it is asked for nothing but the profile. A refusal
/// may be a page.
#[test]
pub(crate) fn mailjet_is_asked_for_the_profile_and_refuses_with_a_page() {
    let (service, asked) = (service("mailjet"), Asked::default());
    let probe = service.probe(asked.cx()).unwrap().unwrap();
    assert_eq!(probe.url, "https://api.mailjet.com/v3/REST/myprofile");
    let pair = format!("{}:{}", "1".repeat(32), "a".repeat(32));
    service.check_api_key(&pair).unwrap();
    for wrong in [&pair[..32], &pair.replace(':', ""), &pair.to_uppercase()] {
        assert!(service.check_api_key(wrong).is_err(), "{wrong}");
    }
    let verdict = api_verdict(&service, 401, "text/html", "<html>Unauthorized</html>");
    assert_eq!(verdict, Verdict::GrantRefused);
}

/// The API's headers for a token.
fn headers(service: &Service, cx: Context<'_>) -> Vec<(String, String)> {
    let carried = service.api_carries(cx, &Presented::new("t", None));
    carried.map(|text| text.to_string()).headers
}

fn one(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

/// What an answer of the API means.
pub(crate) fn api_verdict(service: &Service, status: u16, kind: &str, body: &str) -> Verdict {
    api_refusal(service, status, kind, body).verdict
}

pub(crate) fn api_refusal(service: &Service, status: u16, kind: &str, body: &str) -> Refusal {
    let answer = Answer {
        status,
        headers: vec![("content-type".into(), kind.into())],
        body: Zeroizing::new(body.as_bytes().to_vec()),
        complete: true,
    };
    match token_answer::read(&answer, &service.api_dialect, Timestamp::from_millis(0)) {
        Reading::Refused(refusal) => refusal,
        Reading::Granted(_) => panic!("a refusal is granted"),
    }
}
