//! The paved path: a home folder, a service file of one's own, a client, a connection, a token.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::sync::Arc;

use indicia::{Broker, Error, Indicia, Options, ROOT_KEY_FILE, RootKeySource, catalogue};
use indicia_broker::clients::NewClient;
use indicia_broker::connect::{ConnectRequest, ConnectStep};
use indicia_broker::model::Environment;
use indicia_catalog::Flow;
use indicia_oauth::ClientSecret;

use crate::hostile::{Hostile, answer, answering};
use crate::support::begins;

const OWN: &str = include_str!("../../../../docs/examples/own-server.toml");

/// Puts a service file into a home.
pub fn own_file(home: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let folder = home.join("services");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o700)).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

pub async fn open(home: &Path) -> Result<Arc<Broker>, Error> {
    Indicia::open(Options::new(home.to_owned())).await
}

/// What opening says.
async fn refused(home: &Path) -> (String, String) {
    let Err(error) = open(home).await else { panic!("it was opened") };
    (error.code().to_owned(), error.to_string())
}

async fn connect(broker: &Arc<Broker>, port: u16) {
    let new = NewClient {
        service: "own-server".into(),
        id: Some("own".into()),
        client_id: Some("app".into()),
        secret: Some(ClientSecret::new("canary-secret")),
        secret_expires_at: None,
        kind: None,
        redirect_uri: None,
        inputs: BTreeMap::from([("port".into(), port.to_string())]),
        settings: BTreeMap::new(),
        environment: Environment::Live,
    };
    broker.add_client(new).await.unwrap();
    let request = ConnectRequest {
        client: "own".into(),
        id: None,
        capabilities: Vec::new(),
        scopes: vec!["api:read".into()],
        inputs: BTreeMap::new(),
        labels: BTreeMap::new(),
        flow: Some(Flow::ClientCredentials),
        other_account: false,
    };
    let step = broker.connect(request).await.unwrap();
    assert!(matches!(step, ConnectStep::Done(_)));
}

/// A connection `own` of a server of one's own, whose token is `canary-token`.
pub async fn connected() -> (Arc<Broker>, tempfile::TempDir, Hostile) {
    let home = tempfile::tempdir().unwrap();
    own_file(home.path(), "own-server.toml", OWN);
    let body = r#"{"access_token":"canary-token","token_type":"Bearer","expires_in":3600}"#;
    let token = answering(answer("200 OK", &["Connection: close"], body));
    let probe = answering(answer("200 OK", &["Connection: close"], r#"{"sub":"42"}"#));
    let server = Hostile::start(vec![token, probe]);
    let broker = open(home.path()).await.unwrap();
    connect(&broker, server.address().port()).await;
    broker.drain().await;
    (broker, home, server)
}

#[tokio::test]
async fn a_token_is_had_kept_and_read_again_without_the_service() {
    let (_broker, home, server) = connected().await;
    begins(std::str::from_utf8(&server.requests()[0]).unwrap(), "POST /token HTTP/1.1\r\n");
    let asked = server.requests().len();

    let again = open(home.path()).await.unwrap();
    let view = again.token("own", None).await.unwrap();
    assert_eq!(*view.access_token, "canary-token");
    assert_eq!(server.requests().len(), asked);
    let mode = |name: &str| home.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode(ROOT_KEY_FILE), mode("indicia.db")), (0o700, 0o600, 0o600));
}

#[tokio::test]
async fn a_wrong_or_missing_root_key_is_told_and_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path().join("home");
    drop(open(&home).await.unwrap());
    let key = home.join(ROOT_KEY_FILE);
    let kept = std::fs::read(&key).unwrap();
    std::fs::write(&key, "ab".repeat(32)).unwrap();
    assert_eq!(refused(&home).await.0, "wrong_root_key");
    std::fs::remove_file(&key).unwrap();
    let (_, detail) = refused(&home).await;
    assert!(detail.contains("root.key is missing"), "{detail}");
    assert!(!key.exists());
    let mut options = Options::new(home.clone());
    let given = indicia::root_key::BytesRootKey::parse(&kept, "the test").unwrap();
    options.root_key = RootKeySource::Given(Arc::new(given));
    Indicia::open(options).await.unwrap();
}

#[tokio::test]
async fn a_home_that_is_not_there_is_not_made_unless_wanted() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path().join("home");
    let mut options = Options::new(home.clone());
    options.store.create = false;
    let error = Indicia::open(options).await.err().unwrap();
    assert_eq!(error.code(), "store_unreadable");
    assert!(!home.exists());
}

#[test]
fn a_service_file_of_somebody_else_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = own_file(home.path(), "own-server.toml", OWN);
    assert!(catalogue(home.path()).unwrap().service("own-server").is_some());
    let told = || {
        let catalogue = catalogue(home.path()).unwrap();
        assert!(catalogue.service("own-server").is_none());
        catalogue.problems_of("own-server")[0].to_string()
    };

    for mode in [0o646, 0o664] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let fix =
            format!("written by others (mode {mode:04o}); type: chmod go-w {}", path.display());
        assert!(told().contains(&fix), "{}", told());
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(catalogue(home.path()).unwrap().service("own-server").is_some());

    // The superuser can give a file away; anybody else can point to one of the superuser's.
    if chown(&path, Some(12_345), None).is_err() {
        std::fs::remove_file(&path).unwrap();
        symlink("/etc/passwd", &path).unwrap();
    }
    assert!(told().contains(", not to you ("), "{}", told());
}

#[test]
fn a_file_that_is_wrong_takes_only_its_own_service_away_and_all_problems_are_told() {
    let home = tempfile::tempdir().unwrap();
    let shipped = indicia::Catalogue::shipped().ids();
    own_file(home.path(), "own-server.toml", OWN);
    // A shipped service's name: neither the wrong file nor the shipped one serves it.
    own_file(home.path(), "c.toml", &format!("id = \"{}\"\nnonsense = 2\n", shipped[0]));
    own_file(home.path(), "b.toml", "schema = 1\nnonsense = 2\n");
    own_file(home.path(), "a.toml", "schema = \n");
    own_file(home.path(), "notes.txt", "no service");
    let catalogue = catalogue(home.path()).unwrap();
    for id in ["a", "b", &shipped[0]] {
        assert!(catalogue.service(id).is_none(), "{id}");
        assert!(!catalogue.problems_of(id).is_empty(), "{id}");
    }
    for id in ["own-server", &shipped[1]] {
        assert!(catalogue.service(id).is_some(), "{id}");
        assert!(catalogue.problems_of(id).is_empty(), "{id}");
    }
    let all: Vec<_> = catalogue.problems().iter().map(ToString::to_string).collect();
    let detail = all.join("\n");
    assert!(detail.contains("c.toml:2: "), "{detail}");
    assert!(detail.contains("a.toml:1: ") && detail.contains("b.toml:2: "), "{detail}");
    assert!(!detail.contains("notes.txt"), "{detail}");
}

#[test]
fn a_home_without_service_files_has_the_shipped_ones() {
    let home = tempfile::tempdir().unwrap();
    let ids = catalogue(&home.path().join("none")).unwrap().ids();
    assert_eq!(ids, indicia::Catalogue::shipped().ids());
}
