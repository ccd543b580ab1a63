//! Rows of the standards that a vector can't say: what must not exist, what must differ, sizes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use indicia_oauth::authorization::{self, CallbackError, Expected, QUERY_BYTES_MAX};
use indicia_oauth::client_assertion::{Algorithm, Claims, Unsigned};
use indicia_oauth::token_answer::{self, Reading};
use indicia_oauth::{
    Answer, Code, Credentials, Dialect, Method, Proof, RefreshToken, TokenSet, Verdict, grant,
    metadata, pkce, revocation,
};
use zeroize::Zeroizing;

use crate::support::{SENT_AT, answer_of, endpoint, ok, request};

/// What [`token_answer::read`] grants; panics on a refusal.
fn granted(answer: &Answer) -> Box<TokenSet> {
    match token_answer::read(answer, &Dialect::default(), SENT_AT) {
        Reading::Granted(set) => set,
        Reading::Refused(refusal) => panic!("{refusal:?}"),
    }
}

fn refused(answer: &Answer) -> token_answer::Refusal {
    match token_answer::read(answer, &Dialect::default(), SENT_AT) {
        Reading::Granted(_) => panic!("granted"),
        Reading::Refused(refusal) => refusal,
    }
}

// AR-6, AR-7, ST-7
#[test]
fn ar_6_ar_7_st_7_state_is_wide_and_plain() {
    let states: BTreeSet<String> = (0..=255_u8)
        .flat_map(|byte| (0..32).map(move |at| (byte, at)))
        .map(|(byte, at)| {
            let mut random = [0x5a; authorization::STATE_RANDOM_BYTES];
            random[at] = byte;
            authorization::state(&random)
        })
        .collect();
    // Every bit of the 256 counts: only the 32 repetitions of the unchanged value fall together.
    assert_eq!(states.len(), 256 * 32 - 31);
    for state in states {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        assert!(state.len() == 43 && state.bytes().all(plain), "{state}");
    }
}

// AR-10
#[test]
fn ar_10_there_is_no_password_grant() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in sources(&source) {
        let text = fs::read_to_string(&file).expect("a source");
        assert!(!text.contains("(\"grant_type\", \"password\")"), "{}", file.display());
        assert!(!text.contains("\"token\")]") || !text.contains("response_type"), "implicit");
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("entry").path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

// RH-13, RH-14
#[test]
fn rh_13_rh_14_size_limits_hold() {
    let expected = Expected { state: "xyz", issuer: None, issuer_always: false };
    let too_long = format!("state=xyz&code={}", "a".repeat(QUERY_BYTES_MAX));
    assert_eq!(
        authorization::check(&too_long, &expected).err(),
        Some(CallbackError::Malformed("it is too long"))
    );
    let prose = "no entry ".repeat(5_000);
    let query = format!("state=xyz&error=x&error_description={}", prose.replace(' ', "+"));
    let Err(CallbackError::Refused { description: Some(shown), .. }) =
        authorization::check(&query, &expected)
    else {
        panic!("not refused")
    };
    assert_eq!(shown.chars().count(), 200);
}

// RH-1
#[test]
fn rh_1_callback_state_finds_the_flow() {
    assert_eq!(authorization::callback_state("code=a&state=x%2Dy"), Ok("x-y".to_owned()));
    assert_eq!(authorization::callback_state("code=a"), Err(CallbackError::State));
    assert_eq!(
        authorization::callback_state("state=a&state=a"),
        Err(CallbackError::Twice("state".to_owned()))
    );
}

// RH-21
#[test]
fn rh_21_long_codes_and_tokens_come_through_whole() {
    let code = "c".repeat(8 * 1024);
    let expected = Expected { state: "xyz", issuer: None, issuer_always: false };
    let callback = authorization::check(&format!("state=xyz&code={code}"), &expected);
    assert!(callback.is_ok_and(|callback| callback.into_code().matches(&code)));

    let (access, refresh) = ("a".repeat(64 * 1024), "r".repeat(64 * 1024));
    let set = granted(&ok(&format!(
        r#"{{"access_token":"{access}","refresh_token":"{refresh}","token_type":"Bearer"}}"#
    )));
    assert!(set.access_token.matches(&access));
    assert!(set.refresh_token.is_some_and(|token| token.matches(&refresh)));
}

/// Code × status × media type: the code decides, whatever the rest says (RFC 6749 §5.2).
// TR-11
#[test]
fn tr_11_a_well_formed_code_decides() {
    let codes = [
        ("invalid_grant", Verdict::GrantRefused),
        ("invalid_client", Verdict::ClientRefused),
        ("unauthorized_client", Verdict::ClientRefused),
        ("invalid_request", Verdict::Misconfigured),
        ("unsupported_grant_type", Verdict::Misconfigured),
        ("invalid_scope", Verdict::Misconfigured),
        ("invalid_target", Verdict::Misconfigured),
        ("slow_down", Verdict::Throttled),
        ("temporarily_unavailable", Verdict::Unavailable),
        ("server_error", Verdict::Ambiguous),
    ];
    for (code, verdict) in codes {
        for status in [200, 400, 401, 403, 404, 405, 500, 503] {
            for media_type in ["application/json", "text/html", ""] {
                let body = format!(r#"{{"error":"{code}"}}"#);
                let headers = [("content-type", media_type)];
                let refusal = refused(&answer_of(status, &headers, body.as_bytes()));
                assert_eq!(refusal.verdict, verdict, "{code} with {status} as {media_type:?}");
                assert_eq!((refusal.code.as_deref(), refusal.status), (Some(code), status));
            }
        }
        // These speak of the way to the endpoint, or of pace.
        for (status, verdict) in [
            (302, Verdict::Misconfigured),
            (408, Verdict::Ambiguous),
            (425, Verdict::Throttled),
            (429, Verdict::Throttled),
        ] {
            let body = format!(r#"{{"error":"{code}"}}"#);
            let refusal = refused(&answer_of(status, &[], body.as_bytes()));
            assert_eq!(refusal.verdict, verdict, "{code} with {status}");
        }
    }
}

// DV-33
#[test]
fn dv_33_the_services_clock_can_be_read() {
    let date = [("date", "Thu, 01 Jan 2026 00:10:00 GMT")];
    let ahead = answer_of(401, &date, br#"{"error":"invalid_client"}"#);
    let skew = ahead.date().map(|date| date.since(SENT_AT));
    assert_eq!(skew, Some(Duration::from_secs(600)));
    assert_eq!(answer_of(401, &[("date", "soon")], b"").date(), None);
}

// DV-16
#[test]
fn dv_16_a_huge_body_is_not_read() {
    let filler = "x".repeat(256 * 1024);
    let huge = ok(&format!(r#"{{"access_token":"a","token_type":"Bearer","x":"{filler}"}}"#));
    assert_eq!(refused(&huge).verdict, Verdict::Ambiguous);
    let document = ok(&format!(r#"{{"issuer":"https://server.example.com","x":"{filler}"}}"#));
    assert!(metadata::read(&document, "https://server.example.com", false).is_err());
}

// PK-2, ST-7
#[test]
fn pk_2_st_7_verifiers_are_long_plain_and_distinct() {
    // V1 and V2: the published octets.
    let octets = [
        116, 24, 223, 180, 151, 153, 224, 37, 79, 250, 96, 125, 216, 173, 187, 186, 22, 212, 37,
        77, 105, 214, 191, 240, 91, 88, 5, 88, 83, 132, 141, 121,
    ];
    let verifier = pkce::verifier(&octets);
    assert_eq!(verifier.expose(), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert_eq!(pkce::challenge(&verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    let mut start = [0; pkce::RANDOM_BYTES];
    start[..5].copy_from_slice(&[3, 236, 255, 224, 193]);
    assert!(pkce::verifier(&start).expose().starts_with("A-z_4M"));
    let others: BTreeSet<_> =
        (0..=255).map(|b| pkce::verifier(&[b; pkce::RANDOM_BYTES]).expose().to_owned()).collect();
    assert_eq!(others.len(), 256);
    assert!(others.iter().all(|other| (43..=128).contains(&other.len())));
}

// TR-3
#[test]
fn tr_3_secrets_stay_out_of_the_address() {
    for codec in ["form", "json"] {
        for auth in ["basic", "basic_raw", "body", "none", "omit"] {
            for grant in ["code", "refresh", "client_credentials", "revocation", "introspection"] {
                let given = serde_json::json!({
                    "grant": grant, "secret": "canary1", "code": "canary2", "token": "canary3",
                    "verifier": "canary4", "endpoint": {"codec": codec, "auth": auth},
                });
                let Ok(request) = request(&given) else {
                    continue;
                };
                assert!(!request.url.contains("canary"), "{grant} {auth} {codec}");
            }
        }
    }
}

// CA-1
#[test]
fn ca_1_one_method_at_a_time() {
    for auth in ["basic", "basic_raw", "body", "query", "none", "omit"] {
        let given = serde_json::json!({
            "grant": "refresh", "secret": "canary1", "endpoint": {"auth": auth},
        });
        let request = request(&given).unwrap_or_else(|error| panic!("{auth}: {error}"));
        let body = String::from_utf8_lossy(&request.body);
        let ways = [
            request.header("authorization").is_some(),
            body.contains("canary1"),
            request.url.contains("canary1"),
        ];
        let used = ways.iter().filter(|way| **way).count();
        assert_eq!(used, usize::from(!matches!(auth, "none" | "omit")), "{auth}");
    }
}

// RH-3
#[test]
fn rh_3_a_code_is_consumed_by_its_request() {
    // `Code` isn't `Clone` (proven beside), and the exchange takes it by value: a second call with
    // the same one doesn't compile, nor would this if it were only borrowed.
    let code: Code = Code::new("abc");
    let credentials = Credentials { client_id: "id", proof: Proof::None };
    let endpoint = endpoint(&serde_json::Value::Null);
    let request = grant::code::request(&endpoint, &credentials, code, None, None);
    assert!(request.is_ok_and(|request| request.body.ends_with(b"code=abc&client_id=id")));
}

// RV-8
#[test]
fn rv_8_the_default_way_is_a_post_with_nothing_in_the_address() {
    let given = serde_json::json!({"grant": "revocation", "secret": "x", "token": "canary1"});
    let request = request(&given).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(request.method, Method::Post);
    assert!(!request.url.contains("canary1"));
}

// RV-5
#[test]
fn rv_5_a_date_without_a_clock_says_nothing() {
    let date = [("retry-after", "Tue, 15 Nov 1994 08:12:31 GMT")];
    assert_eq!(revocation::read(&answer_of(503, &date, b"")), revocation::Revoked::Later(None));
    let both = [date[0], ("date", "Tue, 15 Nov 1994 08:12:00 GMT")];
    assert_eq!(
        revocation::read(&answer_of(503, &both, b"")),
        revocation::Revoked::Later(Some(Duration::from_secs(31)))
    );
}

// TR-3
#[test]
fn tr_3_an_echoed_secret_is_not_shown() {
    let secrets =
        ["tGzv3JOkF0XG5Qx2TlKWIA", "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"];
    for secret in secrets {
        let body = format!(
            r#"{{"error":"{secret}","error_description":"refresh_token={secret}, sorry"}}"#
        );
        let json = refused(&answer_of(400, &[], body.as_bytes()));
        let page = format!("<p>unknown: {secret}</p>");
        let html = refused(&answer_of(500, &[("content-type", "text/html")], page.as_bytes()));
        for refusal in [json, html] {
            assert!(!format!("{refusal:?}").contains(secret), "{refusal:?}");
        }
    }
}

// TR-3
#[test]
fn tr_3_a_token_cut_by_the_limit_is_not_shown() {
    let (secret, tokens) = ("tGzv3JOkF0XG5Qx2TlKWIA", "tGzv3JOkF0XG5Qx2TlKWIA ".repeat(34));
    for spaces in 0..40 {
        let prose = format!("{tokens}{}{secret}", " ".repeat(spaces));
        let body = format!(r#"{{"error":"x","error_description":"{prose}"}}"#);
        let shown = refused(&answer_of(400, &[], body.as_bytes())).description;
        assert!(!shown.unwrap_or_default().contains("tG"), "{spaces}");
    }
}

// DV-10
#[test]
fn dv_10_evidence_is_short() {
    let page = format!("<html>{}</html>", "down for works ".repeat(10_000));
    let refusal = refused(&answer_of(503, &[("content-type", "text/html")], page.as_bytes()));
    assert!(refusal.evidence.chars().count() <= 250, "{}", refusal.evidence);
    assert!(refusal.evidence.starts_with("text/html: down for works"));
}

#[test]
fn token_sets_come_back_from_their_bytes() {
    let dialect = Dialect { keep: vec!["dc".into()], ..Dialect::default() };
    let body = r#"{"access_token":"a\"\\b","refresh_token":"r","token_type":"bearer",
        "expires_in":"60","scope":["x","y"],"dc":"eu","refresh_token_expires_in":9}"#;
    let Reading::Granted(set) = token_answer::read(&ok(body), &dialect, SENT_AT) else {
        panic!("refused")
    };
    let bytes = set.to_bytes();
    let again = TokenSet::from_bytes(&bytes).expect("what was written");
    assert_eq!(again.access_token.expose(), r#"a"\b"#);
    assert_eq!(again.refresh_token.as_ref().map(RefreshToken::expose), Some("r"));
    assert_eq!(again.token_type, "bearer");
    assert_eq!(again.scopes, set.scopes);
    assert_eq!(again.expiry, set.expiry);
    assert_eq!(again.refresh_expires_at, set.refresh_expires_at);
    assert_eq!(again.extra, set.extra);
    assert_eq!(again.deviations, set.deviations);
    assert!(!set.deviations.is_empty());
    assert_eq!(*again.to_bytes(), *bytes);
}

#[test]
fn bytes_of_a_token_set_are_strict() {
    for bad in ["", "{}", "null", r#"{"format":2}"#] {
        assert!(TokenSet::from_bytes(bad.as_bytes()).is_none(), "{bad}");
    }
    let set = granted(&ok(r#"{"access_token":"abc","token_type":"Bearer"}"#));
    let text = String::from_utf8(set.to_bytes().to_vec()).expect("JSON");
    for (from, to) in [(r#""format":1"#, r#""format":2"#), ("abc", ""), ("}", "")] {
        assert!(TokenSet::from_bytes(text.replace(from, to).as_bytes()).is_none(), "{from}");
    }
    assert!(TokenSet::from_bytes(text.as_bytes()).is_some());
}

#[test]
fn answers_come_back_from_their_bytes() {
    let answer = Answer {
        status: 201,
        headers: vec![("a".into(), "é".into()), ("a".into(), String::new())],
        body: Zeroizing::new(vec![0, 255, b'\n']),
        complete: false,
    };
    let bytes = answer.to_bytes();
    let again = Answer::from_bytes(&bytes).expect("what was written");
    assert_eq!((again.status, again.complete), (201, false));
    assert_eq!(again.headers, answer.headers);
    assert_eq!(*again.body, *answer.body);
    for cut in 0..bytes.len() {
        assert!(Answer::from_bytes(&bytes[..cut]).is_none(), "cut at {cut}");
    }
    let longer = [bytes.as_slice(), b"x"].concat();
    assert!(Answer::from_bytes(&longer).is_none());
}

// CA-9, CA-10, CA-12
#[test]
fn ca_9_ca_10_ca_12_an_assertion_says_who_to_whom_and_for_how_long() {
    let claims = Claims {
        client_id: "app",
        audience: "https://as.example",
        id: "one-of-a-kind",
        issued_at: SENT_AT,
    };
    for (algorithm, name) in [(Algorithm::Es256, "ES256"), (Algorithm::Rs256, "RS256")] {
        let unsigned = Unsigned::new(algorithm, "key-1", claims);
        let signed_part = unsigned.as_bytes().to_vec();
        let whole = unsigned.signed(&[0xfb, 0xff]);
        let whole = whole.expose();
        let parts: Vec<&str> = whole.split('.').collect();
        assert_eq!(signed_part, parts[..2].join(".").as_bytes());
        let part = |n: usize| URL_SAFE_NO_PAD.decode(parts[n]).unwrap();
        let json = |n: usize| serde_json::from_slice::<serde_json::Value>(&part(n)).unwrap();
        let now = SENT_AT.as_millis() / 1_000;
        assert_eq!(json(0), serde_json::json!({ "alg": name, "kid": "key-1", "typ": "JWT" }));
        let said = serde_json::json!({
            "iss": "app", "sub": "app", "aud": "https://as.example", "jti": "one-of-a-kind",
            "iat": now, "exp": now + 300,
        });
        assert_eq!(json(1), said);
        assert_eq!(part(2), [0xfb, 0xff]);
    }
    assert!(serde_json::from_str::<Algorithm>("\"none\"").is_err());
}
