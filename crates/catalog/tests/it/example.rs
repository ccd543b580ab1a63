//! The example of a user's own file, as the documentation shows it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indicia_catalog::check::check;
use indicia_catalog::read::read;
use indicia_catalog::service::Origin;
use indicia_catalog::template::FillError;
use indicia_catalog::{Catalogue, ClientKind, Context, GrantType, RevocationRule, Service};
use indicia_oauth::metadata::Metadata;

fn text() -> String {
    example("own-server.toml")
}

fn example(file: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples");
    std::fs::read_to_string(folder.join(file)).unwrap()
}

fn inputs(port: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("port".to_owned(), port.to_owned())])
}

#[test]
fn the_examples_read_and_check_clean() {
    for file in ["django.toml", "ghost.toml", "own-server.toml", "resend.toml"] {
        let errors: Vec<String> =
            check(file, &example(file)).iter().map(ToString::to_string).collect();
        assert!(errors.is_empty(), "{}", errors.join("\n"));
    }
}

#[test]
fn a_client_whose_secret_is_never_sent_is_told() {
    let text = example("resend.toml");
    for (kinds, auth, problems) in [
        ("", "auth = \"none\"", 1),
        ("client_kinds = [\"confidential\", \"public\"]", "auth = \"none\"", 1),
        ("client_kinds = [\"public\"]", "auth = \"none\"", 0),
        ("", "auth = \"body\"", 0),
    ] {
        let text = text.replacen("client_kinds = [\"public\"]", kinds, 1);
        let text = text.replacen("public_auth = \"none\"", auth, 1);
        let found = check("resend.toml", &text);
        assert_eq!(found.len(), problems, "{kinds} {auth}: {found:?}");
        let fix = "client_kinds = [\"public\"]";
        assert!(found.iter().all(|error| error.to_string().contains(fix)), "{found:?}");
    }
}

#[test]
fn the_example_connects_a_server_on_this_machine() {
    let service = read("own-server.toml", &text()).unwrap();
    let (inputs, settings) = (inputs("4010"), BTreeMap::new());
    let cx = Context { kind: ClientKind::Confidential, inputs: &inputs, settings: &settings };
    let call = service.authorize(cx).unwrap();
    assert_eq!(call.url, "http://127.0.0.1:4010/auth");
    assert_eq!(call.issuer.as_deref(), Some("http://127.0.0.1:4010"));
    assert!(call.issuer_always && call.pkce);
    let token = service.token_endpoint(GrantType::RefreshToken, cx).unwrap().unwrap();
    assert_eq!(token.url, "http://127.0.0.1:4010/token");
    let introspection = service.introspection(cx).unwrap().unwrap();
    assert_eq!(introspection.url, "http://127.0.0.1:4010/token/introspection");
    let RevocationRule::Call { endpoint, .. } = service.revocation(cx).unwrap() else {
        panic!("no revocation");
    };
    assert_eq!(endpoint.url, "http://127.0.0.1:4010/token/revocation");
    assert_eq!(service.probe(cx).unwrap().unwrap().url, "http://127.0.0.1:4010/me");
    assert!(!service.needs_metadata(cx));
}

#[test]
fn a_port_is_a_port() {
    let service = read("own-server.toml", &text()).unwrap();
    for port in ["80@evil.example", "4010/x", "", "99999", "0", "4010\n"] {
        let (inputs, settings) = (inputs(port), BTreeMap::new());
        let cx = Context { kind: ClientKind::Public, inputs: &inputs, settings: &settings };
        assert!(service.authorize(cx).is_err(), "{port:?}");
    }
}

#[test]
fn endpoints_that_are_left_out_come_from_metadata() {
    let all = text();
    let mut kept = String::new();
    for line in all.lines() {
        let endpoint = ["/auth\"", "/token\"", "/introspection\"", "/revocation\""];
        if !(line.starts_with("url = ") && endpoint.iter().any(|end| line.ends_with(end))) {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    let service = read("own-server.toml", &kept).unwrap();
    let inputs = inputs("4010");
    let none = BTreeMap::new();
    let cx = Context { kind: ClientKind::Public, inputs: &inputs, settings: &none };
    assert!(service.needs_metadata(cx));
    assert_eq!(service.authorize(cx), Err(FillError::Missing("endpoint.authorize".into())));
    let metadata = Metadata {
        authorization_endpoint: Some("http://127.0.0.1:4010/auth".into()),
        token_endpoint: Some("http://127.0.0.1:4010/token".into()),
        issuer_in_response: true,
        ..Metadata::default()
    };
    let pins = Service::pins(&metadata);
    let cx = Context { kind: ClientKind::Public, inputs: &inputs, settings: &pins };
    assert!(!service.needs_metadata(cx));
    assert_eq!(service.authorize(cx).unwrap().url, "http://127.0.0.1:4010/auth");
    let token = service.token_endpoint(GrantType::AuthorizationCode, cx).unwrap().unwrap();
    assert_eq!(token.url, "http://127.0.0.1:4010/token");
    assert!(matches!(service.revocation(cx).unwrap(), RevocationRule::Cannot { .. }));
    assert_eq!(service.introspection(cx), Ok(None));
}

#[test]
fn own_files_join_and_override_the_shipped_ones() {
    let text = text();
    let id = Catalogue::shipped().ids()[0].clone();
    let shipped = Catalogue::shipped_text(&id).unwrap();
    let (one, two) = (Path::new("services/one.toml"), Path::new("services/two.toml"));
    let catalogue = Catalogue::with_own([(one, text.as_str()), (two, shipped)]).unwrap();
    assert_eq!(catalogue.service("own-server").unwrap().origin, Origin::Own(one.into()));
    assert_eq!(catalogue.service(&id).unwrap().origin, Origin::Overrides(two.into()));
    let other = catalogue.ids().into_iter().find(|i| *i != id && i != "own-server").unwrap();
    assert_eq!(catalogue.service(&other).unwrap().origin, Origin::Shipped);
    assert_eq!(catalogue.nearest("own-servr"), ["own-server"]);
    assert!(catalogue.service("nobody").is_none());
}

#[test]
fn two_own_files_may_not_share_id_or_issuer() {
    let one = text();
    let other = one.replace("id = \"own-server\"", "id = \"other-server\"");
    let paths = (Path::new("a.toml"), Path::new("b.toml"));
    let errors =
        Catalogue::with_own([(paths.0, one.as_str()), (paths.1, one.as_str())]).err().unwrap();
    assert_eq!(
        errors[0].to_string(),
        "b.toml:1: id \"own-server\" is also that of a.toml; give each service its own"
    );
    let errors = Catalogue::with_own([(paths.0, one.as_str()), (paths.1, &other)]).err().unwrap();
    assert_eq!(
        errors[0].to_string(),
        "a.toml:1: issuer \"http://127.0.0.1:{port}\" is also that of other-server; give each \
         service its own"
    );
}
