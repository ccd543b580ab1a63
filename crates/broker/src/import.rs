//! Taking over a token set that somebody else obtained. Nothing is asked of a token endpoint:
//! whether the refresh token is any good shows when it is due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicia_catalog::{Flow, Service};
use indicia_oauth::expiry::ExpiryKind;
use indicia_oauth::{Answer, Dialect, Timestamp, TokenSet};
use serde::Deserialize;
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use crate::Broker;
use crate::adopt::{Adoption, PAUSE, other_owner};
use crate::api_key;
use crate::call::Bound;
use crate::connect::own_id;
use crate::decide;
use crate::error::Error;
use crate::model::{
    ClientId, ClientRow, ConnectionId, ConnectionRow, GrantRow, Life, RotationOwner,
};
use crate::outcome::{self, Outcome};
use crate::ports::{ConnectOutcome, ConnectionFilter, REPLACED_BYTES};
use crate::spoken::Spoken;
use crate::vault::Fingerprint;
use crate::view::ConnectionView;

/// A token set as JSON at most, in octets.
pub const IMPORT_BYTES_MAX: usize = 64 * 1024;

/// Where an imported token set goes, and who owns it from now on.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// Our client id.
    pub client: String,
    /// The connection's id, where the token set itself names none; else the client's, then with -2,
    /// -3.
    pub id: Option<String>,
    /// Who refreshes it. What [`RotationOwner::Other`] refreshes is served here and never sent.
    pub owner: RotationOwner,
    /// It comes with many others: it has to name its connection itself, and the API isn't asked
    /// whose account it is.
    pub one_of_many: bool,
}

/// What an import did.
pub struct Imported {
    /// The connection.
    pub connection: ConnectionView,
    /// False: this very token set was there already.
    pub changed: bool,
}

/// Tries against others who make the same connection meanwhile.
const TRIES: u32 = 5;

/// What stands beside the token set. The tokens are not read here: this text isn't wiped.
#[derive(Deserialize)]
pub(crate) struct Beside {
    id: Option<String>,
    #[serde(default)]
    inputs: BTreeMap<String, String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    scopes: Option<IgnoredAny>,
    access_token: Option<IgnoredAny>,
    api_key: Option<IgnoredAny>,
    refresh_token: Option<IgnoredAny>,
}

/// What the imports of this process have to know of each other, and of what was there before them.
#[derive(Default)]
pub(crate) struct Imports {
    /// Refresh tokens that are on their way into the store, and whose each was first.
    under_way: Mutex<BTreeMap<Fingerprint, (ConnectionId, usize)>>,
    /// Tokens that were replaced, and when that was looked up, in milliseconds of
    /// [`crate::ports::Clock::boot_millis`].
    replaced: tokio::sync::Mutex<Option<(u64, Replaced)>>,
}

/// A refresh token that is on its way into the store.
struct Reserved<'a> {
    imports: &'a Imports,
    fingerprint: Fingerprint,
}

/// What was found when a token set's refresh token was reserved; the reservation ends with it.
#[derive(Default)]
struct Reservation<'a> {
    _under_way: Option<Reserved<'a>>,
    /// A grant has this refresh token.
    is_known: bool,
}

impl Imports {
    /// For this connection, unless it is another's; then whose.
    fn reserve(
        &self,
        fingerprint: Fingerprint,
        connection: &ConnectionId,
    ) -> Result<Reserved<'_>, ConnectionId> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, times) = under_way.entry(fingerprint).or_insert((connection.clone(), 0));
        if first != connection {
            return Err(first.clone());
        }
        *times += 1;
        Ok(Reserved { imports: self, fingerprint })
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut under_way = self.imports.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, times)) = under_way.get_mut(&self.fingerprint) {
            *times -= 1;
            if *times == 0 {
                under_way.remove(&self.fingerprint);
            }
        }
    }
}

type Replaced = Arc<BTreeSet<[u8; REPLACED_BYTES]>>;

/// Looking up what was replaced walks over every grant: not for each of many imports.
const REPLACED_FOR: Duration = Duration::from_secs(60);

impl Broker {
    /// Makes or renews a connection by a token set that was obtained elsewhere: JSON as in the
    /// contract, read with the same leniency as a service's answer.
    ///
    /// A connection that lives and is refreshed here is left as it is, whatever comes: an import
    /// that was cut off can be run again.
    ///
    /// # Errors
    /// [`Error::NotFound`]: no such client. [`Error::Refused`]: not JSON, no access token, one that
    /// can't be used, an input that is missing. [`Error::Conflict`]: the id is another client's, or
    /// somebody else refreshes what is there.
    pub async fn import(
        self: &Arc<Self>,
        request: &ImportRequest,
        token_set: &[u8],
    ) -> Result<Imported, Error> {
        for _ in 0..TRIES {
            if let Some(imported) = self.import_once(request, token_set).await? {
                return Ok(imported);
            }
        }
        Err(Error::Internal("the connection keeps changing".to_owned()))
    }

    /// `None`: somebody made the connection meanwhile.
    async fn import_once(
        self: &Arc<Self>,
        request: &ImportRequest,
        token_set: &[u8],
    ) -> Result<Option<Imported>, Error> {
        let unchanged = |connection| Ok(Some(Imported { connection, changed: false }));
        let beside = beside(token_set)?;
        let bound = self.bound_for(self.client_of(request).await?, &beside.inputs)?;
        let now = self.ports.clock.now();
        let tokens = read(&bound.service, &beside, token_set, now)?;
        let wish = beside.id.as_deref().or(request.id.as_deref());
        if request.one_of_many && wish.is_none() {
            return Err(refused("it has no id".to_owned()));
        }
        let there = match wish.map(ConnectionId::new) {
            Some(Ok(id)) => self.ports.store.connection(&id).await?,
            Some(Err(_)) | None => None,
        };
        if let Some(connection) = self.is_there_already(&bound, &tokens, there.as_ref()).await? {
            return unchanged(connection);
        }
        if self.may_be_known(request.one_of_many, &tokens).await?
            && let Some(known) = Box::pin(self.known(&bound, &tokens, wish)).await?
        {
            return unchanged(known);
        }
        let connection = match wish {
            Some(wish) => own_id(&bound, wish, there.as_ref().map(|(row, _)| row))?,
            None => self.connection_id(&bound, None).await?,
        };
        let reserved = self.reserve(&bound, &connection, &tokens).await?;
        if let Some((_, grant)) = &there
            && grant.state.life == Life::Alive
        {
            if grant.rotation_owner != request.owner {
                return Err(other_owner(connection.as_str(), grant.rotation_owner));
            }
            let access = self.vault.fingerprint(tokens.access_token.expose());
            // What we refresh is newer than any copy: a spent refresh token must not come back.
            // mark: living-grant-not-overwritten
            if request.owner == RotationOwner::Indicia
                || self.ports.store.has_had(&grant.id, &access).await?
            {
                return unchanged(self.connection(connection.as_str()).await?);
            }
        }
        let adoption = Adoption {
            asked: tokens.scopes.clone().unwrap_or_default(),
            bound,
            connection,
            flow: if beside.api_key.is_some() { Flow::ApiKey } else { Flow::Import },
            consent: None,
            labels: beside.labels,
            // Whose it is can't be compared where nobody asks.
            other_account: request.one_of_many,
            tokens,
            sent_at: now,
            in_journal: false,
            secret_n: None,
            owner: request.owner,
            learn_account: !request.one_of_many,
        };
        let connection = match request.one_of_many && there.is_none() && !reserved.is_known {
            true => self.import_first(&adoption).await?,
            // Boxed: a thousand imports at once shan't each hold room for what they rarely need.
            false => Some(Box::pin(self.adopt(adoption)).await?),
        };
        Ok(connection.map(|connection| Imported { connection, changed: true }))
    }

    /// Makes a connection where there was none of its id or its refresh token just now; `None`:
    /// somebody made one meanwhile, or we did and didn't hear of it.
    async fn import_first(&self, adoption: &Adoption) -> Result<Option<ConnectionView>, Error> {
        let (connection, grant, event) = self.first_rows(adoption, None);
        let view = self.connection_view(&connection, &grant, &adoption.bound.client);
        match self.ports.store.connect(connection, grant, None, vec![event]).await {
            Ok(ConnectOutcome::Done) => Ok(Some(view)),
            Ok(
                ConnectOutcome::IdTaken
                | ConnectOutcome::Missing
                | ConnectOutcome::FlowEnded
                | ConnectOutcome::FlowRevoked,
            ) => Ok(None),
            Err(error) if error.maybe_done => {
                tokio::time::sleep(PAUSE).await;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Of many, each needn't look its client up anew.
    async fn client_of(&self, request: &ImportRequest) -> Result<ClientRow, Error> {
        match ClientId::new(&request.client) {
            Ok(id) if request.one_of_many => Ok(ClientRow::clone(&*self.client_seen(&id).await?)),
            Ok(_) | Err(_) => self.client_named(&request.client).await,
        }
    }

    /// Whether it is worth a look at every grant: one of many is only looked for where a token of
    /// it was replaced by another.
    async fn may_be_known(&self, one_of_many: bool, tokens: &TokenSet) -> Result<bool, Error> {
        let Some(refresh) = tokens.refresh_token.as_ref().filter(|_| one_of_many) else {
            return Ok(!one_of_many);
        };
        let fingerprint = self.vault.fingerprint(refresh.expose());
        let replaced = self.replaced().await?;
        Ok(fingerprint.as_bytes().first_chunk().is_some_and(|first| replaced.contains(first)))
    }

    /// Tokens that were replaced, as they were at most [`REPLACED_FOR`] ago.
    async fn replaced(&self) -> Result<Replaced, Error> {
        let now = self.ports.clock.boot_millis();
        let mut kept = self.imports.replaced.lock().await;
        if let Some((at, replaced)) = kept.as_ref()
            && decide::flies(*at, REPLACED_FOR, now)
        {
            return Ok(Arc::clone(replaced));
        }
        let replaced = Arc::new(self.ports.store.replaced_tokens().await?);
        *kept = Some((now, Arc::clone(&replaced)));
        Ok(replaced)
    }

    /// Whether the connection that is wished for has, or had, this very token set.
    async fn is_there_already(
        self: &Arc<Self>,
        bound: &Bound,
        tokens: &TokenSet,
        there: Option<&(ConnectionRow, GrantRow)>,
    ) -> Result<Option<ConnectionView>, Error> {
        let Some((row, grant)) = there else { return Ok(None) };
        if row.client != bound.client.id || grant.state.life == Life::Revoked {
            return Ok(None);
        }
        let refresh = tokens.refresh_token.as_ref().map(|token| token.expose());
        for token in [Some(tokens.access_token.expose()), refresh].into_iter().flatten() {
            let fingerprint = self.vault.fingerprint(token);
            if self.ports.store.has_had(&grant.id, &fingerprint).await? {
                return self.connection(row.id.as_str()).await.map(Some);
            }
        }
        Ok(None)
    }

    /// A refresh token is one connection's: two that come at once don't see each other in the store
    /// yet, and what is there is found by its index. Only those under way are kept in memory.
    async fn reserve(
        &self,
        bound: &Bound,
        connection: &ConnectionId,
        tokens: &TokenSet,
    ) -> Result<Reservation<'_>, Error> {
        let Some(refresh) = &tokens.refresh_token else { return Ok(Reservation::default()) };
        let fingerprint = self.vault.fingerprint(refresh.expose());
        // mark: one-refresh-token-one-connection
        let under_way = self
            .imports
            .reserve(fingerprint, connection)
            .map_err(|first| token_set_known(&first))?;
        let store = &self.ports.store;
        let there = store.grant_of_refresh_token(&bound.client.id, &fingerprint).await?;
        let is_known = there.is_some();
        if let Some(grant) = there {
            let filter = ConnectionFilter { grant: Some(grant.id), ..Default::default() };
            let rows = self.all_connections(&filter).await?;
            if let Some((first, _)) = rows.first()
                && !rows.iter().any(|(row, _)| row.id == *connection)
            {
                return Err(token_set_known(&first.id));
            }
        }
        Ok(Reservation { _under_way: Some(under_way), is_known })
    }

    /// The connection that has these tokens already. Under another id they would be two grants that
    /// refresh one refresh token.
    async fn known(
        &self,
        bound: &Bound,
        tokens: &TokenSet,
        wish: Option<&str>,
    ) -> Result<Option<ConnectionView>, Error> {
        let refresh = tokens.refresh_token.as_ref().map(|token| token.expose());
        for token in [Some(tokens.access_token.expose()), refresh].into_iter().flatten() {
            let fingerprint = self.vault.fingerprint(token);
            for grant in self.ports.store.grants_by_fingerprint(&fingerprint).await? {
                let ours = grant.client == bound.client.id && grant.state.life != Life::Revoked;
                let filter = ConnectionFilter { grant: Some(grant.id), ..Default::default() };
                let rows = self.all_connections(&filter).await?;
                let named = rows.iter().find(|(c, _)| Some(c.id.as_str()) == wish);
                let Some((connection, _)) = named.or(rows.first()).filter(|_| ours) else {
                    continue;
                };
                return match wish {
                    Some(wish) if wish != connection.id.as_str() => {
                        Err(token_set_known(&connection.id))
                    }
                    _ => self.connection(connection.id.as_str()).await.map(Some),
                };
            }
        }
        Ok(None)
    }
}

pub(crate) fn beside(token_set: &[u8]) -> Result<Beside, Error> {
    if token_set.len() > IMPORT_BYTES_MAX {
        return Err(refused(format!("it is longer than {} KiB", IMPORT_BYTES_MAX / 1024)));
    }
    // The reader's own words could repeat what it read.
    serde_json::from_slice(token_set).map_err(|error| {
        let at = format!("line {}, column {}", error.line(), error.column());
        refused(match error.classify() {
            serde_json::error::Category::Data => format!("a member is not of its kind ({at})"),
            _ => format!("it is not one JSON object ({at})"),
        })
    })
}

/// Reads the token set as if the service had just given it.
pub(crate) fn read(
    service: &Service,
    beside: &Beside,
    token_set: &[u8],
    now: Timestamp,
) -> Result<TokenSet, Error> {
    if beside.api_key.is_some() {
        return read_key(service, beside, token_set, now);
    }
    if !service.registers() && service.api_key.is_some() {
        let name = &service.name;
        return Err(refused(format!("{name} gives no tokens: it has keys, so api_key is needed")));
    }
    if beside.access_token.is_none() {
        return Err(refused(match beside.refresh_token {
            Some(_) => "it has no access_token; one that has ended will do".to_owned(),
            None => "it has no access_token".to_owned(),
        }));
    }
    let dialect = Dialect {
        scope: Some(if beside.scopes.is_some() { "scopes" } else { "scope" }.to_owned()),
        scope_separators: " ,".to_owned(),
        expires: vec![
            ("expires_at".to_owned(), ExpiryKind::Rfc3339),
            ("expires_at".to_owned(), ExpiryKind::UnixSeconds),
            ("expires_in".to_owned(), ExpiryKind::Seconds),
        ],
        no_expiry: service.dialect.no_expiry,
        token_types: service.dialect.token_types.clone(),
        keep: service.dialect.keep.clone(),
        token_type_optional: true,
        ..Dialect::default()
    };
    match outcome::classify(&as_answer(token_set), &dialect, now, &Spoken::from_texts([])) {
        Outcome::Granted(tokens) => Ok(*tokens),
        other => Err(refused(format!("it can't be used ({})", other.name()))),
    }
}

/// Reads an API key, which is all that there is of a grant.
fn read_key(
    service: &Service,
    beside: &Beside,
    token_set: &[u8],
    now: Timestamp,
) -> Result<TokenSet, Error> {
    if beside.access_token.is_some() || beside.refresh_token.is_some() {
        return Err(refused("an API key goes alone, without tokens".to_owned()));
    }
    let dialect = Dialect {
        access_token: "api_key".to_owned(),
        token_type_optional: true,
        ..Dialect::default()
    };
    match outcome::classify(&as_answer(token_set), &dialect, now, &Spoken::from_texts([])) {
        Outcome::Granted(read) => api_key::token_set(service, read.access_token),
        other => Err(refused(format!("its api_key can't be used ({})", other.name()))),
    }
}

/// Bytes that were given, as if a service had answered them.
fn as_answer(token_set: &[u8]) -> Answer {
    Answer {
        status: 200,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: Zeroizing::new(token_set.to_vec()),
        complete: true,
    }
}

fn token_set_known(connection: &ConnectionId) -> Error {
    Error::Conflict {
        code: "token_set_known",
        detail: format!("connection {connection} has this token set"),
        hint: "use that one: two must not refresh one grant".into(),
    }
}

fn refused(detail: String) -> Error {
    Error::Refused {
        code: "token_set_refused",
        field: "token_set".into(),
        detail: format!("the token set is refused: {detail}"),
        hint: "one JSON object with access_token and, as far as they are known, refresh_token, \
               expires_at or expires_in, scope; or with api_key"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // proves: one-refresh-token-one-connection
    #[test]
    fn what_is_under_way_is_one_connections_and_forgotten_after_it() {
        let imports = Imports::default();
        let token = Fingerprint::from_bytes([7; 32]);
        let id = |text: &str| ConnectionId::new(text).unwrap();
        let (first, again) = (imports.reserve(token, &id("a")), imports.reserve(token, &id("a")));
        assert_eq!(imports.reserve(token, &id("b")).err(), Some(id("a")));
        drop(first);
        assert_eq!(
            imports.reserve(token, &id("b")).err(),
            Some(id("a")),
            "one is still on its way"
        );
        drop(again);
        assert!(imports.under_way.lock().unwrap().is_empty(), "nothing is kept of what is done");
        assert!(imports.reserve(token, &id("b")).is_ok());
    }
}
