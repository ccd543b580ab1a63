//! A token set becomes a connection: a new grant, the next version of one that is there, or a
//! reconnect in place. Used by every flow and by `recover`.

use std::collections::BTreeMap;
use std::sync::Arc;

use indicia_catalog::Flow;
use indicia_oauth::{Timestamp, TokenSet};

use crate::Broker;
use crate::call::Bound;
use crate::commit::{Plan, Stored, Writing, store_tokens};
use crate::error::Error;
use crate::model::{
    Account, ConnectionId, ConnectionRow, Event, EventKind, GrantId, GrantRow, GrantState, Life,
    Reason, ReasonCode, RotationOwner,
};
use crate::ports::{ConnectOutcome, ConnectionFilter};
use crate::refresh::grant_event;
use crate::token_facts;
use crate::vault::Field;
use crate::view::ConnectionView;

/// Tries against others who change the same grant meanwhile.
const TRIES: u32 = 5;

/// Octets of a grant's id.
const GRANT_ID_BYTES: usize = 16;

/// A token set on its way to a connection.
pub(crate) struct Adoption {
    pub(crate) bound: Bound,
    pub(crate) connection: ConnectionId,
    pub(crate) flow: Flow,
    pub(crate) asked: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// A reconnect may go to another account.
    pub(crate) other_account: bool,
    pub(crate) tokens: TokenSet,
    pub(crate) sent_at: Timestamp,
    pub(crate) in_journal: bool,
    /// Number of the secret that worked.
    pub(crate) secret_n: u32,
}

impl Broker {
    /// Makes or renews the connection. What is granted is never dropped for an account that can't be
    /// learnt or a scope that is missing: those are reasons for attention.
    pub(crate) async fn adopt(
        self: &Arc<Self>,
        mut adoption: Adoption,
    ) -> Result<ConnectionView, Error> {
        let account = self.discover(&mut adoption.bound, &adoption.tokens).await;
        let id = adoption.connection.clone();
        for _ in 0..TRIES {
            if let Some((connection, grant)) = self.ports.store.connection(&id).await? {
                self.check_same(&adoption, &grant, account.as_ref())?;
                return self.renew(adoption, connection, grant, account).await;
            }
            if let Some(grant) = self.shared(&adoption, account.as_ref()).await? {
                return self.join(adoption, grant, account).await;
            }
            let grant = self.first_version(&adoption, account.clone(), 1);
            let connection = self.connection_row(&adoption, &grant.id);
            let event = grant_event(&grant, EventKind::Connected, grant.created_at);
            let event = Event { connection: Some(id.clone()), ..event };
            match self.ports.store.connect(connection, grant, vec![event]).await? {
                ConnectOutcome::Done => return self.connection(id.as_str()).await,
                // Somebody made it meanwhile: renew that one.
                ConnectOutcome::IdTaken => {}
            }
        }
        Err(Error::Internal(format!("connection {id} keeps changing")))
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
            _ => Ok(()),
        }
    }

    /// Renews a connection in place: its grant's next version, or a new grant where the one before
    /// was revoked or is another account's.
    async fn renew(
        self: &Arc<Self>,
        adoption: Adoption,
        connection: ConnectionRow,
        grant: GrantRow,
        account: Option<Account>,
    ) -> Result<ConnectionView, Error> {
        let now = self.ports.clock.now();
        let other = grant.account.as_ref().zip(account.as_ref()).is_some_and(|(a, b)| a.id != b.id);
        let row = ConnectionRow {
            labels: merged(&connection.labels, &adoption.labels),
            updated_at: now,
            ..connection
        };
        self.cache.evict(row.id.as_str());
        if grant.state.life == Life::Revoked || other {
            let new = self.first_version(&adoption, account, grant.version + 1);
            let event = grant_event(&new, EventKind::Reconnected, now);
            let event = Event { connection: Some(row.id.clone()), ..event };
            let row = ConnectionRow { grant: new.id.clone(), ..row };
            let id = row.id.clone();
            self.ports.store.reconnect(row, new, vec![event]).await?;
            return self.connection(id.as_str()).await;
        }
        let account = account.or_else(|| grant.account.clone());
        let kind = EventKind::Reconnected;
        self.next_version(adoption, grant, account, kind).await?;
        let id = row.id.clone();
        self.ports.store.update_connection(row, Vec::new()).await?;
        self.cache.evict(id.as_str());
        self.connection(id.as_str()).await
    }

    /// A new connection on a grant that is there.
    async fn join(
        self: &Arc<Self>,
        adoption: Adoption,
        grant: GrantRow,
        account: Option<Account>,
    ) -> Result<ConnectionView, Error> {
        let row = self.connection_row(&adoption, &grant.id);
        let client = grant.client.clone();
        let now = self.ports.clock.now();
        let event = grant_event(&grant, EventKind::Connected, now);
        let event = Event { connection: Some(row.id.clone()), ..event };
        self.next_version(adoption, grant, account, EventKind::Refreshed).await?;
        let id = row.id.clone();
        match self.ports.store.join(row, vec![event]).await? {
            ConnectOutcome::Done => self.connection(id.as_str()).await,
            ConnectOutcome::IdTaken => Err(taken(&id, &client)),
        }
    }

    /// Stores the token set as the next version; a refresh that was faster is overtaken, since a
    /// fresh consent is newer than any refresh.
    async fn next_version(
        self: &Arc<Self>,
        adoption: Adoption,
        mut grant: GrantRow,
        account: Option<Account>,
        kind: EventKind,
    ) -> Result<(), Error> {
        let now = self.ports.clock.now();
        let Adoption { bound, asked, tokens, sent_at, in_journal, secret_n, .. } = adoption;
        let copy = tokens.to_bytes();
        for _ in 0..TRIES {
            let tokens = TokenSet::from_bytes(&copy).ok_or_else(|| unreadable(&grant.id))?;
            let rule = bound.refresh_rule();
            let id = grant.id.clone();
            let flow = grant.flow;
            let plan = Plan {
                state: fresh_state(&bound, &asked, &tokens, account.as_ref(), secret_n, now),
                next_at: Box::new(move |f| token_facts::next_at(None, f, &rule, flow, id.as_str())),
                inputs: connection_inputs(&bound),
                account: account.clone(),
                asked: Some(asked.clone()),
            };
            let event = grant_event(&grant, kind, now);
            let writing = Writing { grant: &grant, lease_no: None, sent_at };
            match store_tokens(self, writing, tokens, plan, in_journal, vec![event]).await {
                Stored::Committed(committed) => {
                    self.cache.evict_older(&grant.id, committed.row().version);
                    return Ok(());
                }
                Stored::Superseded(row) => grant = *row,
                Stored::Behind(_, error) | Stored::Failed(error) => return Err(error.into()),
                Stored::Gone(tokens) => {
                    self.revoke_late(&grant, &bound, *tokens, now).await?;
                    return Err(Error::Conflict {
                        code: "revoked",
                        detail: "the connection was revoked meanwhile".into(),
                        hint: "connect again".into(),
                    });
                }
            }
        }
        Err(Error::Internal(format!("grant {} keeps changing", grant.id)))
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
        let grants = store.grants_by_fingerprint(&fingerprint).await?;
        Ok(grants.into_iter().find(|g| {
            g.client == *client
                && g.state.life != Life::Revoked
                && g.facts.refresh == Some(fingerprint)
        }))
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
            rotation_owner: RotationOwner::Indicia,
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
        let mut bytes = [0; GRANT_ID_BYTES];
        self.ports.random.fill(&mut bytes);
        GrantId::of_random(&bytes)
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

/// Alive, with what the first look tells: an account that could not be learnt, scopes that are
/// missing, a refresh token that should have come.
fn fresh_state(
    bound: &Bound,
    asked: &[String],
    tokens: &TokenSet,
    account: Option<&Account>,
    secret_n: u32,
    now: Timestamp,
) -> GrantState {
    let reason = |code, detail: String, next_step: &str| Reason {
        code,
        detail,
        since: now,
        next_step: next_step.to_owned(),
        cause: None,
    };
    let missing = missing_scopes(bound, asked, tokens);
    let reason = if !missing.is_empty() {
        let detail = format!("the service granted less than was asked: no {}", missing.join(", "));
        Some(reason(
            ReasonCode::FewerScopes,
            detail,
            "connect again and allow all, or ask for less",
        ))
    } else if account.is_none() && bound.service.grant_per_account {
        let detail = "the account could not be learnt: treated as if shared".to_owned();
        Some(reason(ReasonCode::AccountUnknown, detail, "connect again when the service answers"))
    } else {
        None
    };
    GrantState { reason, secret_n: Some(secret_n), ..GrantState::alive() }
}

fn missing_scopes(bound: &Bound, asked: &[String], tokens: &TokenSet) -> Vec<String> {
    let scopes = &bound.service.scopes;
    let Some(granted) = tokens.scopes.as_ref().filter(|_| scopes.comparable) else {
        return Vec::new();
    };
    let optional = |scope: &&String| scopes.optional.contains(scope);
    asked.iter().filter(|s| !granted.contains(s) && !optional(s)).cloned().collect()
}
