//! A token set becomes a connection: a new grant, the next version of one that is there, or a
//! reconnect in place. Used by every flow and by `recover`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use indicia_catalog::Flow;
use indicia_oauth::{Timestamp, TokenSet};

use crate::Broker;
use crate::call::Bound;
use crate::committed::open_tokens;
use crate::committed::{Plan, Stored, Writing, store_tokens};
use crate::error::Error;
use crate::model::{
    Account, ConnectionId, ConnectionRow, Event, EventKind, GrantId, GrantRow, GrantState, Life,
    RotationOwner, grant_event,
};
use crate::ports::{ConnectOutcome, ConnectionFilter};
use crate::revoke::Whose;
use crate::standing::standing_reason;
use crate::token_facts;
use crate::vault::Field;
use crate::view::ConnectionView;

/// Tries against others who change the same grant meanwhile.
const TRIES: u32 = 5;

/// Random octets of a grant's id.
const GRANT_ID_RANDOM_BYTES: usize = 10;

/// A token set on its way to a connection.
pub(crate) struct Adoption {
    pub(crate) bound: Bound,
    pub(crate) connection: ConnectionId,
    pub(crate) flow: Flow,
    /// The taken flow that it comes from (its hash); none where nobody clicked.
    pub(crate) consent: Option<String>,
    pub(crate) asked: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// A reconnect may go to another account.
    pub(crate) other_account: bool,
    pub(crate) tokens: TokenSet,
    pub(crate) sent_at: Timestamp,
    pub(crate) in_journal: bool,
    /// Number of the secret that worked, where that is known.
    pub(crate) secret_n: Option<u32>,
    /// Who refreshes it, where a new grant is made of it.
    pub(crate) owner: RotationOwner,
    /// Asks the API whose account it is.
    pub(crate) learn_account: bool,
}

impl Adoption {
    /// What is imported isn't better than what was obtained after it.
    fn is_older(&self, grant: &GrantRow) -> bool {
        self.consent.is_none()
            && grant.state.life == Life::Alive
            && grant.facts.obtained_at > self.sent_at
    }
}

impl Broker {
    /// Makes or renews the connection. What is granted is never dropped for an account that can't
    /// be learnt or a scope that is missing: those are reasons for attention.
    pub(crate) async fn adopt(
        self: &Arc<Self>,
        mut adoption: Adoption,
    ) -> Result<ConnectionView, Error> {
        let account = match adoption.learn_account {
            true => self.discover(&mut adoption.bound, &adoption.tokens).await,
            false => None,
        };
        let id = adoption.connection.clone();
        let mut kind = EventKind::Reconnected;
        for _ in 0..TRIES {
            if self.is_taken_back(&adoption).await? {
                return self.take_back(adoption, account).await;
            }
            if let Some((connection, grant)) = self.ports.store.connection(&id).await? {
                if self.is_adopted(&adoption, &grant).await? || adoption.is_older(&grant) {
                    return self.connection(id.as_str()).await;
                }
                if let Err(error) = self.check_same(&adoption, &grant, account.as_ref()) {
                    return Err(self.not_adopted(adoption, account, error).await);
                }
                return self.renew(adoption, connection, grant, account, kind).await;
            }
            if let Some(grant) = self.shared(&adoption, account.as_ref()).await? {
                if grant.rotation_owner != adoption.owner {
                    return Err(other_owner(id.as_str(), grant.rotation_owner));
                }
                let row = self.connection_row(&adoption, &grant.id);
                let event = grant_event(&grant, EventKind::Connected, row.created_at);
                let event = Event { connection: Some(id.clone()), ..event };
                let flow = adoption.consent.as_deref();
                match self.ports.store.join(row, flow, vec![event]).await {
                    // It has the grant; the token set comes next.
                    Ok(ConnectOutcome::Done) => kind = EventKind::Refreshed,
                    Ok(ConnectOutcome::IdTaken | ConnectOutcome::Missing) => {}
                    Ok(ConnectOutcome::FlowEnded) => return self.as_it_stands(&id).await,
                    Ok(ConnectOutcome::FlowRevoked) => {
                        return self.take_back(adoption, account).await;
                    }
                    Err(error) if adoption.in_journal && !error.maybe_done => {
                        return Err(error.into());
                    }
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
                continue;
            }
            let (connection, grant, event) = self.first_rows(&adoption, account.clone());
            let flow = adoption.consent.as_deref();
            match self.ports.store.connect(connection, grant, flow, vec![event]).await {
                Ok(ConnectOutcome::Done) => return self.connection(id.as_str()).await,
                // Somebody made it meanwhile, or we did and did not hear of it: look again.
                Ok(ConnectOutcome::IdTaken | ConnectOutcome::Missing) => {}
                Ok(ConnectOutcome::FlowEnded) => return self.as_it_stands(&id).await,
                Ok(ConnectOutcome::FlowRevoked) => return self.take_back(adoption, account).await,
                Err(error) if adoption.in_journal && !error.maybe_done => return Err(error.into()),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        Err(Error::Internal(format!("connection {id} keeps changing")))
    }

    /// The rows of a new connection, and the event that tells of it.
    pub(crate) fn first_rows(
        &self,
        adoption: &Adoption,
        account: Option<Account>,
    ) -> (ConnectionRow, GrantRow, Event) {
        let grant = self.first_version(adoption, account, 1);
        let connection = self.connection_row(adoption, &grant.id);
        let event = grant_event(&grant, EventKind::Connected, grant.created_at);
        let event = Event { connection: Some(adoption.connection.clone()), ..event };
        (connection, grant, event)
    }

    /// The flow had ended: its consent was stored before, or a newer one, or the connection was
    /// forgotten.
    async fn as_it_stands(self: &Arc<Self>, id: &ConnectionId) -> Result<ConnectionView, Error> {
        match self.ports.store.connection(id).await? {
            Some(_) => self.connection(id.as_str()).await,
            None => Err(revoked_meanwhile()),
        }
    }

    /// Whether the connection was taken back after this consent was given. Asked before anything is
    /// made of it: what it is merged with may live on.
    async fn is_taken_back(&self, adoption: &Adoption) -> Result<bool, Error> {
        let Some(flow) = &adoption.consent else { return Ok(false) };
        Ok(self.ports.store.flow(flow).await?.is_some_and(|flow| flow.revoked))
    }

    /// Whether this very token set was stored before, and may have been refreshed since: a callback
    /// and `recover` may both bring it.
    async fn is_adopted(&self, adoption: &Adoption, grant: &GrantRow) -> Result<bool, Error> {
        let access = self.vault.fingerprint(adoption.tokens.access_token.expose());
        if adoption.flow == Flow::ApiKey {
            // A key that was refused for a while, or replaced, may be the right one again.
            let lives = grant.state.life == Life::Alive && !grant.facts.rejected;
            return Ok(lives && grant.facts.access == access);
        }
        Ok(self.ports.store.has_had(&grant.id, &access).await?)
    }

    /// A reconnect goes to the same client, and to the same account unless told.
    fn check_same(
        &self,
        adoption: &Adoption,
        grant: &GrantRow,
        account: Option<&Account>,
    ) -> Result<(), Error> {
        let id = &adoption.connection;
        if grant.client != adoption.bound.client.id {
            return Err(taken(id, &grant.client));
        }
        match (&grant.account, account) {
            // mark: same-account
            (Some(old), Some(new)) if old.id != new.id && !adoption.other_account => {
                Err(Error::Conflict {
                    code: "other_account",
                    detail: format!(
                        "connection {id} is for account {}, but {} was logged in; the connection is \
                         as it was",
                        named(old),
                        named(new)
                    ),
                    hint: "log in with the first account, or choose another --id".into(),
                })
            }
            (Some(old), None) if !adoption.other_account => Err(Error::Unavailable {
                code: "account_unknown",
                detail: format!(
                    "{} didn't tell whose account was logged in, and connection {id} is for account \
                     {}; the connection is as it was",
                    adoption.bound.service.name,
                    named(old)
                ),
                retry_after: None,
                hint: "when the service answers: `indicia recover`, or connect again".into(),
            }),
            _ => Ok(()),
        }
    }

    /// Another account's grant isn't wanted: it is taken back, not left to lie about.
    async fn not_adopted(
        &self,
        adoption: Adoption,
        account: Option<Account>,
        error: Error,
    ) -> Error {
        // A key was made by its owner: it is as it was, and nothing of it is kept here.
        // mark: foreign-key-not-queued
        if error.code() == "other_account"
            && adoption.flow != Flow::ApiKey
            && let Err(error) = self.queue(adoption, account).await
        {
            tracing::warn!(%error, "an unwanted grant could not be queued for revocation");
        }
        error
    }

    /// The connection was taken back while this was on its way.
    async fn take_back<T>(&self, adoption: Adoption, account: Option<Account>) -> Result<T, Error> {
        self.queue(adoption, account).await?;
        Err(revoked_meanwhile())
    }

    /// Queues a token set for revocation that belongs to no connection.
    async fn queue(&self, adoption: Adoption, account: Option<Account>) -> Result<(), Error> {
        let Adoption { bound, tokens, .. } = adoption;
        self.queue_tokens(&bound, tokens, account).await
    }

    async fn queue_tokens(
        &self,
        bound: &Bound,
        tokens: TokenSet,
        account: Option<Account>,
    ) -> Result<(), Error> {
        let whose = Whose {
            // Not that of a grant which may live on.
            grant: self.new_grant_id(),
            version: 1,
            client: bound.client.id.clone(),
            account: account.map(|account| account.id),
            inputs: connection_inputs(bound),
        };
        self.revoke_late(&whose, bound, tokens, self.ports.clock.now()).await
    }

    /// Renews a connection in place: its grant's next version, or a new grant where the one before
    /// was revoked or is another account's.
    async fn renew(
        self: &Arc<Self>,
        adoption: Adoption,
        connection: ConnectionRow,
        grant: GrantRow,
        account: Option<Account>,
        kind: EventKind,
    ) -> Result<ConnectionView, Error> {
        let now = self.ports.clock.now();
        let other = grant.account.as_ref().zip(account.as_ref()).is_some_and(|(a, b)| a.id != b.id);
        let row = ConnectionRow {
            labels: merged(&connection.labels, &adoption.labels),
            updated_at: now,
            ..connection
        };
        self.cache.evict(row.id.as_str());
        let owned = grant.rotation_owner == adoption.owner;
        if grant.state.life == Life::Revoked || other || !owned {
            let new = self.first_version(&adoption, account.clone(), grant.version + 1);
            let before = GrantRow { version: grant.version, ..new.clone() };
            let event = grant_event(&before, EventKind::Reconnected, now);
            let event = Event { connection: Some(row.id.clone()), ..event };
            let row = ConnectionRow { grant: new.id.clone(), ..row };
            let id = row.id.clone();
            let flow = adoption.consent.as_deref();
            let done = self.ports.store.reconnect(row, new, flow, vec![event]).await?;
            if done == ConnectOutcome::FlowRevoked {
                return self.take_back(adoption, account).await;
            }
            return self.as_it_stands(&id).await;
        }
        let id = row.id.clone();
        if self.next_version(adoption, grant, account, kind).await? == Next::Stored {
            self.ports.store.label(row).await?;
        }
        self.cache.evict(id.as_str());
        self.as_it_stands(&id).await
    }

    /// Stores the token set as the next version; a refresh that was faster is overtaken, since a
    /// fresh consent is newer than any refresh.
    async fn next_version(
        self: &Arc<Self>,
        adoption: Adoption,
        mut grant: GrantRow,
        learnt: Option<Account>,
        kind: EventKind,
    ) -> Result<Next, Error> {
        let now = self.ports.clock.now();
        let account = learnt.clone().or_else(|| grant.account.clone());
        let Adoption { bound, asked, tokens, sent_at, in_journal, secret_n, consent, .. } =
            adoption;
        let copy = tokens.to_bytes();
        for _ in 0..TRIES {
            let mut tokens = TokenSet::from_bytes(&copy).ok_or_else(|| unreadable(&grant.id))?;
            if tokens.refresh_token.is_none() && continues(&grant, account.as_ref()) {
                // Some services give a refresh token with the first consent only.
                if let Ok(old) = open_tokens(&self.vault, &grant) {
                    tokens = token_facts::merge(old, tokens);
                }
            }
            let plan = plan(&bound, &grant, &asked, &tokens, account.clone(), secret_n, now);
            let plan = Plan { flow: consent.clone(), ..plan };
            let events = [grant_event(&grant, kind, now)];
            let writing = Writing {
                grant: &grant,
                lease_no: None,
                sent_at,
                before: None,
                version: self.above_journal(&grant).await,
                in_journal,
            };
            match store_tokens(self, writing, tokens, &plan, &events).await {
                Stored::Committed(committed) => {
                    self.cache.evict_older(&grant.id, committed.row().version);
                    return Ok(Next::Stored);
                }
                Stored::FlowEnded => return Ok(Next::Overtaken),
                // What isn't from a consent is no newer than a refresh.
                Stored::Superseded(row) if consent.is_none() && row.state.life == Life::Alive => {
                    return Ok(Next::Overtaken);
                }
                Stored::Superseded(row) => grant = *row,
                Stored::Failed(_, error) if !in_journal => {
                    tracing::warn!(%error, "a new grant can't be stored yet");
                    tokio::time::sleep(PAUSE).await;
                }
                Stored::Behind(_, error) | Stored::Failed(_, error) => return Err(error.into()),
                // As it was given: what it was merged with isn't its own.
                Stored::Revoked(_) | Stored::FlowRevoked => {
                    let given = TokenSet::from_bytes(&copy).ok_or_else(|| unreadable(&grant.id))?;
                    self.queue_tokens(&bound, given, learnt).await?;
                    return Err(revoked_meanwhile());
                }
                Stored::Forgotten(_) => {
                    if self.ports.store.revoked_item(&grant.id).await?.is_some() {
                        let given = TokenSet::from_bytes(&copy);
                        let given = given.ok_or_else(|| unreadable(&grant.id))?;
                        self.queue_tokens(&bound, given, learnt).await?;
                    }
                    return Err(revoked_meanwhile());
                }
            }
        }
        Err(Error::Internal(format!("grant {} keeps changing", grant.id)))
    }

    /// The next version, above all that the journal knows of this grant: a store that was restored
    /// must not take old answers for new ones.
    async fn above_journal(&self, grant: &GrantRow) -> u64 {
        let entries = self.ports.journal.entries(Some(grant.id.as_str())).await;
        let newest = entries.unwrap_or_default().iter().map(|e| e.version + 1).max();
        newest.unwrap_or(0).max(grant.version) + 1
    }

    /// A grant that the service shares with this token set.
    async fn shared(
        &self,
        adoption: &Adoption,
        account: Option<&Account>,
    ) -> Result<Option<GrantRow>, Error> {
        let client = &adoption.bound.client.id;
        let store = &self.ports.store;
        if adoption.flow == Flow::ClientCredentials {
            return self.same_request(adoption).await;
        }
        if adoption.bound.service.grant_per_account
            && let Some(account) = account
            && let Some(grant) = store.grant_of_account(client, &account.id).await?
        {
            return Ok(Some(grant));
        }
        let Some(refresh) = &adoption.tokens.refresh_token else {
            return Ok(None);
        };
        let fingerprint = self.vault.fingerprint(refresh.expose());
        Ok(store.grant_of_refresh_token(client, &fingerprint).await?)
    }

    /// Client credentials: one grant per client, inputs and scopes.
    async fn same_request(&self, adoption: &Adoption) -> Result<Option<GrantRow>, Error> {
        let filter = ConnectionFilter {
            client: Some(adoption.bound.client.id.clone()),
            ..ConnectionFilter::default()
        };
        let inputs = connection_inputs(&adoption.bound);
        let mut after: Option<ConnectionId> = None;
        loop {
            let rows = self.ports.store.connections(&filter, after.as_ref(), 500).await?;
            let Some((last, _)) = rows.last() else {
                return Ok(None);
            };
            after = Some(last.id.clone());
            let same = |g: &GrantRow| {
                g.flow == Flow::ClientCredentials
                    && g.state.life != Life::Revoked
                    && g.asked == adoption.asked
                    && inputs.iter().all(|(k, v)| g.inputs.get(k) == Some(v))
                    && g.inputs.iter().all(|(k, v)| inputs.get(k) == Some(v))
            };
            if let Some((_, grant)) = rows.into_iter().find(|(_, g)| same(g)) {
                return Ok(Some(grant));
            }
        }
    }

    fn first_version(
        &self,
        adoption: &Adoption,
        account: Option<Account>,
        version: u64,
    ) -> GrantRow {
        let Adoption { bound, tokens, sent_at, .. } = adoption;
        let now = self.ports.clock.now();
        let id = self.new_grant_id();
        let facts = token_facts::facts(&self.vault, None, tokens, *sent_at);
        let rule = bound.refresh_rule();
        let next_at = token_facts::next_at(None, &facts, &rule, adoption.flow, id.as_str());
        let field = Field::Tokens { grant: id.as_str(), version };
        let asked = &adoption.asked;
        GrantRow {
            client: bound.client.id.clone(),
            flow: adoption.flow,
            inputs: connection_inputs(bound),
            state: fresh_state(bound, asked, tokens, account.as_ref(), adoption.secret_n, now),
            account,
            asked: asked.clone(),
            rotation_owner: adoption.owner,
            created_at: now,
            version,
            tokens: self.vault.seal(field, &tokens.to_bytes()),
            facts,
            next_at,
            lease: None,
            intent: None,
            id,
        }
    }

    fn new_grant_id(&self) -> GrantId {
        let mut random = [0; GRANT_ID_RANDOM_BYTES];
        self.ports.random.fill(&mut random);
        GrantId::of(self.ports.clock.now(), &random)
    }

    fn connection_row(&self, adoption: &Adoption, grant: &GrantId) -> ConnectionRow {
        let now = self.ports.clock.now();
        ConnectionRow {
            id: adoption.connection.clone(),
            client: adoption.bound.client.id.clone(),
            grant: grant.clone(),
            labels: adoption.labels.clone(),
            created_at: now,
            updated_at: now,
        }
    }
}

/// What became of a token set that was to be the next version.
#[derive(PartialEq, Eq)]
enum Next {
    Stored,
    /// It was stored before, or a newer consent was.
    Overtaken,
}

fn named(account: &Account) -> String {
    match &account.name {
        Some(name) => format!("{name:?} ({})", account.id),
        None => account.id.clone(),
    }
}

fn taken(id: &ConnectionId, client: &crate::model::ClientId) -> Error {
    Error::Conflict {
        code: "id_taken",
        detail: format!("there is a connection {id} already, of client {client}"),
        hint: "choose another with --id".into(),
    }
}

pub(crate) fn other_owner(connection: &str, owner: RotationOwner) -> Error {
    let (who, flag) = match owner {
        RotationOwner::Indicia => ("Indicia refreshes", "indicia"),
        RotationOwner::Other => ("somebody else refreshes", "other"),
    };
    Error::Conflict {
        code: "rotation_owner",
        detail: format!("{who} connection {connection}: two must not refresh one grant"),
        hint: format!("import with --rotation-owner {flag}, or forget the connection first"),
    }
}

fn unreadable(grant: &GrantId) -> Error {
    Error::Internal(format!("the token set of grant {grant} can't be read back"))
}

fn merged(
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut all = old.clone();
    all.extend(new.clone());
    all
}

/// What isn't the client's own.
fn connection_inputs(bound: &Bound) -> BTreeMap<String, String> {
    let mut inputs = bound.inputs.clone();
    inputs.retain(|name, _| !bound.client.inputs.contains_key(name));
    inputs
}

/// Whether a reconnect goes on with what the grant had: same account, and not refused meanwhile.
fn continues(grant: &GrantRow, account: Option<&Account>) -> bool {
    let same = match (&grant.account, account) {
        (Some(old), Some(new)) => old.id == new.id,
        _ => false,
    };
    same && grant.state.life == Life::Alive && !grant.facts.rejected
}

fn revoked_meanwhile() -> Error {
    Error::Conflict {
        code: "revoked",
        detail: "the connection was revoked or removed meanwhile".into(),
        hint: "connect again".into(),
    }
}

fn plan(
    bound: &Bound,
    grant: &GrantRow,
    asked: &[String],
    tokens: &TokenSet,
    account: Option<Account>,
    secret_n: Option<u32>,
    now: Timestamp,
) -> Plan {
    let rule = bound.refresh_rule();
    let (id, flow) = (grant.id.clone(), grant.flow);
    Plan {
        state: fresh_state(bound, asked, tokens, account.as_ref(), secret_n, now),
        next_at: Box::new(move |f| token_facts::next_at(None, f, &rule, flow, id.as_str())),
        inputs: connection_inputs(bound),
        account,
        asked: Some(asked.to_vec()),
        flow: None,
    }
}

/// Alive, with what a token set doesn't cure.
fn fresh_state(
    bound: &Bound,
    asked: &[String],
    tokens: &TokenSet,
    account: Option<&Account>,
    secret_n: Option<u32>,
    now: Timestamp,
) -> GrantState {
    let reason = standing_reason(bound, asked, tokens.scopes.as_ref(), account, now);
    GrantState { reason, secret_n, ..GrantState::alive() }
}

/// Pause before another try to store what is in memory only.
pub(crate) const PAUSE: Duration = Duration::from_millis(500);
