//! Each shipped service goes through its whole life cycle in the sandbox, both ways where something
//! isn't verified.

use crate::stage::Home;

#[test]
fn every_shipped_service_lives_through_its_life_cycle() {
    let home = Home::new();
    let listed = home.run(&["services", "list", "--json"]).ok().json();
    let services = listed["services"].as_array().unwrap();
    assert!(services.len() >= 15, "{listed}");
    for service in services {
        let id = service["id"].as_str().unwrap();
        for seed in ["1", "2", "3"] {
            let ran = home.run(&["services", "try", id, "--seed", seed, "--json"]);
            assert_eq!(ran.status, 0, "{id}, seed {seed}: {ran:?}");
            let told = ran.json();
            let steps = told["steps"].as_array().unwrap();
            for flow in service["flows"].as_array().unwrap() {
                for name in ["connect", "token", "refresh", "refuse", "revoke"] {
                    let has = |step: &&serde_json::Value| {
                        step["flow"] == *flow && step["step"] == name && step["ok"] == true
                    };
                    assert!(steps.iter().any(|step| has(&step)), "{id}, {flow}: {name} in {told}");
                }
            }
        }
    }
}

#[test]
fn a_users_own_file_is_checked_and_tried() {
    let home = Home::new();
    let file = home.beside("mine.toml");
    let path = file.to_str().unwrap();
    let shipped = include_str!("../../../../services/keap.toml");
    std::fs::write(&file, shipped.replace("id = \"keap\"", "id = \"mine\"")).unwrap();
    home.run(&["services", "check", path]).ok();
    let tried = home.run(&["services", "try", path]).ok();
    assert!(tried.stdout.contains("gets a new one"), "{tried:?}");

    std::fs::write(&file, shipped.replace("pkce = ", "pcke = ")).unwrap();
    let wrong = home.run(&["services", "check", path]).fails(1, "2 problems in");
    assert!(wrong.stdout.contains(":8: ") && wrong.stdout.contains("pkce"), "{wrong:?}");
    home.run(&["services", "try", path]).fails(1, "pkce");
}
