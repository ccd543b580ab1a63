//! The device flow (RFC 8628): two codes, a page where the person enters one, and polls with the
//! other.

use std::collections::BTreeMap;
use std::time::Duration;

use indicia_catalog::{Flow, GrantType};
use indicia_oauth::{Answer, BodyCodec, Timestamp};
use serde_json::json;

use crate::chance::digest;
use crate::clients::Claimed;
use crate::model::{Account, Model, Refused};
use crate::pages;
use crate::record::{GrantId, What};
use crate::refuse::{Dialect, Refusal};
use crate::route::Hit;
use crate::token::{Asked, Denied, at, check_form};
use crate::wire::{self, Incoming, Params};

/// A pair of codes that was issued.
pub(crate) struct DeviceAsk {
    client_id: String,
    user_code: String,
    scopes: Vec<String>,
    inputs: BTreeMap<String, String>,
    issued: Timestamp,
    polled: Option<Timestamp>,
    interval: Duration,
    decided: Option<Option<Account>>,
    used: Option<GrantId>,
}

/// Below the device authorization endpoint: where the code is entered.
pub(crate) const VERIFY_PATH: &str = "/verify";

impl Model {
    /// The device authorization endpoint (RFC 8628 §3.1).
    pub(crate) fn device(&mut self, incoming: &Incoming, hit: &Hit, now: Timestamp) -> Answer {
        let asked = self.ask_for_codes(incoming, hit, now);
        asked.unwrap_or_else(|refusal| {
            self.note_refusal("device", None, &refusal.why, now);
            refusal.answer(&self.service, Dialect::Token)
        })
    }

    fn ask_for_codes(
        &mut self,
        incoming: &Incoming,
        hit: &Hit,
        now: Timestamp,
    ) -> Result<Answer, Refusal> {
        if !self.service.flows.contains(&Flow::Device) {
            return Err(Refusal::grant_type("the device flow isn't offered"));
        }
        let client = self.known_client(&Claimed::of(incoming))?;
        let inputs = self.all_inputs(&self.inputs_of(&client, &hit.inputs));
        let endpoint = self.service.device(client.context(&inputs)).ok().flatten();
        let endpoint = endpoint.filter(|endpoint| at(endpoint, incoming));
        let endpoint = endpoint.ok_or_else(|| Refusal::request("no such address"))?;
        let params = check_form(&endpoint, false, incoming)?;
        self.authenticate(&client, &endpoint, (incoming, &params), now)?;
        let scopes = self.scopes_of(params.raw("scope"), None)?;
        self.codes_issued += 1;
        let n = self.codes_issued.to_string();
        let device_code = self.chance.token("sbx-device-", &[&n]);
        let user_code = self.user_code(&n);
        let place = format!("{}{VERIFY_PATH}", endpoint.url);
        let body = json!({
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": place,
            "verification_uri_complete": format!("{place}?user_code={user_code}"),
            "expires_in": LIFE.as_secs(),
            "interval": INTERVAL.as_secs(),
        });
        self.record.note(now, What::DeviceAsked { client_id: client.client_id.clone() });
        self.devices.insert(
            digest(&device_code),
            DeviceAsk {
                client_id: client.client_id,
                user_code,
                scopes,
                inputs: hit.inputs.clone(),
                issued: now,
                polled: None,
                interval: INTERVAL,
                decided: None,
                used: None,
            },
        );
        Ok(wire::json(200, &body))
    }

    /// Eight letters that no two of look alike, and no vowel that makes a word (RFC 8628 §6.1).
    fn user_code(&self, n: &str) -> String {
        let letter = |at: usize| {
            let picked = self.chance.pick(LETTERS.len(), &["user code", n, &at.to_string()]);
            char::from(LETTERS[picked])
        };
        let half = |from: usize| (from..from + 4).map(letter).collect::<String>();
        format!("{}-{}", half(0), half(4))
    }

    /// The page where the code is entered (RFC 8628 §3.3): code, login, consent.
    pub(crate) fn verify(&mut self, incoming: &Incoming, now: Timestamp) -> Answer {
        let query = Params::of_query(&incoming.query);
        let typed = query.value("user_code").unwrap_or_default().to_owned();
        let Some(ask) = self.waiting(&typed, now) else {
            let wrong = !typed.is_empty();
            return wire::page(200, pages::enter_code(&self.service, wrong));
        };
        let (client_id, scopes) = (ask.client_id.clone(), ask.scopes.clone());
        if incoming.method != "POST" {
            self.record.note(now, What::Authorize { client_id: client_id.clone() });
            return wire::page(200, pages::login(&self.service, &client_id));
        }
        let form = match Params::of_request(incoming, BodyCodec::Form) {
            Ok(form) => form,
            Err(why) => return wire::page(400, pages::problem(&self.service, why)),
        };
        let account = self.account(form.value("account").unwrap_or_default());
        let approved = match form.value("decision") {
            Some("approve") => true,
            Some("deny") => false,
            _ => {
                let lines = crate::authorize::scope_lines(&self.service, &scopes);
                let page = pages::consent(&self.service, &client_id, &account, lines);
                return wire::page(200, page);
            }
        };
        self.decide_device(&typed, account, approved, now);
        wire::page(200, pages::decided(&self.service, approved))
    }

    /// Plays the click of a person who entered the code: `place` is the complete address.
    pub(crate) fn click_device(
        &mut self,
        incoming: &Incoming,
        account: &str,
        approved: bool,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let query = Params::of_query(&incoming.query);
        let account = self.account(account);
        let typed = query.value("user_code").unwrap_or_default();
        match self.decide_device(typed, account, approved, now) {
            true => Ok(()),
            false => Err(Refused {
                code: "invalid_request".to_owned(),
                why: "no such code waits".to_owned(),
                callback_url: None,
            }),
        }
    }

    fn waiting(&mut self, typed: &str, now: Timestamp) -> Option<&mut DeviceAsk> {
        let plain = |code: &str| -> String {
            code.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_uppercase()
        };
        let typed = plain(typed);
        let lives = |ask: &&mut DeviceAsk| now < ask.issued.plus(LIFE) && ask.decided.is_none();
        self.devices.values_mut().filter(lives).find(|ask| plain(&ask.user_code) == typed)
    }

    fn decide_device(
        &mut self,
        typed: &str,
        account: Account,
        approved: bool,
        now: Timestamp,
    ) -> bool {
        let Some(ask) = self.waiting(typed, now) else { return false };
        ask.decided = Some(approved.then(|| account.clone()));
        let client_id = ask.client_id.clone();
        let name = account.name.clone();
        self.accounts.insert(account.name.clone(), account);
        self.record.note(now, What::Consent { client_id, account: name, approved });
        true
    }

    /// A poll (RFC 8628 §3.4, §3.5).
    pub(crate) fn poll(&mut self, asked: &Asked<'_>, now: Timestamp) -> Result<Answer, Denied> {
        let client_id = asked.client.client_id.clone();
        let said = self.poll_said(asked, now);
        let (ask_scopes, ask_inputs, account) = match said {
            Ok(granted) => granted,
            Err(refusal) => {
                self.record.note(now, What::DevicePoll { client_id, said: refusal.code });
                return Err(refusal.into());
            }
        };
        self.record.note(now, What::DevicePoll { client_id: client_id.clone(), said: "granted" });
        let name = account.name.clone();
        let offline = self.service.scopes.offline.as_ref();
        let offline = offline.is_none_or(|scope| ask_scopes.contains(scope));
        let grant = self.record.begin(&client_id, &name, ask_scopes, ask_inputs, now);
        let code = asked.params.value("device_code").unwrap_or_default();
        if let Some(ask) = self.devices.get_mut(&digest(code)) {
            ask.used = Some(grant);
        }
        let refreshable = offline && self.refreshes(&asked.client, grant);
        let refresh_n = if refreshable { self.live_or_new_refresh(grant, now) } else { 0 };
        let generation = self.add_access(grant, refresh_n, now);
        self.record.note(now, What::Exchange { grant, generation });
        Ok(self.token_answer(grant, generation, GrantType::DeviceCode, now))
    }

    #[expect(clippy::type_complexity, reason = "scopes, inputs and account of one ask")]
    fn poll_said(
        &mut self,
        asked: &Asked<'_>,
        now: Timestamp,
    ) -> Result<(Vec<String>, BTreeMap<String, String>, Account), Refusal> {
        let code = asked.params.value("device_code");
        let code = code.ok_or_else(|| Refusal::request("device_code is missing"))?;
        let ask = self.devices.get_mut(&digest(code));
        let ask = ask.filter(|ask| ask.client_id == asked.client.client_id);
        let ask = ask.ok_or_else(|| Refusal::grant("the device code isn't known"))?;
        if ask.used.is_some() {
            return Err(Refusal::grant("the device code was used before"));
        }
        if now >= ask.issued.plus(LIFE) {
            return Err(Refusal::device("expired_token", "the codes' life is over"));
        }
        let early = ask.polled.is_some_and(|last| now < last.plus(ask.interval));
        ask.polled = Some(now);
        if early {
            ask.interval += SLOWER;
            return Err(Refusal::device("slow_down", "asked too often"));
        }
        match &ask.decided {
            None => Err(Refusal::device("authorization_pending", "nobody has decided yet")),
            Some(None) => Err(Refusal::device("access_denied", "the person refused")),
            Some(Some(account)) => Ok((ask.scopes.clone(), ask.inputs.clone(), account.clone())),
        }
    }
}

const LETTERS: &[u8] = b"BCDFGHJKLMNPQRSTVWXZ";
const LIFE: Duration = Duration::from_secs(600);
/// Short, for those who wait: nobody is in a hurry here.
const INTERVAL: Duration = Duration::from_secs(1);
const SLOWER: Duration = Duration::from_secs(5);
