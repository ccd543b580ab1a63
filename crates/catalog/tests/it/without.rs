//! `tests/quirks.toml`: a test that a row names fails on a service file from which the quirk was
//! taken out. What isn't in the catalogue's hand (a row without `out`) is proven elsewhere.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::sync::Arc;

use indicia_catalog::read::read;
use indicia_catalog::{Catalogue, Service};
use serde::Deserialize;

use crate::{common, hosts, quirks, shipped, transcript};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    quirk: Vec<Quirk>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quirk {
    services: Vec<String>,
    what: String,
    tests: Vec<String>,
    #[serde(default)]
    out: Vec<(String, String)>,
}

thread_local! {
    /// The service that has lost a quirk, for the test that this thread runs.
    static CHANGED: RefCell<Option<Arc<Service>>> = const { RefCell::new(None) };
}

/// The service without its quirk, where this thread looks whether a test misses that.
pub(crate) fn changed(id: &str) -> Option<Arc<Service>> {
    CHANGED.with_borrow(|changed| changed.clone().filter(|service| service.id == id))
}

/// Pairs of a test's name and the test.
macro_rules! tests {
    ($($file:ident: $($test:ident),+;)+) => { &[$($((stringify!($test), $file::$test as fn())),+),+] };
}

/// The tests that rows name and that read the catalogue; but for that of the transcripts, which
/// goes by service.
const TESTS: &[(&str, fn())] = tests! {
    common:
        a_401_is_read_by_what_it_says,
        constant_contact_counts_by_the_second_and_by_the_day,
        kit_is_said_to_be_unverified,
        klaviyo_is_asked_for_no_more_than_is_wanted,
        mailchimp_learns_a_data_centre_and_nothing_else,
        no_service_is_trusted_to_take_two_secrets,
        no_shipped_service_takes_its_endpoints_from_metadata,
        secrets_change_as_the_service_does_it,
        what_a_token_can_do_is_not_made_smaller_than_it_is,
        what_only_people_can_mind_is_told;
    hosts:
        a_callback_chooses_among_known_hosts_only,
        a_tenant_of_the_callback_stays_a_tenant,
        st_8_an_api_base_from_an_answer_must_match_its_pattern;
    quirks:
        account_engagement_has_its_own_api_and_a_business_unit,
        account_engagement_rotates_as_the_app_is_set,
        activecampaign_has_a_host_of_its_own_and_answers_403,
        aweber_takes_pkce_of_public_clients_only,
        brevo_gives_an_applications_own_tokens_at_another_host,
        brevo_is_asked_for_no_more_than_is_wanted,
        getresponse_max_has_hosts_and_a_header_of_its_own,
        intercom_has_regions_and_a_version_header,
        kit_speaks_json_for_tokens_and_a_form_for_revocation,
        mailjet_is_asked_for_the_profile_and_refuses_with_a_page,
        marketo_is_asked_in_the_address_and_not_before_the_end,
        sendgrid_tells_an_empty_account_from_a_dead_key;
    shipped:
        a_business_unit_is_a_parameter_of_client_credentials_alone,
        a_grant_shared_by_an_account_is_named_by_the_answer,
        a_refusal_is_played_in_the_services_own_words,
        a_service_with_keys_alone_has_nothing_of_oauth,
        a_setting_of_the_application_decides_the_rotation,
        a_token_that_never_ends_has_no_refresh,
        each_data_centre_has_its_own_hosts,
        each_service_has_its_row,
        lives_and_limits_are_those_of_the_page,
        offline_access_is_asked_for_where_there_is_a_refresh_token,
        the_kind_of_client_decides_pkce_and_authentication;
};
const TRANSCRIPTS: &str = "ar_8_ca_3_dv_20_each_service_agrees_with_its_transcript";

#[test]
fn each_quirk_is_missed_by_the_tests_that_its_row_names() {
    let mut problems = Vec::new();
    for quirk in data().quirk.iter().filter(|quirk| !quirk.out.is_empty()) {
        let id = &quirk.services[0];
        assert_eq!(quirk.services.len(), 1, "{}: a change is one file's", quirk.what);
        let place = format!("{id}: {}", quirk.what);
        let service = match without(id, &quirk.out) {
            Ok(service) => service,
            Err(why) => {
                problems.push(format!("{place}\n  {why}"));
                continue;
            }
        };
        let ran = quirk.tests.iter().filter_map(|name| Some((name, passes(&service, name)?)));
        let ran: Vec<_> = ran.collect();
        if ran.is_empty() {
            problems.push(format!("{place}\n  no test of the catalogue is named"));
        }
        let passed = ran.iter().filter(|(_, passed)| *passed);
        problems.extend(passed.map(|(name, _)| format!("{place}\n  {name} passes without it")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn each_service_and_each_test_has_its_row() {
    let data = data();
    let services: BTreeSet<_> =
        data.quirk.iter().flat_map(|quirk| quirk.services.clone()).collect();
    assert_eq!(services, Catalogue::shipped().ids().into_iter().collect());
    for (name, _) in TESTS {
        assert!(
            data.quirk.iter().any(|quirk| quirk.tests.iter().any(|test| test == name)),
            "{name}"
        );
    }
}

fn data() -> Data {
    toml::from_str(include_str!("../quirks.toml")).unwrap()
}

/// The service as its file says, without what `out` replaces.
fn without(id: &str, out: &[(String, String)]) -> Result<Arc<Service>, String> {
    let mut text = Catalogue::shipped_text(id).unwrap().to_owned();
    for (old, new) in out {
        if text.matches(old.as_str()).count() != 1 {
            return Err(format!(
                "{old:?} stands {} times in its file",
                text.matches(old.as_str()).count()
            ));
        }
        text = text.replace(old.as_str(), new);
    }
    let read = read(&format!("services/{id}.toml"), &text);
    read.map(Arc::new).map_err(|errors| format!("can't be read: {errors:?}"))
}

/// Whether a test passes on a changed service; `None` where it isn't one of the catalogue. What a
/// test says when it fails is shown with this one's own failure alone.
fn passes(service: &Arc<Service>, name: &str) -> Option<bool> {
    let test = TESTS.iter().find(|(known, _)| *known == name).map(|(_, test)| *test);
    CHANGED.set(Some(service.clone()));
    let passed = match test {
        Some(test) => Some(catch_unwind(test).is_ok()),
        None if name == TRANSCRIPTS => {
            Some(catch_unwind(|| transcript::agrees(&service.id)).is_ok())
        }
        None => None,
    };
    CHANGED.set(None);
    passed
}
