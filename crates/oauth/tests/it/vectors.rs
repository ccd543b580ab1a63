//! Runs `tests/vectors/<rfc>/<case>.json`. A file has the `rows` of the standards that it shows,
//! and its `cases`; a case says what to `do`, with what `given`, and what to `expect`. Only what is
//! expected is compared, so a case shows what it is about. A new oddity is a new file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use indicia_oauth::authorization::{self, AuthorizationRequest, Expected, ResponseType};
use indicia_oauth::grant::device;
use indicia_oauth::token_answer::{self, Reading, Refusal, TokenSet};
use indicia_oauth::{RefreshToken, Verifier, introspection, metadata, pkce, revocation};
use serde_json::{Value, json};

use crate::support::{SENT_AT, answer, dialect, pairs, request, text, texts};

#[test]
fn every_vector_gives_what_it_expects() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut failures = Vec::new();
    let mut cases = 0;
    for file in files(&root) {
        let name = file.strip_prefix(&root).expect("below the root").display().to_string();
        let read = fs::read_to_string(&file).expect("a readable file");
        let content: Value = serde_json::from_str(&read).unwrap_or_else(|e| panic!("{name}: {e}"));
        let list = content["cases"].as_array().unwrap_or_else(|| panic!("{name}: no cases"));
        for (index, case) in list.iter().enumerate() {
            cases += 1;
            let got = run(text(case, "do").expect("what to do"), &case["given"]);
            for difference in differences(&case["expect"], &got, "") {
                failures.push(format!("{name} #{index}: {difference}"));
            }
        }
    }
    assert!(cases > 250, "only {cases} cases were found");
    assert!(failures.is_empty(), "{} of {cases}:\n{}", failures.len(), failures.join("\n"));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

/// What is expected and differs. An expected object may name fewer members than there are.
fn differences(expected: &Value, got: &Value, path: &str) -> Vec<String> {
    match (expected, got) {
        (Value::Object(expected), Value::Object(_)) if !path.ends_with("extra") => expected
            .iter()
            .flat_map(|(name, value)| differences(value, &got[name], &format!("{path}.{name}")))
            .collect(),
        _ if expected == got => Vec::new(),
        _ => vec![format!("{path} should be {expected}, is {got}")],
    }
}

fn run(verb: &str, given: &Value) -> Value {
    match verb {
        "build a request" => match request(given) {
            Ok(request) => {
                let headers: BTreeMap<_, _> =
                    request.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                assert_eq!(headers.len(), request.headers.len(), "a header came twice");
                json!({
                    "method": request.method.as_str(),
                    "url": request.url.as_str(),
                    "headers": headers,
                    "body": std::str::from_utf8(&request.body).expect("UTF-8"),
                })
            }
            Err(error) => json!({"error": format!("{error:?}")}),
        },
        "build an authorization URL" => authorization_url(given),
        "check a callback" => callback(given),
        "read a token answer" => token_answer(given),
        "match an error row" => {
            json!({"row": token_answer::match_row(&answer(given), &dialect(&given["dialect"]))})
        }
        "read a revocation answer" => {
            json!({"revoked": format!("{:?}", revocation::read(&answer(given)))})
        }
        "read an introspection answer" => json!({"active": introspection::active(&answer(given))}),
        "read a device authorization" => match device::read(&answer(given)) {
            Ok(found) => json!({
                "device_code": found.device_code.expose(),
                "user_code": found.user_code,
                "verification_uri": found.verification_uri,
                "verification_uri_complete": found.verification_uri_complete,
                "life": found.life.as_secs(),
                "interval": found.interval.as_secs(),
            }),
            Err(error) => json!({"error": format!("{error:?}")}),
        },
        "find metadata" => {
            let issuer = text(given, "issuer").expect("an issuer");
            match metadata::addresses(issuer, given["loopback_http"] == true) {
                Ok(addresses) => json!({"addresses": addresses}),
                Err(error) => json!({"error": format!("{error:?}")}),
            }
        }
        "read metadata" => read_metadata(given),
        "challenge a verifier" => {
            let verifier = Verifier::new(text(given, "verifier").expect("a verifier"));
            json!({"challenge": pkce::challenge(&verifier)})
        }
        other => panic!("nothing is called {other:?}"),
    }
}

fn authorization_url(given: &Value) -> Value {
    let built = authorization::url(&AuthorizationRequest {
        response_type: ResponseType::Code,
        endpoint: text(given, "endpoint").unwrap_or("https://server.example.com/authorize"),
        client_id: text(given, "client_id").unwrap_or("s6BhdRkqt3"),
        redirect_uri: text(given, "redirect_uri"),
        scopes: &texts(&given["scopes"]),
        scope_separator: text(given, "scope_separator").unwrap_or(" "),
        state: text(given, "state").unwrap_or("xyz"),
        challenge: text(given, "challenge"),
        params: &pairs(&given["params"]),
    });
    match built {
        Ok(url) => json!({"url": url}),
        Err(error) => json!({"error": format!("{error:?}")}),
    }
}

fn callback(given: &Value) -> Value {
    let expected = Expected {
        state: text(given, "state").unwrap_or("xyz"),
        issuer: text(given, "issuer"),
        issuer_always: given["issuer_always"] == true,
    };
    match authorization::check(text(given, "query").expect("a query"), &expected) {
        Ok(callback) => {
            let extra: BTreeMap<_, _> = callback.extra().iter().cloned().collect();
            json!({"extra": extra, "code": callback.into_code().expose()})
        }
        Err(error) => json!({"error": format!("{error:?}")}),
    }
}

fn token_answer(given: &Value) -> Value {
    match token_answer::read(&answer(given), &dialect(&given["dialect"]), SENT_AT) {
        Reading::Granted(set) => granted(&set),
        Reading::Refused(refusal) => refused(&refusal),
    }
}

fn granted(set: &TokenSet) -> Value {
    json!({
        "verdict": "granted",
        "access_token": set.access_token.expose(),
        "refresh_token": set.refresh_token.as_ref().map(RefreshToken::expose),
        "token_type": set.token_type,
        "scopes": set.scopes,
        "expiry": set.expiry,
        "lives": match set.expiry {
            indicia_oauth::Expiry::At(end) => Some(end.as_millis() - SENT_AT.as_millis()),
            _ => None,
        },
        "refresh_lives": set.refresh_expires_at.map(|end| end.as_millis() - SENT_AT.as_millis()),
        "extra": set.extra,
        "deviations": set
            .deviations
            .iter()
            .map(|text| text.split(' ').next().unwrap_or_default())
            .collect::<Vec<_>>(),
    })
}

fn refused(refusal: &Refusal) -> Value {
    json!({
        "verdict": refusal.verdict,
        "status": refusal.status,
        "code": refusal.code,
        "description": refusal.description,
        "row": refusal.row,
        "retry_after": refusal.retry_after.map(|wait| wait.as_secs()),
        "location_host": refusal.location_host,
        "evidence": refusal.evidence,
    })
}

fn read_metadata(given: &Value) -> Value {
    let issuer = text(given, "issuer").unwrap_or("https://server.example.com");
    match metadata::read(&answer(given), issuer, given["loopback_http"] == true) {
        Ok(found) => json!({
            "issuer": found.issuer,
            "authorization_endpoint": found.authorization_endpoint,
            "token_endpoint": found.token_endpoint,
            "revocation_endpoint": found.revocation_endpoint,
            "introspection_endpoint": found.introspection_endpoint,
            "device_authorization_endpoint": found.device_authorization_endpoint,
            "token_endpoint_auth_methods": found.token_endpoint_auth_methods,
            "code_challenge_methods": found.code_challenge_methods,
            "offers_s256": found.offers_s256(),
            "scopes": found.scopes,
            "grant_types": found.grant_types,
            "issuer_in_response": found.issuer_in_response,
        }),
        Err(error) => json!({"error": format!("{error:?}")}),
    }
}
