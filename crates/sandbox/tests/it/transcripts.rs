//! One wire transcript a service, written from the vendor's own page: its requests are sent to the
//! model, which must answer in the same shape. File and model may err alike; the page doesn't.

use std::collections::BTreeMap;
use std::path::PathBuf;

use indicia_catalog::{Catalogue, ClientKind};
use indicia_oauth::{Answer, Timestamp};
use indicia_sandbox::{Incoming, Model, Options, Registration};
use serde_json::Value;

use crate::driver::{START, service, shown};

/// Seeds that each transcript is played with.
const SEEDS: u64 = 6;

#[test]
fn each_service_answers_as_its_transcript_does() {
    for id in Catalogue::shipped().ids() {
        if !service(&id).registers() {
            continue;
        }
        for seed in 0..SEEDS {
            Case::load(&id, seed).play();
        }
    }
}

struct Case {
    id: String,
    said: Value,
    model: Model,
    /// Texts of the transcript → what the model gave in their place.
    real: BTreeMap<String, String>,
    /// Tokens are learnt from an answer's members; theirs is the name in the transcript.
    now: Timestamp,
}

impl Case {
    fn load(id: &str, seed: u64) -> Self {
        let file = format!("../catalog/tests/transcripts/{id}.json");
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = std::fs::read_to_string(&path);
        let text = text.unwrap_or_else(|error| panic!("{id} has no transcript: {error}"));
        let said: Value = serde_json::from_str(&text).unwrap();
        let client = &said["client"];
        let mut model = Model::new(service(id), Options { seed, ..Options::default() });
        model.register(Registration {
            client_id: text_of(&client["client_id"]),
            secrets: vec![text_of(&client["client_secret"])],
            kind: match text_of(&client["kind"]).as_str() {
                "public" => ClientKind::Public,
                _ => ClientKind::Confidential,
            },
            redirect_uris: vec![text_of(&client["redirect_uri"])],
            inputs: texts(&client["inputs"]),
            settings: texts(&client["settings"]),
        });
        let now = Timestamp::from_millis(START);
        Self { id: id.to_owned(), said, model, real: BTreeMap::new(), now }
    }

    fn play(&mut self) {
        self.authorize();
        self.granted("exchange");
        self.granted("client_credentials");
        self.granted("client_credentials_plain");
        self.called("discovery");
        self.granted("refresh");
        self.called("probe");
        self.refusals();
        self.revoke();
    }

    fn authorize(&mut self) {
        let said = self.said["authorize"].clone();
        if said.is_null() {
            return;
        }
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in texts(&said["params"]) {
            let value = if value == "{challenge}" { CHALLENGE.to_owned() } else { value };
            query.append_pair(&name, &value);
        }
        query.append_pair("state", "st");
        let url = format!("{}?{}", text_of(&said["url"]), query.finish());
        let callback = texts(&self.said["callback"]);
        // An account that lives where the transcript's does.
        let home = self.said["learns_from_callback"].as_object().unwrap().values().next();
        let account = home.map_or("anna".to_owned(), |home| format!("{}-anna", text_of(home)));
        let answer = self.model.approve(&url, &account, self.now);
        let answer = answer.unwrap_or_else(|refused| panic!("{}: {refused}", self.id));
        let query = answer.split_once('?').unwrap().1;
        let came: BTreeMap<String, String> =
            form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        for (name, value) in callback {
            let real = came.get(&name);
            let real = real.unwrap_or_else(|| panic!("{}: no {name} in {answer}", self.id));
            match name.as_str() {
                "code" => {
                    self.real.insert(value, real.clone());
                }
                _ => assert_eq!(*real, value, "{}: {name}", self.id),
            }
        }
        assert_eq!(came.get("state").map(String::as_str), Some("st"), "{}", self.id);
    }

    /// A token request: same status, same members, same kinds of values.
    fn granted(&mut self, step: &str) {
        let said = self.said[step].clone();
        if said.is_null() {
            return;
        }
        let answer = self.sent(&said["request"]);
        let body = self.same_shape(step, &answer, &said["answer"]);
        for name in ["access_token", "refresh_token"] {
            let (theirs, ours) = (&said["answer"]["body"][name], &body[name]);
            if let (Some(theirs), Some(ours)) = (theirs.as_str(), ours.as_str()) {
                self.real.insert(theirs.to_owned(), ours.to_owned());
            }
        }
    }

    fn called(&mut self, step: &str) {
        let said = self.said[step].clone();
        if said.is_null() {
            return;
        }
        let answer = self.sent(&said["request"]);
        self.same_shape(step, &answer, &said["answer"]);
    }

    /// The model's refusals are among those of the transcript.
    fn refusals(&mut self) {
        let refresh = self.said["refresh"]["request"].clone();
        if !refresh.is_null() {
            let token = text_of(&self.said["exchange"]["means"]["refresh_token"]);
            let kept = self.real.insert(token.clone(), "never-issued".to_owned());
            let answer = self.sent(&refresh);
            self.one_of("token", "grant_refused", &answer);
            self.real.insert(token, kept.unwrap());
        }
        let first = if self.said["exchange"].is_null() { "client_credentials" } else { "exchange" };
        let mut exchange = self.said[first]["request"].clone();
        let mut wrong = exchange.to_string().replace(&secret(&self.said), "wrong");
        for (name, value) in exchange["headers"].as_object().into_iter().flatten() {
            if name.eq_ignore_ascii_case("authorization") {
                wrong = wrong.replace(&text_of(value), "Basic d3Jvbmc6d3Jvbmc=");
            }
        }
        exchange = serde_json::from_str(&wrong).unwrap();
        let answer = self.sent(&exchange);
        self.one_of("token", "client_refused", &answer);
        let probe = self.said["probe"]["request"].clone();
        let last = if refresh.is_null() { first } else { "refresh" };
        let token = text_of(&self.said[last]["means"]["access_token"]);
        let kept = self.real.insert(token.clone(), "never-issued".to_owned());
        let answer = self.sent(&probe);
        self.one_of("api", "grant_refused", &answer);
        self.real.insert(token, kept.unwrap());
    }

    fn one_of(&self, of: &str, verdict: &str, answer: &Answer) {
        let said = self.said["refusals"].as_array().unwrap().iter();
        let like: Vec<&Value> = said
            .filter(|r| r["of"] == of && r["verdict"] == verdict)
            .map(|r| &r["answer"])
            .collect();
        let fits = like.iter().any(|said| {
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            said["status"] == answer.status && missing("", &said["body"], &body).is_empty()
        });
        assert!(fits || like.is_empty(), "{}: {of} {verdict}: {}", self.id, shown(answer));
    }

    fn revoke(&mut self) {
        let said = self.said["revoke"].clone();
        let Some(calls) = said.as_array() else {
            return;
        };
        for call in calls {
            let answer = self.sent(call);
            assert!(answer.is_success(), "{}: {}", self.id, shown(&answer));
        }
        let alive = self
            .model
            .record()
            .grants()
            .iter()
            .any(|grant| grant.ended.is_none() && !grant.refresh_tokens.is_empty());
        assert!(!alive, "{}: a grant outlives its revocation", self.id);
    }

    /// Sends a transcript's request, with the model's own texts in place of those that it made.
    fn sent(&mut self, said: &Value) -> Answer {
        let real = |text: String| {
            let swapped =
                |text: String, (theirs, ours): (&String, &String)| text.replace(theirs, ours);
            self.real.iter().fold(text.replace("{verifier}", VERIFIER), swapped)
        };
        let query = pairs(&said["query"], &real);
        let mut request = Incoming::get(&format!("{}?{query}", text_of(&said["url"]))).unwrap();
        request.method = text_of(&said["method"]);
        for (name, value) in texts(&said["headers"]) {
            request.headers.push((name.to_ascii_lowercase(), real(value)));
        }
        if said["form"].is_object() {
            let kind = "application/x-www-form-urlencoded".to_owned();
            request.headers.push(("content-type".to_owned(), kind));
            request.body = pairs(&said["form"], &real).into_bytes();
        }
        if said["json"].is_object() {
            request.headers.push(("content-type".to_owned(), "application/json".to_owned()));
            request.body = real(said["json"].to_string()).into_bytes();
        }
        self.model.handle(&request, self.now)
    }

    fn same_shape(&self, step: &str, answer: &Answer, said: &Value) -> Value {
        let place = format!("{}: {step}: {}", self.id, shown(answer));
        assert_eq!(said["status"], answer.status, "{place}");
        let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
        // Of an API's answer, what stands at its top: the rest is the vendor's business.
        let api = matches!(step, "probe" | "discovery");
        let at_top = |path: &&String| !path[1..].contains('/');
        let lacking = missing("", &said["body"], &body);
        let lacking = lacking.iter().filter(|path| !api || at_top(path));
        assert_eq!(lacking.collect::<Vec<_>>(), Vec::<&String>::new(), "{place}");
        // The other way round: a token answer has nothing that the vendor doesn't send.
        let beyond = missing("", &body, &said["body"]);
        let beyond = beyond.iter().filter(|path| !api && at_top(path));
        assert_eq!(beyond.collect::<Vec<_>>(), Vec::<&String>::new(), "{place}");
        body
    }
}

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn secret(said: &Value) -> String {
    text_of(&said["client"]["client_secret"])
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    let members = value.as_object().into_iter().flatten();
    members.map(|(name, value)| (name.clone(), text_of(value))).collect()
}

fn pairs(members: &Value, real: &impl Fn(String) -> String) -> String {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    for (name, value) in texts(members) {
        pairs.append_pair(&name, &real(value));
    }
    pairs.finish()
}

/// Paths of what is said but isn't there, or is of another kind.
fn missing(path: &str, said: &Value, there: &Value) -> Vec<String> {
    match (said, there) {
        (Value::Object(said), Value::Object(there)) => {
            let inner = said.iter().flat_map(|(name, value)| {
                let path = format!("{path}/{name}");
                match there.get(name) {
                    Some(there) => missing(&path, value, there),
                    None => vec![path],
                }
            });
            inner.collect()
        }
        _ if std::mem::discriminant(said) == std::mem::discriminant(there) => Vec::new(),
        _ => vec![path.to_owned()],
    }
}
