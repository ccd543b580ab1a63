//! Rows for tests of stores: full ones, in which each field differs from its default, so that a
//! field that is dropped on the way shows.

use std::collections::BTreeMap;
use std::time::Duration;

use indicia_broker::client_key::PublicKey;
use indicia_broker::model::{
    Account, Ambiguity, ClientId, ClientRefused, ClientRow, ConnectionId, ConnectionRow,
    Environment, Event, EventKind, FlowRow, GrantId, GrantRow, GrantState, GrantsHeld,
    GrantsRefused, Intent, JournalId, Life, Reason, ReasonCode, RefusedSpend, RevocationItem,
    RevocationItemState, RevocationRow, RotationOwner, SecretRow, SecretState, TokenFacts,
};
use indicia_broker::ports::{ForgetOutcome, NewTokens, Settlement, Store, TakenFlows};
use indicia_broker::vault::{DataKeyRow, Fingerprint, KeyId, Sealed};
use indicia_catalog::{ClientKind, Flow};
use indicia_oauth::client_assertion::Algorithm;
use indicia_oauth::{Expiry, Timestamp};
use sha2::{Digest as _, Sha256};

/// When tests begin.
pub const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

/// `NOW` and so many seconds.
pub fn at(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

/// A grant's id.
pub fn grant_id(text: &str) -> GrantId {
    GrantId::new(text).unwrap()
}

/// A connection's id.
pub fn connection_id(text: &str) -> ConnectionId {
    ConnectionId::new(text).unwrap()
}

/// A client's id.
pub fn client_id(text: &str) -> ClientId {
    ClientId::new(text).unwrap()
}

/// A journal's id.
pub fn journal_id(text: &str) -> JournalId {
    JournalId::new(text).unwrap()
}

/// A fingerprint that differs by `text`, in every part as real ones do.
pub fn fingerprint(text: &str) -> Fingerprint {
    Fingerprint::from_bytes(Sha256::digest(text).into())
}

/// Sealed bytes that differ by `text`.
pub fn sealed(text: &str) -> Sealed {
    Sealed { key: KeyId(u32::try_from(text.len()).unwrap()), bytes: text.as_bytes().to_vec() }
}

/// A map of one entry.
pub fn one(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

/// A data key.
pub fn data_key(n: u32) -> DataKeyRow {
    DataKeyRow { id: KeyId(n), wrapped: vec![7, 0, 255], created_at: at(u64::from(n)) }
}

/// The public part of a client's key.
fn public_key() -> PublicKey {
    PublicKey {
        algorithm: Algorithm::Es256,
        key_id: "k".to_owned(),
        jwk: serde_json::json!({ "kty": "EC" }),
        pem: "-----BEGIN PUBLIC KEY-----".to_owned(),
    }
}

/// A client with two secrets, one of them a key, refused.
pub fn client(id: &str) -> ClientRow {
    let secret = |n, state, sealed, expires_at, for_input| SecretRow {
        n,
        state,
        sealed,
        added_at: at(u64::from(n)),
        expires_at,
        for_input,
        key: (n == 2).then(public_key),
    };
    ClientRow {
        id: client_id(id),
        service: "example".to_owned(),
        client_id: format!("theirs-{id}"),
        kind: ClientKind::Confidential,
        redirect_uri: "http://127.0.0.1:8917/oauth/callback/x".to_owned(),
        inputs: one("dc", "us1"),
        settings: one("scopes", "a b"),
        environment: Environment::Sandbox { address: "127.0.0.1:1".to_owned() },
        secrets: vec![
            secret(1, SecretState::Retired, None, None, None),
            secret(
                2,
                SecretState::Current,
                Some(sealed("secret")),
                Some(at(9)),
                Some("eu".to_owned()),
            ),
        ],
        refused: Some(ClientRefused {
            secrets: vec![1, 2],
            since: at(1),
            retry_at: at(2),
            said: "no".to_owned(),
        }),
        grants_refused: GrantsRefused {
            revive: vec![grant_id("revived")],
            grants: vec![(grant_id("x"), at(1))],
            lost: vec![(grant_id("y"), at(2))],
            held: Some(GrantsHeld { since: at(1), retry_at: at(2), said: "no".to_owned() }),
            believed: true,
        },
        created_at: at(3),
        revision: 1,
    }
}

/// A connection.
pub fn connection(id: &str, client: &str, grant: &str) -> ConnectionRow {
    ConnectionRow {
        id: connection_id(id),
        client: client_id(client),
        grant: grant_id(grant),
        labels: one("team", id),
        created_at: at(4),
        updated_at: at(5),
    }
}

/// What may be known of the token set of this grant and version.
pub fn facts(grant: &str, version: u64) -> TokenFacts {
    TokenFacts {
        expiry: Expiry::At(at(3600)),
        obtained_at: at(6),
        granted: Some(vec!["read".to_owned()]),
        access: fingerprint(&format!("{grant} access {version}")),
        refresh: Some(fingerprint(&format!("{grant} refresh {version}"))),
        refresh_since: Some(at(7)),
        refresh_expires_at: Some(at(8)),
        rotated: true,
        rejected: false,
    }
}

/// A state with all that outcomes leave behind.
pub fn state(life: Life) -> GrantState {
    GrantState {
        life,
        reason: Some(Reason {
            code: ReasonCode::AnswerLost,
            detail: "lost".to_owned(),
            since: at(10),
            next_step: "wait".to_owned(),
            cause: Some(indicia_broker::model::Cause::Aged),
        }),
        refusals: vec![RefusedSpend {
            fingerprint: fingerprint("refused"),
            secret_n: 2,
            endpoint: "https://example.test/token".to_owned(),
            at: at(11),
            times: 3,
        }],
        failures: 4,
        retry_at: Some(at(12)),
        resent_boot_ms: Some(15),
        ambiguity: Some(Ambiguity { since: at(13), sends: 2, noted_boot_ms: 14 }),
        secret_n: Some(2),
    }
}

/// A grant at version 1, due at [`NOW`].
pub fn grant(id: &str, client: &str) -> GrantRow {
    GrantRow {
        id: grant_id(id),
        client: client_id(client),
        flow: Flow::AuthorizationCode,
        inputs: one("dc", "us2"),
        account: Some(Account { id: format!("account of {id}"), name: Some("A".to_owned()) }),
        asked: vec!["read".to_owned(), "write".to_owned()],
        rotation_owner: RotationOwner::Indicia,
        created_at: at(14),
        version: 1,
        tokens: sealed(&format!("{id} tokens 1")),
        facts: facts(id, 1),
        state: GrantState::alive(),
        next_at: Some(NOW),
        lease: None,
        intent: None,
    }
}

/// The token set of a version to commit.
pub fn tokens(grant: &str, version: u64) -> NewTokens {
    NewTokens {
        version,
        tokens: sealed(&format!("{grant} tokens {version}")),
        facts: facts(grant, version),
        state: GrantState::alive(),
        next_at: Some(at(1000 + version)),
        inputs: one("dc", "us3"),
        account: Some(Account { id: format!("account of {grant}"), name: None }),
        asked: None,
        flow: None,
    }
}

/// An intent to spend from this version under this claim.
pub fn intent(grant: &str, version: u64, lease_no: u64) -> Intent {
    Intent {
        version,
        fingerprint: fingerprint(&format!("{grant} refresh {version}")),
        journal: journal_id("journal-1"),
        lease_no,
        at: at(15),
        sends: 2,
        begun_boot_ms: 3,
    }
}

/// A settlement with a full state.
pub fn settlement(clear_intent: bool) -> Settlement {
    Settlement {
        state: state(Life::Alive),
        next_at: Some(at(500)),
        clear_intent,
        clear_rejected: false,
    }
}

/// A pending flow, ending 600 s after [`NOW`].
pub fn flow(state_hash: &str, client: &str) -> FlowRow {
    FlowRow {
        state_hash: state_hash.to_owned(),
        client: client_id(client),
        connection: connection_id("x"),
        redirect_uri: "http://127.0.0.1:8917/oauth/callback/x".to_owned(),
        sealed: sealed("flow"),
        frozen: "{\"token_endpoint\":\"https://example.test/token\"}".to_owned(),
        asked: vec!["read".to_owned()],
        inputs: one("dc", "us4"),
        labels: one("team", "blue"),
        created_at: NOW,
        expires_at: at(600),
        used_at: None,
        journal: None,
        taken_no: 0,
        revoked: false,
    }
}

/// A revocation with one call to make and one that is done.
pub fn revocation(id: &str, grant: &str, next_at: Option<Timestamp>) -> RevocationRow {
    let item = |what: &str, sealed: Option<Sealed>, state| RevocationItem {
        grant: grant_id(grant),
        version: 3,
        client: client_id("c"),
        account: Some(format!("account of {grant}")),
        inputs: one("dc", "us5"),
        what: what.to_owned(),
        call: Some("POST https://example.test/revoke".to_owned()),
        probe: sealed.as_ref().map(|_| self::sealed("probe")),
        sealed,
        answer: Some("200".to_owned()),
        at: Some(at(16)),
        state,
        next_step: Some("wait".to_owned()),
        tries: 1,
    };
    RevocationRow {
        id: id.to_owned(),
        connections: vec![connection_id("x")],
        requested_at: at(17),
        items: vec![
            item("refresh_token", Some(sealed("item")), RevocationItemState::Pending),
            item("access_token", None, RevocationItemState::Revoked),
        ],
        proof: Some(("GET https://example.test/me".to_owned(), at(18))),
        next_at,
        revision: 1,
    }
}

/// An event.
pub fn event(kind: EventKind, connection: &str) -> Event {
    Event {
        kind,
        at: at(19),
        connection: Some(connection_id(connection)),
        client: Some(client_id("c")),
        grant: None,
        facts: one("version", "1"),
    }
}

/// Adds the client `c` and, for each name, a connection with a grant of its own, both of that name.
pub async fn connect(store: &dyn Store, names: &[&str]) {
    store.add_client(client("c"), vec![]).await.unwrap();
    for name in names {
        store.connect(connection(name, "c", name), grant(name, "c"), None, vec![]).await.unwrap();
    }
}

/// Forgets a connection that has this grant; whether it was there.
pub async fn forget(store: &dyn Store, name: &str, grant: &str) -> bool {
    let (id, grant) = (connection_id(name), grant_id(grant));
    let done = store.forget(&id, &grant, TakenFlows::End, vec![]).await.unwrap();
    assert_ne!(done, ForgetOutcome::Moved, "{name}");
    done == ForgetOutcome::Done
}
