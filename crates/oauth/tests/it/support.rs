//! From JSON to this crate's types, so that a changed signature changes one line.

use indicia_oauth::client_auth::{BasicEncoding, BodyCodec, ClientAuth, Credentials};
use indicia_oauth::dialect::{ErrorRow, FieldMatch, Matches, NoExpiry};
use indicia_oauth::grant::{self, BuildError};
use indicia_oauth::{
    Answer, ClientAssertion, ClientSecret, Code, DeviceCode, Dialect, Method, Proof, RefreshToken,
    Request, Timestamp, TokenEndpoint, Verifier, introspection, revocation,
};
use serde_json::Value;
use zeroize::Zeroizing;

/// When requests of vectors were sent: 2026-01-01T00:00:00Z.
pub const SENT_AT: Timestamp = Timestamp::from_millis(1_767_225_600_000);

pub fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value[name].as_str()
}

pub fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().map(|item| item.as_str().expect("a text").to_owned()).collect()
}

pub fn pairs(value: &Value) -> Vec<(String, String)> {
    let one = |(name, value): (&String, &Value)| {
        (name.clone(), value.as_str().expect("a text").to_owned())
    };
    match value {
        Value::Array(items) => items
            .iter()
            .map(|item| {
                let pair = texts(item);
                (pair[0].clone(), pair[1].clone())
            })
            .collect(),
        Value::Object(members) => members.iter().map(one).collect(),
        _ => Vec::new(),
    }
}

/// A successful answer with this body.
pub fn ok(body: &str) -> Answer {
    answer_of(200, &[("content-type", "application/json")], body.as_bytes())
}

pub fn answer_of(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    Answer {
        status,
        headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        body: Zeroizing::new(body.to_vec()),
        complete: true,
    }
}

/// `{"status", "headers", "body" | "body_hex", "complete"}`; a JSON body that isn't a text is
/// written out.
pub fn answer(given: &Value) -> Answer {
    let json = [("content-type".to_owned(), "application/json".to_owned())];
    let body = match (&given["body"], text(given, "body_hex")) {
        (_, Some(hex)) => unhex(hex),
        (Value::String(body), _) => body.clone().into_bytes(),
        (Value::Null, _) => Vec::new(),
        (body, _) => body.to_string().into_bytes(),
    };
    Answer {
        status: u16::try_from(given["status"].as_u64().unwrap_or(200)).expect("a status"),
        headers: if given["headers"].is_null() { json.into() } else { pairs(&given["headers"]) },
        body: Zeroizing::new(body),
        complete: given["complete"].as_bool().unwrap_or(true),
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16);
    digits.chunks(2).map(|pair| byte(pair).expect("hex")).collect()
}

/// RFC 6749 to the letter, but for what is given.
pub fn dialect(given: &Value) -> Dialect {
    let mut dialect = Dialect::default();
    let lives = |value: &Value| {
        let kind = |kind: String| serde_json::from_value(Value::String(kind)).expect("a kind");
        pairs(value).into_iter().map(|(name, spelt)| (name, kind(spelt))).collect()
    };
    for (name, value) in given.as_object().into_iter().flatten() {
        match name.as_str() {
            "access_token" => dialect.access_token = value.as_str().expect("a text").to_owned(),
            "refresh_token" => dialect.refresh_token = value.as_str().expect("a text").to_owned(),
            "scope" => dialect.scope = value.as_str().map(str::to_owned),
            "scope_separators" => {
                dialect.scope_separators = value.as_str().expect("a text").to_owned();
            }
            "expires" => dialect.expires = lives(value),
            "refresh_expires" => dialect.refresh_expires = lives(value),
            "no_expiry" => {
                dialect.no_expiry = match value.as_u64() {
                    Some(life) => NoExpiry::Seconds(life),
                    None if value == "never" => NoExpiry::Never,
                    None => NoExpiry::Unknown,
                }
            }
            "token_type_optional" => dialect.token_type_optional = value == true,
            "token_types" => dialect.token_types = texts(value),
            "accept_form" => dialect.accept_form = value == true,
            "keep" => dialect.keep = texts(value),
            "errors" => {
                dialect.errors = value.as_array().expect("rows").iter().map(error_row).collect();
            }
            other => panic!("a dialect has no {other}"),
        }
    }
    dialect
}

fn error_row(given: &Value) -> ErrorRow {
    let statuses = given["statuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let field = |field: &Value| FieldMatch {
        field: text(field, "field").expect("a field").to_owned(),
        matches: match (&field["any_of"], text(field, "contains")) {
            (any_of @ Value::Array(_), _) => Matches::AnyOf(texts(any_of)),
            (_, Some(part)) => Matches::Contains(part.to_owned()),
            _ => Matches::Present,
        },
    };
    ErrorRow {
        statuses: statuses
            .iter()
            .map(|s| u16::try_from(s.as_u64().expect("a status")))
            .map(|s| s.expect("a status"))
            .collect(),
        fields: given["fields"].as_array().into_iter().flatten().map(field).collect(),
        not_json: given["not_json"] == true,
        verdict: serde_json::from_value(given["verdict"].clone()).expect("a verdict"),
        retry_after_secs: given["retry_after_secs"].as_u64(),
        meaning: String::new(),
    }
}

pub fn endpoint(given: &Value) -> TokenEndpoint {
    TokenEndpoint {
        url: text(given, "url").unwrap_or("https://server.example.com/token").to_owned(),
        method: match text(given, "method") {
            Some("GET") => Method::Get,
            Some("DELETE") => Method::Delete,
            _ => Method::Post,
        },
        codec: match text(given, "codec") {
            Some("json") => BodyCodec::Json,
            Some("query") => BodyCodec::Query,
            _ => BodyCodec::Form,
        },
        auth: match text(given, "auth") {
            Some("basic_raw") => ClientAuth::Basic(BasicEncoding::Raw),
            Some("body") => ClientAuth::Body,
            Some("query") => ClientAuth::Query,
            Some("none") => ClientAuth::None,
            Some("omit") => ClientAuth::Omit,
            Some("private_key_jwt") => ClientAuth::PrivateKeyJwt,
            _ => ClientAuth::Basic(BasicEncoding::Form),
        },
        headers: pairs(&given["headers"]),
        params: pairs(&given["params"]),
    }
}

/// Builds the call that a vector describes.
pub fn request(given: &Value) -> Result<Request, BuildError> {
    let endpoint = endpoint(&given["endpoint"]);
    let secret = text(given, "secret").map(ClientSecret::new);
    let client_id = text(given, "client_id").unwrap_or("s6BhdRkqt3");
    let assertion = text(given, "assertion").map(ClientAssertion::new);
    let proof = assertion.as_ref().map_or(secret.as_ref().into(), Proof::Assertion);
    let credentials = Credentials { client_id, proof };
    let token = text(given, "token").unwrap_or("tGzv3JOkF0XG5Qx2TlKWIA");
    match text(given, "grant").expect("a grant") {
        "code" => {
            let code = Code::new(text(given, "code").unwrap_or("SplxlOBeZQQYbYS6WxSbIA"));
            let verifier = text(given, "verifier").map(Verifier::new);
            let redirect_uri = text(given, "redirect_uri");
            grant::code::request(&endpoint, &credentials, code, redirect_uri, verifier.as_ref())
        }
        "client_credentials" => {
            let scopes = texts(&given["scopes"]);
            let separator = text(given, "scope_separator").unwrap_or(" ");
            grant::client_credentials::request(&endpoint, &credentials, &scopes, separator)
        }
        "refresh" => grant::refresh::request(&endpoint, &credentials, &RefreshToken::new(token)),
        "device" => {
            let scopes = texts(&given["scopes"]);
            grant::device::request(&endpoint, &credentials, &scopes, " ")
        }
        "device_code" => {
            grant::device::token_request(&endpoint, &credentials, &DeviceCode::new(token))
        }
        "revocation" => {
            let param = text(given, "token_param").unwrap_or("token");
            revocation::request(&endpoint, &credentials, param, token, text(given, "hint"))
        }
        "introspection" => introspection::request(&endpoint, &credentials, token),
        other => panic!("no grant {other}"),
    }
}
