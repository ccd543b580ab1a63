//! API keys at the simulated service: which way they come, and which are taken.

use indicia_catalog::{Catalogue, ClientKind, Presented};
use indicia_oauth::{Answer, Method, Request};
use indicia_sandbox::Options;
use zeroize::Zeroizing;

use crate::driver::{Driver, service};

/// The service's harmless call with a key.
fn probe(driver: &mut Driver, key: &str) -> Answer {
    let rule = driver.service.probe(driver.context()).unwrap().unwrap();
    let carried = rule.carries.map(|text| Presented::new(key, None).put(text));
    let request = Request {
        method: Method::Get,
        url: Zeroizing::new(rule.url),
        headers: carried.headers.into_iter().map(|(n, v)| (n.to_lowercase(), v)).collect(),
        body: Zeroizing::default(),
    };
    driver.send(&request)
}

#[test]
fn each_service_with_keys_takes_the_right_one_in_its_own_way_until_its_owner_ends_it() {
    let ids = Catalogue::shipped().ids();
    let keyed: Vec<_> = ids.into_iter().filter(|id| !service(id).registers()).collect();
    assert_eq!(keyed.len(), 3);
    for id in keyed {
        let mut driver = Driver::new(service(&id), ClientKind::Public, Options::default());
        let key = driver.service.api_key.as_ref().unwrap().example.clone();
        assert_eq!(probe(&mut driver, &key).status, 200, "{id}");
        assert_ne!(probe(&mut driver, &key.replace('1', "2")).status, 200, "{id}");
        driver.model.add_key(&key.replace('1', "2"), "second", driver.now);
        assert_eq!(probe(&mut driver, &key.replace('1', "2")).status, 200, "{id}");
        assert_eq!(driver.model.owner_revokes("second", "", driver.now), 1);
        assert_ne!(probe(&mut driver, &key.replace('1', "2")).status, 200, "{id}");
        assert_eq!(probe(&mut driver, &key).status, 200, "{id}: the other key lives");
    }
}
