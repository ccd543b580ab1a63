//! `token()`: cache → store → verdict. Never waits for a refresh while a valid token is at hand,
//! save for a caller who asks for more validity than it has, and then not to its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicia_oauth::{Expiry, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::Broker;
use crate::committed::Committed;
use crate::end::Force;
use crate::end::{Behind, End};
use crate::error::Error;
use crate::lease::WAIT_MAX;
use crate::model::{
    ClientRow, ConnectionId, ConnectionRow, EventKind, GrantRow, Life, RotationOwner, grant_event,
};
use crate::schedule;
use crate::view::{TokenView, Warning};

/// A wait for a refresh ends this long before the token at hand does.
const WAIT_MARGIN: Duration = Duration::from_secs(2);

/// How many near names an error offers.
const NEAREST_MAX: usize = 3;

impl Broker {
    /// The token at hand, if it is cached, still good for `min_valid`, and nothing newer is known.
    /// Takes no lock that blocks, asks nobody, opens nothing.
    pub fn try_cached(
        self: &Arc<Self>,
        id: &str,
        min_valid: Option<Duration>,
    ) -> Option<Arc<TokenView>> {
        let ready = self.cache.get(id)?;
        let now = self.ports.clock.now();
        let need = schedule::effective_min_valid(&ready.facts, min_valid);
        if self.cache.is_stale(&ready) || !schedule::good_for(&ready.facts, need, now) {
            return None;
        }
        if self.settings.refresh_ahead
            && ready.next_at.is_some_and(|at| at <= now)
            && !ready.nudged.swap(true, Ordering::Relaxed)
        {
            self.nudge(&ready.grant, ready.view.version);
        }
        Some(Arc::clone(&ready.view))
    }

    /// A valid token of a connection.
    ///
    /// `min_valid`: how long it must stay valid; more than half its life is never asked for.
    /// Without it, what is good for 5 s more is given at once.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Reauthorization`] or [`Error::Revoked`] once no valid token is
    /// left; [`Error::Unavailable`] when none is at hand for now; [`Error::Store`].
    pub async fn token(
        self: &Arc<Self>,
        id: &str,
        min_valid: Option<Duration>,
    ) -> Result<Arc<TokenView>, Error> {
        if let Some(view) = self.try_cached(id, min_valid) {
            return Ok(view);
        }
        let served = match self.load(id).await {
            Ok((connection, grant)) => self.serve_row(&connection, grant, min_valid).await,
            Err(error) => Err(error),
        };
        match served {
            // Whichever look at the store failed: what is cached and good is served all the same.
            Err(error @ Error::Store { .. }) => self.serve_without_store(id, error),
            served => served,
        }
    }

    /// The API refused a token: if it is the current one, it counts as ended and is refreshed; if
    /// it isn't, the current one is given.
    ///
    /// `sha256_hex`: SHA-256 of the refused access token, hex.
    ///
    /// # Errors
    /// As [`Self::token`].
    pub async fn rejected(
        self: &Arc<Self>,
        id: &str,
        sha256_hex: &str,
    ) -> Result<Arc<TokenView>, Error> {
        let (connection, grant) = self.load(id).await?;
        let committed = Committed::load(&self.vault, grant.clone())?;
        // What signs is handed out as what it signed, and each time anew.
        let client = self.client_seen(&grant.client).await?;
        let signs = self.service(&client.service).is_ok_and(|service| service.api_jwt.is_some());
        let digest = Sha256::digest(committed.tokens().access_token.expose().as_bytes());
        if !signs && hex::encode(digest) != sha256_hex.to_ascii_lowercase() {
            return self.serve_row(&connection, grant, None).await;
        }
        let now = self.ports.clock.now();
        let mut event = grant_event(&grant, EventKind::Attention, now);
        event.facts.insert("rejected".into(), "by the API".into());
        let moved = !self.ports.store.reject(&grant.id, grant.version, now, vec![event]).await?;
        self.cache.touch(&grant.id);
        let grant = match moved {
            true => self.load(id).await?.1,
            false => self.ports.store.grant(&grant.id).await?.unwrap_or(grant),
        };
        self.serve_row(&connection, grant, None).await
    }

    /// A connection with its grant.
    pub(crate) async fn load(&self, id: &str) -> Result<(ConnectionRow, GrantRow), Error> {
        if let Ok(key) = ConnectionId::new(id)
            && let Some(found) = self.ports.store.connection(&key).await?
        {
            // mark: a-new-data-key-is-looked-for
            self.vault.know(found.1.tokens.key).await;
            return Ok(found);
        }
        let near = Box::pin(self.near_connections(id)).await?;
        Err(Error::NotFound { what: "connection", id: id.to_owned(), nearest: near })
    }

    async fn near_connections(&self, id: &str) -> Result<Vec<String>, Error> {
        let filter = crate::ports::ConnectionFilter::default();
        let prefix: String = id.chars().take(3).collect();
        let after = ConnectionId::new(&prefix).ok();
        let rows = self.ports.store.connections(&filter, after.as_ref(), 50).await?;
        let near = rows.iter().filter(|(c, _)| c.id.as_str().starts_with(&prefix));
        Ok(near.take(NEAREST_MAX).map(|(c, _)| c.id.to_string()).collect())
    }

    /// The store can't be read: what is cached and still valid is served all the same.
    fn serve_without_store(&self, id: &str, error: Error) -> Result<Arc<TokenView>, Error> {
        let now = self.ports.clock.now();
        match self.cache.get(id) {
            Some(ready)
                if !self.cache.is_stale(&ready)
                    && schedule::good_for(&ready.facts, Duration::from_millis(1), now) =>
            {
                let detail = format!("the store can't be read: {error}");
                Ok(Arc::new(with_warning(&ready.view, "store_unavailable", detail)))
            }
            _ => Err(error),
        }
    }

    async fn serve_row(
        self: &Arc<Self>,
        connection: &ConnectionRow,
        grant: GrantRow,
        min_valid: Option<Duration>,
    ) -> Result<Arc<TokenView>, Error> {
        if let Some(ahead) = self.flights.ahead_of(&grant.id, grant.version)
            && grant.state.life != Life::Revoked
            && serves(ahead.row(), self.ports.clock.now())
        {
            let client = self.client_seen(&grant.client).await?;
            return self.hand_out_committed(connection, &ahead, client, Behind::Yes);
        }
        let now = self.ports.clock.now();
        let need = schedule::effective_min_valid(&grant.facts, min_valid);
        let client = match grant.state.life {
            // Whether its client's secret is another one by now decides what may be tried.
            Life::Dead => Arc::new(self.client_row(&grant.client).await?),
            Life::Alive | Life::Revoked => self.client_seen(&grant.client).await?,
        };
        // mark: valid-token-served
        if grant.state.life != Life::Revoked && schedule::good_for(&grant.facts, need, now) {
            if self.settings.refresh_ahead && grant.next_at.is_some_and(|at| at <= now) {
                self.nudge(&grant.id, grant.version);
            }
            return self.hand_out(connection, grant, client);
        }
        if !may_refresh(&grant, &client, now) {
            let view = self.serve_as_it_is(connection, grant, client)?;
            return Ok(Arc::new(short(&view, min_valid)));
        }
        // Boxed: all that a flight needs would make the way to a token that is there carry it
        // along.
        Box::pin(self.fly_and_serve(connection, grant, client, min_valid, now)).await
    }

    async fn fly_and_serve(
        self: &Arc<Self>,
        connection: &ConnectionRow,
        grant: GrantRow,
        client: Arc<ClientRow>,
        min_valid: Option<Duration>,
        now: Timestamp,
    ) -> Result<Arc<TokenView>, Error> {
        let flight = self.fly(&grant.id, grant.version, Force::No);
        match tokio::time::timeout(wait_for(&grant, now), flight).await {
            Ok(end) => self.serve_end(connection, end, Some(grant)).await,
            Err(_) => {
                let view = self.serve_as_it_is(connection, grant, client)?;
                Ok(Arc::new(short(&view, min_valid)))
            }
        }
    }

    /// Serves how a flight ended; `before`: what there was, for when it ended without a token.
    pub(crate) async fn serve_end(
        self: &Arc<Self>,
        connection: &ConnectionRow,
        end: End,
        before: Option<GrantRow>,
    ) -> Result<Arc<TokenView>, Error> {
        match end {
            End::Committed(committed, behind) => {
                let client = self.client_seen(&committed.row().client).await?;
                self.hand_out_committed(connection, &committed, client, behind)
            }
            End::Row(row) => {
                let client = self.client_seen(&row.client).await?;
                self.serve_as_it_is(connection, (*row).clone(), client)
            }
            // Forgotten meanwhile.
            End::Failed(Error::NotFound { what: "grant", .. }) => Err(Error::NotFound {
                what: "connection",
                id: connection.id.to_string(),
                nearest: Vec::new(),
            }),
            End::Failed(error) => match before {
                Some(grant) => {
                    let client = self.client_seen(&grant.client).await?;
                    let now = self.ports.clock.now();
                    if serves(&grant, now) {
                        let view = self.hand_out(connection, grant, client)?;
                        Ok(Arc::new(with_warning(&view, error.code(), error.to_string())))
                    } else {
                        Err(error)
                    }
                }
                None => Err(error),
            },
        }
    }

    /// A token that is still valid is served, however its grant stands; else the grant's error.
    fn serve_as_it_is(
        self: &Arc<Self>,
        connection: &ConnectionRow,
        grant: GrantRow,
        client: Arc<ClientRow>,
    ) -> Result<Arc<TokenView>, Error> {
        if serves(&grant, self.ports.clock.now()) {
            self.hand_out(connection, grant, client)
        } else {
            Err(self.unserved(&connection.id, &grant, Some(&client)))
        }
    }

    fn hand_out(
        &self,
        connection: &ConnectionRow,
        grant: GrantRow,
        client: Arc<ClientRow>,
    ) -> Result<Arc<TokenView>, Error> {
        let committed = Committed::load(&self.vault, grant)?;
        self.hand_out_committed(connection, &committed, client, Behind::No)
    }

    fn hand_out_committed(
        &self,
        connection: &ConnectionRow,
        committed: &Committed,
        client: Arc<ClientRow>,
        behind: Behind,
    ) -> Result<Arc<TokenView>, Error> {
        let bound = self.bind(client, &committed.row().inputs)?;
        let ready = self.ready(&connection.id, committed, &bound, behind);
        let view = Arc::clone(&ready.view);
        self.cache.put(connection.id.as_str(), Arc::new(ready));
        Ok(view)
    }
}

/// Whether a token may be handed out at all: not ended, not refused, its grant not revoked.
fn serves(grant: &GrantRow, now: Timestamp) -> bool {
    grant.state.life != Life::Revoked
        && schedule::good_for(&grant.facts, Duration::from_millis(1), now)
}

/// Whether a flight could bring anything. A dead grant's may when the client's secret is another
/// one than was refused.
fn may_refresh(grant: &GrantRow, client: &ClientRow, now: Timestamp) -> bool {
    use crate::model::SecretState;
    if grant.rotation_owner == RotationOwner::Other {
        return false;
    }
    match grant.state.life {
        Life::Revoked => false,
        Life::Dead => {
            let refusals = &grant.state.refusals;
            let mut current = client.secrets.iter().filter(|s| s.state == SecretState::Current);
            !refusals.is_empty() && current.any(|s| refusals.iter().all(|r| r.secret_n != s.n))
        }
        Life::Alive => {
            // An open spend that nobody has noted as lost yet: its answer may be kept.
            let unresolved = grant.intent.is_some() && grant.state.ambiguity.is_none();
            unresolved || !schedule::still_waits(&grant.state, now)
        }
    }
}

/// How long a caller waits for a refresh: while the token at hand is good, at most until shortly
/// before its end.
fn wait_for(grant: &GrantRow, now: Timestamp) -> Duration {
    match grant.facts.expiry {
        Expiry::At(end) if end > now && !grant.facts.rejected => {
            end.minus(WAIT_MARGIN).since(now).min(WAIT_MAX)
        }
        _ => WAIT_MAX,
    }
}

/// The token at hand, said to be shorter than was wished.
fn short(view: &TokenView, wish: Option<Duration>) -> TokenView {
    match wish {
        Some(wish) => {
            let detail = format!("it is not valid for {} s more, as was asked", wish.as_secs());
            with_warning(view, "shorter_than_asked", detail)
        }
        None => view.copy(),
    }
}

fn with_warning(view: &TokenView, code: &str, detail: String) -> TokenView {
    let mut view = view.copy();
    view.warnings.push(Warning { code: code.to_owned(), detail });
    view
}
