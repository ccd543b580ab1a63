//! A token on a request of the caller's own: where it goes, and what comes with it.

use indicia::clients::NewClient;
use indicia::http::Request;
use indicia::import::ImportRequest;
use indicia::model::RotationOwner;
use indicia::{Error, authorize};

use crate::open::{connected, open, own_file};

async fn refused(uri: &str) -> Error {
    let (broker, _folder, _server) = connected().await;
    let mut request = Request::get(uri).body(()).unwrap();
    let error = authorize(&broker, "own", &mut request).await.err().unwrap();
    assert!(request.headers().is_empty(), "the request is as it was");
    assert_eq!(request.uri().to_string(), uri);
    error
}

#[tokio::test]
async fn a_path_is_taken_below_the_apis_base_and_headers_are_hidden() {
    let (broker, _folder, _server) = connected().await;
    let mut request = Request::get("/whoami?x=1").header("authorization", "mine").body(()).unwrap();
    let authorized = authorize(&broker, "own", &mut request).await.unwrap();
    assert_eq!(authorized.version, 1);
    let uri = request.uri().to_string();
    assert!(uri.starts_with("http://127.0.0.1:") && uri.ends_with("/whoami?x=1"), "{uri}");
    let value = request.headers().get_all("authorization").iter().collect::<Vec<_>>();
    assert_eq!(value.len(), 1, "what was there is replaced");
    assert!(value[0].is_sensitive());
    assert!(value[0].to_str().unwrap().starts_with("Bearer "));
    assert!(!format!("{request:?} {authorized:?}").contains("canary"), "nothing prints it");
    let mut whole = Request::get(&uri).body(()).unwrap();
    authorize(&broker, "own", &mut whole).await.unwrap();
    assert_eq!(whole.uri().to_string(), uri);
}

#[tokio::test]
async fn a_token_goes_to_the_api_and_nowhere_else() {
    for uri in ["http://attacker.test/", "https://127.0.0.1/", "http://127.0.0.1:1/whoami"] {
        let error = refused(uri).await;
        assert_eq!(error.code(), "other_host", "{uri}: {error}");
    }
}

#[tokio::test]
async fn a_connection_that_is_not_there_is_told() {
    let (broker, _folder, _server) = connected().await;
    let mut request = Request::get("/").body(()).unwrap();
    let error = authorize(&broker, "nobody", &mut request).await.err().unwrap();
    assert_eq!(error.code(), "not_found");
}

#[tokio::test]
async fn what_goes_into_the_query_is_put_there_and_what_goes_into_the_body_is_told() {
    let (home, key) = (tempfile::tempdir().unwrap(), "SG.canary.key");
    let text = indicia_catalog::Catalogue::shipped_text("sendgrid").unwrap();
    let places =
        "[api.query]\napikey = \"{token}\"\n\n[api.body]\nkey = \"{token}\"\n\n[api.probe]";
    let text = text.replace("id = \"sendgrid\"", "id = \"keyed\"");
    own_file(home.path(), "keyed.toml", &text.replace("[api.probe]", places));
    let broker = open(home.path()).await.unwrap();
    let new = NewClient { service: "keyed".into(), ..NewClient::default() };
    broker.add_client(new).await.unwrap();
    let import = ImportRequest {
        client: "keyed".into(),
        id: None,
        owner: RotationOwner::Indicia,
        one_of_many: true,
    };
    let line = format!(r#"{{"id":"k","api_key":"{key}"}}"#);
    broker.import(&import, line.as_bytes()).await.unwrap();
    let mut request = Request::get("/v3/lists?a=1&apikey=mine&b=%2F").body(()).unwrap();
    let authorized = authorize(&broker, "k", &mut request).await.unwrap();
    let uri = request.uri().to_string();
    assert_eq!(uri, format!("https://api.sendgrid.com/v3/lists?a=1&b=%2F&apikey={key}"));
    assert!(request.headers().is_empty());
    assert_eq!(authorized.body().collect::<Vec<_>>(), [("key", key)]);
    assert!(!format!("{authorized:?}").contains("canary"), "it doesn't print");
}
