//! Whatever comes, a model answers.

use std::sync::OnceLock;

use indicia_catalog::{Catalogue, ClientKind};
use indicia_oauth::Timestamp;
use indicia_sandbox::{Incoming, Options};
use proptest::prelude::*;

use crate::driver::{Driver, START, service};

/// Addresses that lead somewhere, so that not every request ends at the door.
fn addresses() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for id in Catalogue::shipped().ids() {
        let driver = Driver::shipped(&id, 0);
        let cx = driver.context();
        let grants = [
            indicia_catalog::GrantType::AuthorizationCode,
            indicia_catalog::GrantType::RefreshToken,
            indicia_catalog::GrantType::ClientCredentials,
        ];
        let tokens =
            grants.into_iter().filter_map(|g| driver.service.token_endpoint(g, cx).ok()?);
        let urls = tokens.map(|e| e.url).chain(driver.service.authorize(cx).ok().map(|a| a.url));
        let urls = urls.chain(driver.service.probe(cx).ok().flatten().map(|p| p.url));
        all.extend(urls.map(|url| (id.clone(), url)));
    }
    all
}

fn part() -> impl Strategy<Value = String> {
    let names = "(client_id|client_secret|grant_type|refresh_token|code|redirect_uri|state|scope|\
                 response_type|token|account|decision|access_type|type|code_verifier)";
    let values = "(app|s3cr3t|refresh_token|authorization_code|client_credentials|approve|deny|\
                  code|token|offline|\\PC{0,12}|%[0-9A-F]{2}|)";
    (
        proptest::string::string_regex(names).unwrap(),
        proptest::string::string_regex(values).unwrap(),
    )
        .prop_map(|(name, value)| format!("{name}={value}"))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::collection::vec(part(), 0..8).prop_map(|parts| parts.join("&")),
        "\\PC{0,40}",
        prop::collection::btree_map("[a-z_]{1,12}", "\\PC{0,8}", 0..5)
            .prop_map(|map| serde_json::json!(map).to_string()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_model_answers_whatever_comes(
        place in any::<prop::sample::Index>(),
        path in prop_oneof![Just(None), "/\\PC{0,20}".prop_map(Some)],
        method in "(GET|POST|DELETE|PUT|\\PC{0,5})",
        query in text(),
        body in prop_oneof![text().prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..64)],
        kind in "(application/x-www-form-urlencoded|application/json|\\PC{0,10})",
        authorization in "(Basic |Bearer |OAuth )?[A-Za-z0-9+/=:]{0,20}",
        now in prop_oneof![Just(START), any::<i64>()],
        any_client in any::<bool>(),
        public in any::<bool>(),
        seed in 0..4_u64,
    ) {
        static ADDRESSES: OnceLock<Vec<(String, String)>> = OnceLock::new();
        let (id, url) = place.get(ADDRESSES.get_or_init(addresses));
        let options = Options { seed, accept_any_client: any_client, ..Options::default() };
        let kind_of = if public { ClientKind::Public } else { ClientKind::Confidential };
        let mut driver = Driver::new(service(id), kind_of, options);
        let mut request = Incoming::get(url).unwrap();
        if let Some(path) = path {
            request.path = path;
        }
        request.method = method;
        request.query = query;
        request.body = body;
        request.headers = vec![
            ("content-type".to_owned(), kind),
            ("authorization".to_owned(), authorization),
        ];
        let answer = driver.model.handle(&request, Timestamp::from_millis(now));
        prop_assert!((200..600).contains(&answer.status));
        let _ = driver.model.approve(&format!("{url}?{}", request.query), "x", driver.now);
        let _ = driver.model.record().to_json();
    }
}
