//! Between the ports and the books: what a checker needs to know beside the call itself.

use indicia_broker::model::{
    ConnectionRow, FlowRow, GrantRow, GrantState, Life, ReasonCode, TokenFacts,
};
use indicia_broker::ports::{ClaimedRow, Clock as _};
use indicia_broker::vault::Fingerprint;
use indicia_oauth::Answer;
use indicia_sandbox::Incoming;
use indicia_sandbox::record::Outcome;

use super::books::{Claimed, Gave, Seen, Sent, SentId};
use super::checkers::Writing;
use super::host::{Host, SimClock};
use super::world::{World, holder};

impl World {
    /// A lease became a host's; this is what it read.
    pub fn claimed(&self, host: &Host, row: &ClaimedRow) {
        let grant = &row.grant;
        let tried = grant.state.failures > 0 || grant.intent.is_some();
        let facts = grant.facts.clone();
        let (holder, at, version) = (holder(host), self.now_ms(), grant.version);
        let clock = SimClock { start: self.clock.start, skew_ms: self.skews[host.n].clone() };
        let claimed = Claimed { holder, at, clock: clock.now(), version, facts, tried };
        self.books().claims.insert((row.grant.id.clone(), row.lease_no), claimed);
    }

    /// A refresh request's first byte is written.
    pub fn written(&self, host: &Host, place: usize, incoming: &Incoming, late: bool) -> SentId {
        let form = url::form_urlencoded::parse(&incoming.body);
        let token = form.into_owned().find(|(name, _)| name == "refresh_token");
        let token = token.map(|(_, value)| value).unwrap_or_default();
        let me = holder(host);
        let mut books = self.books();
        let token = books.fingerprint(&token);
        let mine = |(_, c): &(&_, &Claimed)| c.holder == me && c.facts.refresh == Some(token);
        let newest = books.claims.iter().filter(mine).max_by_key(|(_, c)| c.at);
        let (of, claim) = newest.map(|(of, c)| (of.clone(), c.clone())).unzip();
        let clock = SimClock { start: self.clock.start, skew_ms: self.skews[host.n].clone() };
        // A lease of before a restore is told by the holder's own deadline alone.
        let unknown = claim.as_ref().is_some_and(|c| books.put_back_since(c.at));
        let leased = unknown
            || of.as_ref().is_some_and(|(grant, no)| {
                let rows = self.memory.grant_rows();
                // A grant that a reconnect took away has no lease to look at.
                rows.iter().find(|row| row.id == *grant).is_none_or(|row| {
                    row.lease.as_ref().is_some_and(|lease| {
                        lease.no == *no
                            && lease.holder == me
                            && lease.until_boot_ms > clock.boot_millis()
                    })
                })
            });
        let header = |name: &str| incoming.header(name).unwrap_or_default().to_owned();
        let sent = Sent {
            holder: me,
            at: self.now_ms(),
            kind: self.plan.kinds[place],
            token,
            secret: header("authorization"),
            endpoint: format!("{}{}", incoming.host, incoming.path),
            store_grant: of.as_ref().map(|(grant, _)| grant.clone()),
            lease_no: of.as_ref().map(|(_, no)| *no),
            version: claim.as_ref().map_or(0, |c| c.version),
            late,
            flies: true,
            gave: None,
            seen: Seen::Nothing,
            keep_began: false,
            settled_at: None,
            lost: false,
            lagged: false,
            killed: false,
        };
        let clocks_right = !self.plan.faults.clock_jumps;
        let grant = of.map(|(grant, no)| format!("{} lease {no}", &grant.as_str()[..6]));
        let (name, version) = (host.name(), sent.version);
        self.tell(&format!("{name} sends {token:?} of {grant:?} version {version}"));
        let store_held = self.memory.is_held();
        let clock = clock.now();
        books.write(place, Writing { sent, claim, leased, store_held, clock, clocks_right })
    }

    /// A service's turn; what it gave is written down, whether it arrives or not.
    pub fn handle(&self, place: usize, incoming: &Incoming, id: Option<SentId>) -> Answer {
        let mut model = self.models[place].lock().unwrap();
        let reuses = model.record().count("reuse_detected");
        let answer = model.handle(incoming, self.clock.now());
        if let Some(id) = id.filter(|_| model.record().count("reuse_detected") > reuses) {
            self.books().sent[id].killed = true;
        }
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let Some(access) = json["access_token"].as_str().filter(|_| answer.status == 200) else {
            return answer;
        };
        let Some((grant, _)) = model.record().access_token(access) else { return answer };
        let last = model.record().refreshes(grant).last().map(|seen| seen.outcome);
        let rotated = matches!(last, Some(Outcome::Rotated | Outcome::Forgiven));
        drop(model);
        let mut books = self.books();
        let fingerprint = books.fingerprint(access);
        books.tokens.insert(fingerprint, (place, grant));
        if let Some(refresh) = json["refresh_token"].as_str() {
            let refresh = books.fingerprint(refresh);
            books.tokens.insert(refresh, (place, grant));
        }
        if let Some(id) = id {
            books.sent[id].gave = Some(Gave { access: fingerprint, rotated });
        }
        answer
    }

    pub fn committed(
        &self,
        host: &Host,
        before: &GrantRow,
        version: u64,
        facts: &TokenFacts,
        by_refresh: bool,
    ) {
        let mut books = self.books();
        books.durable(facts.access);
        books.check_commit(before, facts.access, by_refresh);
        drop(books);
        self.tell(&format!("{} commits version {version} of {}", host.name(), short(before)));
    }

    /// What was taken back comes alive only by a consent that was given after that.
    pub fn reconnected(
        &self,
        access: Fingerprint,
        before: Option<(ConnectionRow, GrantRow)>,
        consent: Option<FlowRow>,
    ) {
        let mut books = self.books();
        books.durable(access);
        let off = before.filter(|(_, grant)| grant.state.life == Life::Revoked);
        if let (Some((connection, _)), Some(true)) = (off, consent.map(|c| c.revoked)) {
            books.broken(format!("{} came back by a consent from before", connection.id));
        }
    }

    pub fn settled(&self, host: &Host, before: &GrantRow, lease_no: u64, state: &GrantState) {
        let code = state.reason.as_ref().map(|r| r.code);
        let text = format!("{:?} {code:?} next {:?}", state.life, state.retry_at);
        self.tell(&format!("{} settles {}: {text}", host.name(), short(before)));
        let mut books = self.books();
        books.settled(&before.id, lease_no);
        if code == Some(ReasonCode::ManyRefused) {
            books.unbelieved(&before.id);
        }
        let Some((place, grant)) = self.grant_there(&books.tokens, before) else { return };
        let model = self.models[place].lock().unwrap();
        if let Some(record) = model.record().grant(grant) {
            books.check_death(before, state, record, place);
        }
    }

    /// A stored grant's counterpart at its service.
    pub fn grant_there(
        &self,
        tokens: &std::collections::BTreeMap<Fingerprint, (usize, indicia_sandbox::GrantId)>,
        row: &GrantRow,
    ) -> Option<(usize, indicia_sandbox::GrantId)> {
        tokens.get(&row.facts.access).copied()
    }
}

fn short(row: &GrantRow) -> &str {
    let id = row.id.as_str();
    &id[id.len() - 6..]
}
