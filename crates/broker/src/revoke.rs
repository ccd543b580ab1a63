//! Taking a grant back: local use ends at once, the service's call is queued durably and tried, and
//! a receipt says what became of it. What shares the grant is named first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use indicia_catalog::RevocationRule;
use indicia_catalog::service::{Kills, TokenKind};
use indicia_oauth::{Timestamp, TokenSet};
use zeroize::Zeroizing;

use crate::Broker;
use crate::call::Bound;
use crate::committed::open_tokens;
use crate::error::Error;
use crate::model::{
    ClientId, ClientRow, ConnectionId, ConnectionRow, Event, EventKind, GrantId, GrantRow,
    GrantState, Life, Reason, ReasonCode, RevocationItem, RevocationItemState, RevocationRow,
    grant_event,
};
use crate::ports::{ConnectionFilter, ForgetOutcome, TakenFlows};
use crate::serve;
use crate::vault::{Field, Sealed};
use crate::view::{ProofView, Receipt, ReceiptItem};

/// Pending revocations that are looked at in one go.
pub const PENDING_MAX: usize = 1_000;

/// Tries against somebody who connects again meanwhile.
const FORGET_TRIES: u32 = 5;

/// After everything that is due.
const END_OF_TIME: Timestamp = Timestamp::from_millis(i64::MAX);

/// Octets of a revocation's id.
pub(crate) const ID_BYTES: usize = 12;

/// Sealed access tokens for the proof are numbered apart from the tokens to send.
pub(crate) const PROBE_ITEMS: u32 = 1 << 16;

/// What to take back.
pub enum Selector {
    /// These connections.
    Connections(Vec<String>),
    /// All of a client.
    Client(String),
    /// All of a service.
    Service(String),
    /// All with a label.
    Label(String, String),
    /// Those whose access token, refresh token or API key this is, or the secret part of whose key.
    Leaked(Zeroizing<String>),
}

/// Whether connections that share a grant, and were not named, may end too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    /// Refused, with their names.
    Refuse,
    /// They end too.
    Allow,
}

/// What a revocation would hit.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RevokePlan {
    /// Connections that were meant.
    pub connections: Vec<String>,
    /// Others that would end with them.
    pub shared_with: Vec<String>,
}

/// What becomes of the grant when its connection is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForgetGrant {
    /// It is taken back first; refused where others share it.
    Revoke,
    /// It is taken back first, for all that share it.
    RevokeShared,
    /// It lives on at the service; nobody here can use it any more.
    Keep,
}

/// What `forget` did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Forgotten {
    /// The receipt, where the grant was taken back.
    pub receipt: Option<Receipt>,
    /// Connections that still use the grant.
    pub grant_kept_by: Vec<String>,
}

struct Hit {
    meant: Vec<(ConnectionRow, GrantRow)>,
    shared: Vec<(ConnectionRow, GrantRow)>,
}

impl Broker {
    /// What a revocation would hit: nothing is changed.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it hits nothing.
    pub async fn revoke_plan(&self, what: &Selector) -> Result<RevokePlan, Error> {
        let hit = self.hit(what).await?;
        let names = |rows: &[(ConnectionRow, GrantRow)]| {
            rows.iter().map(|(c, _)| c.id.to_string()).collect()
        };
        Ok(RevokePlan { connections: names(&hit.meant), shared_with: names(&hit.shared) })
    }

    /// Takes grants back: all their connections end here at once; the services' calls are tried now
    /// and, until they are answered, again.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] `grant_shared` when others would end that were not
    /// named.
    pub async fn revoke(
        self: &Arc<Self>,
        what: Selector,
        shared: Shared,
    ) -> Result<Receipt, Error> {
        let hit = self.hit(&what).await?;
        if shared == Shared::Refuse && !hit.shared.is_empty() {
            let names: Vec<String> = hit.shared.iter().map(|(c, _)| c.id.to_string()).collect();
            return Err(Error::Conflict {
                code: "grant_shared",
                detail: format!("the same grant serves {}, which would end too", names.join(", ")),
                hint: "to end them all: --shared".into(),
            });
        }
        let now = self.ports.clock.now();
        let rows: Vec<_> = hit.meant.into_iter().chain(hit.shared).collect();
        let row = self.revocation_row(&rows, now).await?;
        let grants: BTreeMap<_, _> = rows.iter().map(|(_, g)| (g.id.clone(), g)).collect();
        let ids: Vec<_> = grants.keys().cloned().collect();
        let events = rows.iter().map(|(c, g)| revoked_event(c, g, now)).collect();
        // mark: local-off-first
        self.ports.store.revoke(&ids, revoked_state(now), row.clone(), events).await?;
        for (connection, grant) in &rows {
            self.cache.evict(connection.id.as_str());
            self.cache.bar(&grant.id);
        }
        self.revoke_moved(&rows, now).await;
        // Local use has ended; what the calls meet is in the queue.
        match self.call_service(row.clone()).await {
            Ok(row) => Ok(receipt(&row)),
            Err(error) => {
                tracing::warn!(%error, "a revocation can't be tried now");
                Ok(receipt(&row))
            }
        }
    }

    /// A refresh may have stored a new token set between the look and the mark: it is taken back
    /// too.
    async fn revoke_moved(&self, rows: &[(ConnectionRow, GrantRow)], now: Timestamp) {
        for (_, seen) in rows {
            let moved = match self.ports.store.grant(&seen.id).await {
                Ok(Some(row)) if row.version > seen.version => row,
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(grant = %seen.id, %error, "a revoked grant can't be read again");
                    continue;
                }
            };
            let late = async {
                let tokens = open_tokens(&self.vault, &moved)?;
                let bound = self.bind(self.client_row(&moved.client).await?, &moved.inputs)?;
                self.revoke_late(&Whose::of(&moved), &bound, tokens, now).await
            };
            if let Err(error) = late.await {
                tracing::warn!(grant = %seen.id, %error, "a late token set can't be queued");
            }
        }
    }

    /// A revocation's receipt, as it stands.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn receipt(&self, id: &str) -> Result<Receipt, Error> {
        match self.ports.store.revocation(id).await? {
            Some(row) => Ok(receipt(&row)),
            None => Err(Error::NotFound { what: "revocation", id: id.into(), nearest: Vec::new() }),
        }
    }

    /// How many revocations a service hasn't answered yet (at most [`PENDING_MAX`] are counted).
    ///
    /// # Errors
    /// The store's.
    pub async fn pending_revocations(&self) -> Result<usize, Error> {
        Ok(self.ports.store.revocations_due(END_OF_TIME, PENDING_MAX).await?.len())
    }

    /// Why a connection is as it is; of one that was taken back, also whether its service has to be
    /// told yet.
    pub(crate) async fn reason_in_full(
        &self,
        grant: &GrantRow,
        client: &ClientRow,
        connection: &ConnectionId,
    ) -> Result<Option<Reason>, Error> {
        let reason = serve::reason(grant, Some(client), connection);
        let item = match grant.state.life {
            Life::Revoked => self.ports.store.revoked_item(&grant.id).await?,
            Life::Alive | Life::Dead => None,
        };
        let Some(item) = item.filter(|item| item.state == RevocationItemState::Pending) else {
            return Ok(reason);
        };
        let answer = item.answer.unwrap_or_else(|| "not tried yet".to_owned());
        let pending = |reason: Reason| Reason {
            detail: format!("{}; pending at the service ({answer})", reason.detail),
            next_step: AGAIN.to_owned(),
            ..reason
        };
        Ok(reason.map(pending))
    }

    /// Tries all revocations that a service hasn't answered yet, due or not; their receipts.
    ///
    /// # Errors
    /// The store's.
    pub async fn try_revocations(&self) -> Result<Vec<Receipt>, Error> {
        let mut receipts = Vec::new();
        for row in self.ports.store.revocations_due(END_OF_TIME, PENDING_MAX).await? {
            receipts.push(receipt(&self.call_service(row).await?));
        }
        Ok(receipts)
    }

    /// Removes a connection.
    ///
    /// # Errors
    /// As [`Self::revoke`] where the grant is to be taken back.
    pub async fn forget(
        self: &Arc<Self>,
        id: &str,
        grant: ForgetGrant,
    ) -> Result<Forgotten, Error> {
        let mut receipt = None;
        for _ in 0..FORGET_TRIES {
            let (connection, row) = self.load(id).await?;
            if let Some(taken_back) = self.taken_back_first(id, &row, grant).await? {
                receipt = Some(taken_back);
            }
            let others = self.sharing(&row).await?;
            let others = others.iter().filter(|(c, _)| c.id != connection.id);
            let grant_kept_by = others.map(|(c, _)| c.id.to_string()).collect();
            let event = grant_event(&row, EventKind::Forgotten, self.ports.clock.now());
            let event = Event { connection: Some(connection.id.clone()), ..event };
            let taken = match grant {
                ForgetGrant::Revoke | ForgetGrant::RevokeShared => TakenFlows::Revoke,
                ForgetGrant::Keep => TakenFlows::End,
            };
            let store = &self.ports.store;
            let forgotten = store.forget(&connection.id, &row.id, taken, vec![event]).await?;
            self.cache.evict(id);
            // Connected again meanwhile: that grant is looked at in its turn.
            if forgotten != ForgetOutcome::Moved {
                return Ok(Forgotten { receipt, grant_kept_by });
            }
        }
        Err(Error::Internal(format!("connection {id} keeps changing")))
    }

    /// Takes the grant back before its connection is forgotten, where that is wished.
    async fn taken_back_first(
        self: &Arc<Self>,
        id: &str,
        row: &GrantRow,
        grant: ForgetGrant,
    ) -> Result<Option<Receipt>, Error> {
        let shared = match grant {
            _ if row.state.life == Life::Revoked => None,
            ForgetGrant::Revoke => Some(Shared::Refuse),
            ForgetGrant::RevokeShared => Some(Shared::Allow),
            ForgetGrant::Keep => None,
        };
        match shared {
            Some(shared) => {
                let what = Selector::Connections(vec![id.to_owned()]);
                Ok(Some(self.revoke(what, shared).await?))
            }
            None => Ok(None),
        }
    }

    async fn hit(&self, what: &Selector) -> Result<Hit, Error> {
        let meant = self.selected(what).await?;
        let named: BTreeSet<ConnectionId> = meant.iter().map(|(c, _)| c.id.clone()).collect();
        let mut shared = Vec::new();
        let mut seen = named.clone();
        for (_, grant) in &meant {
            for (connection, other) in self.harmed(grant).await? {
                if seen.insert(connection.id.clone()) {
                    shared.push((connection, other));
                }
            }
        }
        Ok(Hit { meant, shared })
    }

    async fn selected(&self, what: &Selector) -> Result<Vec<(ConnectionRow, GrantRow)>, Error> {
        let mut filter = ConnectionFilter::default();
        let (rows, id) = match what {
            Selector::Connections(ids) => {
                let mut rows = Vec::new();
                for id in ids {
                    rows.push(self.load(id).await?);
                }
                return Ok(rows);
            }
            Selector::Leaked(token) => return self.leaked(token).await,
            Selector::Client(id) => {
                filter.client = Some(self.client_named(id).await?.id);
                (self.all_connections(&filter).await?, id.clone())
            }
            Selector::Service(id) => {
                self.service(id)?;
                let clients = self.ports.store.clients().await?;
                let of = clients.into_iter().filter(|c| c.service == *id).map(|c| c.id);
                filter.clients = Some(of.collect());
                (self.all_connections(&filter).await?, id.clone())
            }
            Selector::Label(name, value) => {
                filter.label = Some((name.clone(), value.clone()));
                (self.all_connections(&filter).await?, format!("{name}={value}"))
            }
        };
        let living: Vec<_> =
            rows.into_iter().filter(|(_, g)| g.state.life != Life::Revoked).collect();
        if living.is_empty() {
            return Err(Error::NotFound { what: "living connection of", id, nearest: Vec::new() });
        }
        Ok(living)
    }

    pub(crate) async fn sharing(
        &self,
        grant: &GrantRow,
    ) -> Result<Vec<(ConnectionRow, GrantRow)>, Error> {
        let filter =
            ConnectionFilter { grant: Some(grant.id.clone()), ..ConnectionFilter::default() };
        self.all_connections(&filter).await
    }

    /// Whom a revocation of this grant would end: its connections, and at a service that ends all
    /// that an account gave a client, those of that account too (all, where it isn't known).
    async fn harmed(&self, grant: &GrantRow) -> Result<Vec<(ConnectionRow, GrantRow)>, Error> {
        let client = self.client_row(&grant.client).await?;
        let Ok(bound) = self.bind(client, &grant.inputs) else {
            // Its service is in the catalogue no longer: local use can end all the same.
            return self.sharing(grant).await;
        };
        if !is_wide(&bound) {
            return self.sharing(grant).await;
        }
        let filter =
            ConnectionFilter { client: Some(grant.client.clone()), ..ConnectionFilter::default() };
        let same = |other: &GrantRow| match (&grant.account, &other.account) {
            (Some(a), Some(b)) => a.id == b.id,
            _ => true,
        };
        let rows = self.all_connections(&filter).await?;
        let living = |g: &GrantRow| g.state.life != Life::Revoked;
        Ok(rows.into_iter().filter(|(_, g)| living(g) && same(g)).collect())
    }

    async fn revocation_row(
        &self,
        rows: &[(ConnectionRow, GrantRow)],
        now: Timestamp,
    ) -> Result<RevocationRow, Error> {
        let mut row = self.empty_row(now);
        row.connections = rows.iter().map(|(c, _)| c.id.clone()).collect();
        let mut seen = BTreeSet::new();
        for (_, grant) in rows {
            if seen.insert(grant.id.clone()) {
                let client = self.client_row(&grant.client).await?;
                let tokens = open_tokens(&self.vault, grant).ok();
                let whose = Whose::of(grant);
                match self.bind(client, &grant.inputs) {
                    Ok(bound) => self.add_items(&mut row, &whose, &bound, tokens.as_ref(), now),
                    Err(error) => {
                        let words = format!("{error}: end it in the service's settings");
                        row.items.push(item(&whose, "grant", CANNOT, Some(words)));
                    }
                }
            }
        }
        Ok(row)
    }

    pub(crate) fn empty_row(&self, now: Timestamp) -> RevocationRow {
        let mut bytes = [0; ID_BYTES];
        self.ports.random.fill(&mut bytes);
        RevocationRow {
            id: hex::encode(bytes),
            connections: Vec::new(),
            requested_at: now,
            items: Vec::new(),
            proof: None,
            next_at: Some(now),
            revision: 1,
        }
    }

    /// One item for each call that the service's rule asks for, or one that says it can't.
    pub(crate) fn add_items(
        &self,
        row: &mut RevocationRow,
        whose: &Whose,
        bound: &Bound,
        tokens: Option<&TokenSet>,
        now: Timestamp,
    ) {
        let (endpoint, kinds) = match bound.service.revocation(bound.cx()) {
            Ok(RevocationRule::Call { endpoint, tokens: kinds, .. }) => (endpoint, kinds),
            Ok(RevocationRule::Cannot { by_hand }) => {
                let mut it = item(whose, "grant", CANNOT, Some(by_hand));
                it.answer = Some("this service cannot revoke".into());
                it.at = Some(now);
                row.items.push(it);
                return;
            }
            Err(error) => {
                row.items.push(item(whose, "grant", CANNOT, Some(bound.filled(error).to_string())));
                return;
            }
        };
        let Some(tokens) = tokens else {
            let words =
                "the token set can't be opened: end it in the service's settings".to_owned();
            row.items.push(item(whose, "grant", CANNOT, Some(words)));
            return;
        };
        for kind in kinds {
            let (what, text) = match kind {
                TokenKind::RefreshToken => match &tokens.refresh_token {
                    Some(token) => ("refresh_token", token.expose()),
                    None => continue,
                },
                TokenKind::AccessToken => ("access_token", tokens.access_token.expose()),
            };
            let n = u32::try_from(row.items.len()).unwrap_or(u32::MAX);
            let mut it = item(whose, what, RevocationItemState::Pending, None);
            it.call = Some(format!("{} {}", endpoint.method.as_str(), shown(&endpoint.url)));
            it.sealed = Some(self.seal_item(&row.id, n, text));
            it.probe = Some(self.seal_item(&row.id, PROBE_ITEMS + n, tokens.access_token.expose()));
            row.items.push(it);
        }
    }

    fn seal_item(&self, id: &str, item: u32, text: &str) -> Sealed {
        self.vault.seal(Field::Revocation { id, item }, text.as_bytes())
    }

    pub(crate) fn open_item(
        &self,
        id: &str,
        item: u32,
        sealed: &Sealed,
    ) -> Option<Zeroizing<String>> {
        let bytes = self.vault.unseal(Field::Revocation { id, item }, sealed).ok()?;
        Some(Zeroizing::new(std::str::from_utf8(&bytes).ok()?.to_owned()))
    }
}

const CANNOT: RevocationItemState = RevocationItemState::Cannot;

/// Whose token set is taken back: the grant itself may be gone.
pub(crate) struct Whose {
    pub(crate) grant: GrantId,
    pub(crate) version: u64,
    pub(crate) client: ClientId,
    pub(crate) account: Option<String>,
    pub(crate) inputs: BTreeMap<String, String>,
}

impl Whose {
    pub(crate) fn of(grant: &GrantRow) -> Self {
        Self {
            grant: grant.id.clone(),
            version: grant.version,
            client: grant.client.clone(),
            account: grant.account.as_ref().map(|account| account.id.clone()),
            inputs: grant.inputs.clone(),
        }
    }

    pub(crate) fn of_item(item: RevocationItem) -> Self {
        let RevocationItem { grant, version, client, account, inputs, .. } = item;
        Self { grant, version, client, account, inputs }
    }
}

/// Whether the service's call ends all that an account gave a client.
pub(crate) fn is_wide(bound: &Bound) -> bool {
    let rule = bound.service.revocation(bound.cx());
    bound.service.grant_per_account
        || matches!(rule, Ok(RevocationRule::Call { kills: Kills::Account, .. }))
}

fn item(
    whose: &Whose,
    what: &str,
    state: RevocationItemState,
    next_step: Option<String>,
) -> RevocationItem {
    RevocationItem {
        grant: whose.grant.clone(),
        version: whose.version,
        client: whose.client.clone(),
        account: whose.account.clone(),
        inputs: whose.inputs.clone(),
        what: what.to_owned(),
        call: None,
        sealed: None,
        probe: None,
        answer: None,
        at: None,
        state,
        next_step,
        tries: 0,
    }
}

/// Address without query.
pub(crate) fn shown(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

pub(crate) fn revoked_state(now: Timestamp) -> GrantState {
    let reason = Reason {
        code: ReasonCode::Revoked,
        detail: "it was taken back".into(),
        since: now,
        next_step: "connect again: `indicia connect CLIENT --id ID`".into(),
        cause: None,
    };
    GrantState { life: Life::Revoked, reason: Some(reason), ..GrantState::alive() }
}

fn revoked_event(connection: &ConnectionRow, grant: &GrantRow, now: Timestamp) -> Event {
    let event = grant_event(grant, EventKind::Revoked, now);
    Event { connection: Some(connection.id.clone()), ..event }
}

/// The receipt of a revocation as it stands.
fn receipt(row: &RevocationRow) -> Receipt {
    let item = |i: &RevocationItem| ReceiptItem {
        what: i.what.clone(),
        call: i.call.clone(),
        answer: i.answer.clone(),
        at: i.at,
        state: i.state,
        next_step: match i.state {
            RevocationItemState::Pending => Some(AGAIN.to_owned()),
            RevocationItemState::Revoked | RevocationItemState::Cannot => i.next_step.clone(),
        },
    };
    Receipt {
        id: row.id.clone(),
        connections: row.connections.iter().map(ToString::to_string).collect(),
        requested_at: row.requested_at,
        local: "off",
        service: row.items.iter().map(item).collect(),
        proof: row.proof.clone().map(|(probe, at)| ProofView { probe, at }),
    }
}

/// What becomes of a call that its service hasn't answered.
const AGAIN: &str = "the next command that goes to the network tells the service again; \
                     `indicia recover` does so now";
