//! Whatever a callback, an answer or a user says, nothing goes to a host outside the service's own.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use indicia_catalog::read::read;
use indicia_catalog::template::FillError;
use indicia_catalog::{Catalogue, ClientKind, Context, GrantType, Service};
use proptest::prelude::*;

use crate::shipped::service;

fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
pub(crate) fn a_callback_chooses_among_known_hosts_only() {
    let zoho = service("zoho-campaigns");
    for (location, server) in [
        ("evil", "https://accounts.zoho.eu"),
        ("eu", "https://accounts.evil.example"),
        ("eu", "https://accounts.zoho.com"),
        ("eu.evil.example", "https://accounts.zoho.eu"),
        ("", "https://accounts.zoho.eu"),
    ] {
        let told = pairs(&[("location", location), ("accounts-server", server)]);
        let refused = zoho.learn_from_callback(&told);
        assert!(
            matches!(refused, Err(FillError::Refused { .. })),
            "{location} {server}: {refused:?}"
        );
    }
    let told = pairs(&[("location", "eu"), ("accounts-server", "https://accounts.zoho.eu/")]);
    assert_eq!(zoho.learn_from_callback(&told).unwrap()["dc"], "eu");
    // An accounts server alone decides nothing: the default's must be the one it names.
    let told = pairs(&[("accounts-server", "https://accounts.evil.example")]);
    assert!(zoho.learn_from_callback(&told).is_err());
}

#[test]
pub(crate) fn a_tenant_of_the_callback_stays_a_tenant() {
    let cloud = service("salesforce-marketing-cloud");
    for tenant in ["evil.example", "evil.example/aaaaaaaaaaaaaaaa", "MC563885GZS27C5T9-63K636TZGM"]
    {
        assert!(cloud.learn_from_callback(&pairs(&[("tssd", tenant)])).is_err(), "{tenant}");
    }
}

// ST-8
#[test]
pub(crate) fn st_8_an_api_base_from_an_answer_must_match_its_pattern() {
    let cloud = service("salesforce-marketing-cloud");
    let (inputs, settings) = (BTreeMap::new(), BTreeMap::new());
    let cx = Context { kind: ClientKind::Confidential, inputs: &inputs, settings: &settings };
    let tenant = "mc563885gzs27c5t9-63k636tzgm";
    for (url, taken) in [
        (format!("https://{tenant}.rest.marketingcloudapis.com/"), true),
        (format!("http://{tenant}.rest.marketingcloudapis.com/"), false),
        (format!("https://{tenant}.rest.marketingcloudapis.com.evil.example/"), false),
        (format!("https://{tenant}.rest.marketingcloudapis.com/?a"), false),
        (format!("https://{tenant}@evil.example/.rest.marketingcloudapis.com/"), false),
        (format!("https://{tenant}.rest.marketingcloudapis.com/\n"), false),
        (format!("https://{tenant}.restxmarketingcloudapis.com/"), false),
        ("https://elsewhere.rest.marketingcloudapis.com/".to_owned(), false),
    ] {
        let kept = BTreeMap::from([("rest_instance_url".to_owned(), url.clone())]);
        assert_eq!(cloud.api_base(cx, &kept).is_ok(), taken, "{url}");
    }
}

#[test]
fn an_api_base_from_an_answer_stays_in_its_domain_whatever_the_pattern() {
    let taken = |pattern: &str, url: &str| {
        let api = format!(
            "base_member = \"api_base\", base_domain = \"example.com\", base_pattern = '{pattern}'"
        );
        let base = "base = \"https://{any}.api.vendor.example/{any}/v1?q={any}\"";
        assert!(CARELESS.contains(base));
        let service = read("careless.toml", &CARELESS.replace(base, &api)).unwrap();
        let (inputs, settings) = (BTreeMap::new(), BTreeMap::new());
        let cx = Context { kind: ClientKind::Confidential, inputs: &inputs, settings: &settings };
        let kept = BTreeMap::from([("api_base".to_owned(), url.to_owned())]);
        service.api_base(cx, &kept).is_ok()
    };
    for pattern in [
        r"https://[a-z0-9.-_]+\.example\.com/",
        "https://[ -~]+",
        "https://[!-z]+",
        r"https://[a-z\x2f.]+",
        r"https://a\.example\.com/?[a-z.]*",
        r"https://a\.example\.com/{0,1}[a-z.]*",
        r"https://(a\.example\.com/)?[a-z./]+",
        r"[\s\S]*",
    ] {
        assert!(taken(pattern, "https://a.example.com/"), "{pattern}");
        for url in [
            "https://evil.net/x.example.com/",
            "https://a.example.com.evil.net/",
            "https://a.example.comevil.net",
            "https://evilexample.com/",
            "https://com/",
            "https://evil.net/",
            "https://evil.net\\.example.com/",
            "https://evil.net?.example.com/",
            "https://evil.net#.example.com/",
            "https://a.example.com@evil.net/",
            "https://user@a.example.com/",
            "https://user:word@a.example.com/",
            "https://a.example.com:8443/",
            "https://a.example.com./",
            "https://A.example.com/",
            "http://a.example.com/",
            "https:a.example.com/",
            "https:///a.example.com/",
            "https://a.exam\tple.com/",
            " https://a.example.com/",
            "https://a.example.com/\n",
            "https://a.example.com/?to=1",
            "https://a.example.com/#there",
        ] {
            assert!(!taken(pattern, url), "{pattern} {url:?}");
        }
    }
    for url in ["https://example.com", "https://a.b.example.com:443/v1"] {
        assert!(taken(".*", url), "{url}");
        assert!(!taken(r"https://a\.example\.com/", url), "{url}: the whole pattern must match");
    }
}

#[test]
fn a_connection_cant_say_what_is_the_clients_to_say() {
    let cloud = service("salesforce-marketing-cloud");
    let inputs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let (one, two) = ("mc563885gzs27c5t9-63k636tzgm", "mc000000gzs27c5t9-63k636tzgm");
    let client = inputs(&[("subdomain", one)]);
    let unit = inputs(&[("account_id", "500001234")]);
    assert_eq!(cloud.inputs_for(&client, &unit).unwrap().len(), 2);
    assert!(cloud.inputs_for(&client, &inputs(&[("subdomain", one)])).is_ok());
    for foreign in
        [inputs(&[("subdomain", two)]), inputs(&[("account_id", "x")]), inputs(&[("who", "1")])]
    {
        assert!(cloud.inputs_for(&client, &foreign).is_err(), "{foreign:?}");
    }
}

/// A file whose patterns let everything through: the host still can't change.
const CARELESS: &str = r#"
schema = 1
id = "careless"
name = "Careless"
surface = "-"
flows = ["authorization-code"]
pkce = "unknown"
portal = { url = "https://vendor.example", steps = [] }
redirect = {}
sources = []
facts = {}
scopes = { full_access = true }
revocation = { by_hand = "-" }
refresh = { none = true }
api = { base = "https://{any}.api.vendor.example/{any}/v1?q={any}" }
authorize = { url = "https://login.{any}.vendor.example:443/{any}" }
token = { url = "https://{any}.vendor.example/token" }

[[inputs]]
name = "any"
level = "connection"
from = "callback"
member = "any"
pattern = '[\s\S]*'
example = "a"
help = "-"
"#;

fn host_of(url: &str) -> String {
    url::Url::parse(url).unwrap().host_str().unwrap().to_owned()
}

proptest! {
    #[test]
    fn a_careless_pattern_doesnt_let_the_host_go(value in hostile()) {
        static READ: LazyLock<Service> = LazyLock::new(|| read("careless.toml", CARELESS).unwrap());
        let service = &*READ;
        for url in filled(service, "any", &value) {
            let host = host_of(&url);
            prop_assert!(host.ends_with(".vendor.example"), "{value:?} → {url}");
            prop_assert!(url.starts_with("https://") && !url.contains('@') && !url.contains('#'));
        }
    }

    #[test]
    fn no_shipped_service_lets_its_host_go(value in hostile(), which in 0..100usize) {
        static SHIPPED: LazyLock<Catalogue> = LazyLock::new(Catalogue::shipped);
        let shipped = &*SHIPPED;
        for id in shipped.ids() {
            let service = shipped.service(&id).unwrap();
            let Some(input) = service.inputs.get(which % service.inputs.len().max(1)) else { continue };
            let domains = domains(&service);
            for url in filled(&service, &input.name, &value) {
                let host = host_of(&url);
                prop_assert!(domains.contains(&registrable(&host)), "{id}: {value:?} → {url}");
            }
        }
    }

    #[test]
    fn a_pattern_matches_the_whole_or_nothing(value in "[a-z]{0,5}[0-9]{0,4}[ \\n.a]?") {
        static MAILCHIMP: LazyLock<Arc<Service>> = LazyLock::new(|| service("mailchimp"));
        let mailchimp = &*MAILCHIMP;
        let letters = value.chars().take_while(char::is_ascii_lowercase).count();
        let rest = &value[letters..];
        let fits = (2..=4).contains(&letters)
            && (1..=3).contains(&rest.len())
            && rest.bytes().all(|b| b.is_ascii_digit());
        prop_assert_eq!(mailchimp.check_input("dc", &value).is_ok(), fits);
    }
}

/// Values that try to leave the host.
fn hostile() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "evil.example",
        "/",
        "@",
        "#",
        "?",
        "\\",
        ":",
        "..",
        ".",
        "%2f",
        "us6",
        "eu",
        "-",
        "\n",
        "https://",
        "[::1]",
        "127.0.0.1",
        "xn--",
        "Ａ",
        "。",
        "\u{0}",
        " ",
        "mc563885gzs27c5t9-63k636tzgm",
    ]);
    prop_oneof![
        prop::collection::vec(parts, 0..5).prop_map(|parts| parts.concat()),
        ".{0,30}",
        "[a-z0-9.-]{0,30}",
    ]
}

/// Every address that comes out with this value, the other inputs being their examples.
fn filled(service: &Service, name: &str, value: &str) -> Vec<String> {
    let mut inputs: BTreeMap<String, String> =
        service.inputs.iter().map(|i| (i.name.clone(), i.example.clone())).collect();
    inputs.insert(name.to_owned(), value.to_owned());
    let settings = BTreeMap::new();
    let cx = Context { kind: ClientKind::Confidential, inputs: &inputs, settings: &settings };
    let token = |grant| service.token_endpoint(grant, cx).ok().flatten().map(|e| e.url);
    let mut urls = vec![
        service.authorize(cx).ok().map(|call| call.url),
        token(GrantType::AuthorizationCode),
        token(GrantType::ClientCredentials),
        token(GrantType::RefreshToken),
        service.introspection(cx).ok().flatten().map(|e| e.url),
        service.discovery(cx).ok().flatten().map(|call| call.url),
        service.probe(cx).ok().flatten().map(|call| call.url),
        service.api_base(cx, &BTreeMap::new()).ok().flatten(),
    ];
    if let Ok(indicia_catalog::RevocationRule::Call { endpoint, .. }) = service.revocation(cx) {
        urls.push(Some(endpoint.url));
    }
    urls.into_iter().flatten().collect()
}

/// The domains of a service, from its table's values and its addresses with examples.
fn domains(service: &Service) -> Vec<String> {
    let tables = service.inputs.iter().flat_map(|input| input.table.values());
    let hosts = tables.flat_map(|row| row.values().cloned());
    let plain = match service.inputs.first() {
        Some(input) => filled(service, &input.name, &input.example),
        None => Vec::new(),
    };
    hosts.chain(plain.iter().map(|url| host_of(url))).map(|host| registrable(&host)).collect()
}

/// The last two labels: enough for the domains at hand.
fn registrable(host: &str) -> String {
    let labels: Vec<&str> = host.rsplitn(3, '.').take(2).collect();
    labels.into_iter().rev().collect::<Vec<_>>().join(".")
}
