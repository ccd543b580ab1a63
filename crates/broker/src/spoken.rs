//! What a request said in secret: hidden wherever the answer echoes it, before anything of the
//! answer is shown or written down.
//!
//! The reader of answers blots what looks like a token; a secret that looks like words would pass
//! it. What was sent is known exactly, so it is looked for exactly, in the spellings an echo may
//! have.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use indicia_oauth::{Answer, Request};
use url::form_urlencoded;
use zeroize::Zeroizing;

/// Shorter texts are no secrets, and would blot half an answer.
const SECRET_BYTES_MIN: usize = 4;

/// Parameters whose values are no secrets; all others are taken for some.
const HARMLESS: [&str; 13] = [
    "access_type",
    "account_id",
    "client_assertion_type",
    "client_id",
    "grant_type",
    "optional_scope",
    "prompt",
    "redirect_uri",
    "response_type",
    "scope",
    "token_type_hint",
    "type",
    "user_type",
];

/// What stands in a secret's place.
const BLOT: &[u8] = "[…]".as_bytes();

/// The secrets of one request, in every spelling; longest first.
pub struct Spoken(Vec<Zeroizing<Vec<u8>>>);

impl Spoken {
    /// Those that a request carries: in its body, its query, its Authorization header.
    pub fn of(request: &Request) -> Self {
        let mut secrets = Vec::new();
        let query = request.url.split_once('?').map_or("", |(_, query)| query);
        secrets.extend(values(form_urlencoded::parse(query.as_bytes())));
        match serde_json::from_slice::<serde_json::Map<_, _>>(&request.body) {
            Ok(map) => secrets.extend(map.into_iter().filter_map(|(name, value)| {
                let text = value.as_str()?.to_owned();
                (!HARMLESS.contains(&name.as_str())).then(|| Zeroizing::new(text))
            })),
            Err(_) => secrets.extend(values(form_urlencoded::parse(&request.body))),
        }
        if let Some((_, given)) = request.header("authorization").and_then(|h| h.split_once(' ')) {
            secrets.push(Zeroizing::new(given.to_owned()));
            secrets.extend(of_basic(given));
        }
        Self::from_texts(secrets)
    }

    /// These texts.
    pub fn from_texts(texts: impl IntoIterator<Item = Zeroizing<String>>) -> Self {
        let mut all: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        for text in texts {
            if text.len() >= SECRET_BYTES_MIN {
                all.extend(spellings(&text));
            }
        }
        all.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        all.dedup();
        Self(all)
    }

    /// The answer without them.
    pub fn hidden(&self, answer: &Answer) -> Answer {
        let mut body = Zeroizing::new(answer.body.to_vec());
        for secret in &self.0 {
            body = replaced(&body, secret);
        }
        Answer {
            status: answer.status,
            headers: answer.headers.clone(),
            body,
            complete: answer.complete,
        }
    }
}

fn values<'a>(
    pairs: impl Iterator<Item = (std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>)>,
) -> Vec<Zeroizing<String>> {
    pairs
        .filter(|(name, _)| !HARMLESS.contains(&name.as_ref()))
        .map(|(_, value)| Zeroizing::new(value.into_owned()))
        .collect()
}

/// The secret in Basic credentials, as sent and as decoded.
fn of_basic(given: &str) -> Vec<Zeroizing<String>> {
    let Ok(bytes) = STANDARD.decode(given) else { return Vec::new() };
    let text = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
    let Some((_, secret)) = text.split_once(':') else { return Vec::new() };
    let decoded = form_urlencoded::parse(secret.as_bytes()).next();
    let decoded = decoded.map(|(secret, _)| Zeroizing::new(secret.into_owned()));
    decoded.into_iter().chain([Zeroizing::new(secret.to_owned())]).collect()
}

/// The ways in which an echo may spell a text.
fn spellings(text: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let json = serde_json::to_string(text).unwrap_or_default();
    let json = json.trim_matches('"').to_owned();
    let form: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let html = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    [
        text.to_owned(),
        json.replace('/', "\\/"),
        json,
        form.replace('+', "%20"),
        form,
        html.replace('"', "&quot;").replace('\'', "&#39;"),
        html,
        STANDARD.encode(text),
        URL_SAFE_NO_PAD.encode(text),
    ]
    .into_iter()
    .map(|text| Zeroizing::new(text.into_bytes()))
    .collect()
}

fn replaced(body: &[u8], secret: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(body.len()));
    let mut at = 0;
    while at < body.len() {
        if body[at..].starts_with(secret) {
            out.extend_from_slice(BLOT);
            at += secret.len();
        } else {
            out.push(body[at]);
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicia_oauth::Method;

    fn hidden(body: &str, request_body: &str, authorization: Option<&str>) -> String {
        let headers = authorization
            .map(|a| ("authorization".to_owned(), Zeroizing::new(a.to_owned())))
            .into_iter()
            .collect();
        let request = Request {
            method: Method::Post,
            url: Zeroizing::new("https://example.test/token".into()),
            headers,
            body: Zeroizing::new(request_body.as_bytes().to_vec()),
        };
        let answer = Answer {
            status: 401,
            headers: Vec::new(),
            body: Zeroizing::new(body.as_bytes().to_vec()),
            complete: true,
        };
        let answer = Spoken::of(&request).hidden(&answer);
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    #[test]
    fn a_secret_of_plain_words_is_hidden_however_it_is_spelt() {
        let secret = "correct horse/battery&staple";
        let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let sent = format!("grant_type=refresh_token&client_id=public-id&client_secret={form}");
        for echo in [
            secret.to_owned(),
            form.clone(),
            "correct horse\\/battery&staple".to_owned(),
            "correct horse/battery&amp;staple".to_owned(),
            STANDARD.encode(secret),
        ] {
            let shown = hidden(&format!("{{\"d\":\"bad {echo}!\"}}"), &sent, None);
            assert_eq!(shown, "{\"d\":\"bad […]!\"}", "{echo}");
        }
        let shown = hidden("client public-id used refresh_token", &sent, None);
        assert_eq!(shown, "client public-id used refresh_token", "what is no secret stays");
    }

    #[test]
    fn basic_credentials_are_hidden_decoded_and_encoded() {
        let basic = STANDARD.encode("id:correct+horse%3Abattery");
        let authorization = format!("Basic {basic}");
        let shown =
            hidden(&format!("no: {basic}, correct horse:battery"), "", Some(&authorization));
        assert_eq!(shown, "no: […], […]");
    }

    #[test]
    fn json_requests_are_looked_through_too() {
        let sent = r#"{"grant_type":"client_credentials","client_secret":"open sesame"}"#;
        assert_eq!(hidden("said open sesame", sent, None), "said […]");
    }
}
