//! `indicia demo`, as somebody without an account runs it.

use std::time::{Duration, Instant};

use crate::stage::Home;

#[test]
fn the_demo_proves_all_of_it_in_time() {
    let home = Home::new();
    let begun = Instant::now();
    let ran = home.run(&["demo", "--json"]);
    let took = begun.elapsed();
    let told = ran.json();
    let rows = told["proven"].as_array().unwrap();
    for row in rows {
        assert_eq!(row["ok"], true, "{row}");
        assert!(row["what"].is_string() && row["how"].is_string(), "{row}");
    }
    assert!(rows.len() >= 12, "{told}");
    crate::reference_json::check("The demo:", &[told]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(took < Duration::from_secs(60), "a debug build took {took:?}");
    assert!(!home.path().exists(), "the demo leaves the user's home alone");
}
