//! Clients: applications as registered in a service's developer portal, and their secrets.

use std::collections::BTreeMap;
use std::sync::Arc;

use indicia_catalog::service::Origin;
use indicia_catalog::{ClientKind, Service};
use indicia_oauth::{ClientSecret, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::Broker;
use crate::client_key::{ClientKey, PublicKey};
use crate::error::Error;
use crate::model::{
    ClientId, ClientRow, Environment, Event, EventKind, GrantsRefused, SecretRow, SecretState,
};
use crate::vault::Field;
use crate::view::{ClientView, SecretView};

/// Longest `client_id` and secret that are taken, in bytes.
const CREDENTIAL_BYTES_MAX: usize = 4096;

/// A client to add.
#[derive(Default)]
pub struct NewClient {
    /// Catalogue id.
    pub service: String,
    /// Our id; the service's, then with -2, -3, where none is given.
    pub id: Option<String>,
    /// The service's client identifier.
    pub client_id: Option<String>,
    /// Its secret; none for a public client.
    pub secret: Option<ClientSecret>,
    /// The secret's last day, where known.
    pub secret_expires_at: Option<Timestamp>,
    /// Kind; the service's usual one where none is given.
    pub kind: Option<ClientKind>,
    /// Redirect URI; by the service's rule where none is given.
    pub redirect_uri: Option<String>,
    /// Client-level inputs.
    pub inputs: BTreeMap<String, String>,
    /// Settings.
    pub settings: BTreeMap<String, String>,
    /// Live or sandbox.
    pub environment: Environment,
}

fn refused(field: &str, detail: impl Into<String>, hint: impl Into<String>) -> Error {
    Error::Refused {
        code: "input_refused",
        field: field.to_owned(),
        detail: detail.into(),
        hint: hint.into(),
    }
}

impl Broker {
    /// Adds a client. Works offline, save for a service file that leaves its endpoints to the
    /// issuer's metadata.
    ///
    /// # Errors
    /// An unknown service, a refused field (each named), a taken id.
    pub async fn add_client(&self, new: NewClient) -> Result<ClientView, Error> {
        let service = self.service(&new.service)?;
        let kind = self.check_new(&new, &service)?;
        let id = match &new.id {
            Some(id) => ClientId::new(id)
                .map_err(|e| refused("id", e.to_string(), "choose another with --id"))?,
            None => self.free_client_id(&service.id).await?,
        };
        let redirect_uri = match new.redirect_uri {
            Some(uri) => checked_redirect(&uri)?,
            None => service.redirect.default_uri(id.as_str(), self.settings.callback_port),
        };
        let now = self.ports.clock.now();
        let secrets = match &new.secret {
            Some(secret) => {
                let expires = new.secret_expires_at;
                vec![self.secret_row(
                    (&id, &service),
                    1,
                    SecretState::Current,
                    secret,
                    expires,
                    None,
                    now,
                )?]
            }
            None => Vec::new(),
        };
        let row = ClientRow {
            id: id.clone(),
            service: service.id.clone(),
            client_id: new.client_id.unwrap_or_default(),
            kind,
            redirect_uri,
            inputs: new.inputs,
            settings: new.settings,
            environment: new.environment,
            secrets,
            refused: None,
            grants_refused: GrantsRefused::default(),
            created_at: now,
            revision: 1,
        };
        let row = self.pinned(row).await?;
        let event = client_event(&row, EventKind::ClientAdded, now);
        if self.ports.store.add_client(row.clone(), vec![event]).await? {
            Ok(self.client_view(&row))
        } else {
            Err(Error::Conflict {
                code: "id_taken",
                detail: format!("there is a client {id} already"),
                hint: "choose another with --id".into(),
            })
        }
    }

    /// With the endpoints that the issuer's metadata tells, where the service file leaves them to
    /// it.
    async fn pinned(&self, row: ClientRow) -> Result<ClientRow, Error> {
        let bound = self.bind(row, &BTreeMap::new())?;
        let pins = self.pins(&bound).await?;
        let mut row = Arc::unwrap_or_clone(bound.client);
        row.settings.extend(pins);
        Ok(row)
    }

    /// Checks every field; the client's kind.
    fn check_new(&self, new: &NewClient, service: &Service) -> Result<ClientKind, Error> {
        if !service.registers() {
            return self.check_unregistered(new, service);
        }
        let kind = kind_of(new, &service.client_kinds)?;
        let client_id = new.client_id.as_deref().unwrap_or_default();
        check_credential("client-id", client_id)?;
        if client_id.is_empty() {
            let hint = format!("`indicia services show {}` says where it stands", service.id);
            return Err(refused("client-id", "a client ID is needed", hint));
        }
        if kind == ClientKind::Confidential && new.secret.is_none() {
            return Err(refused(
                "secret",
                format!("a confidential client of {} needs its client secret", service.name),
                "give it with --secret-stdin, or at the prompt",
            ));
        }
        // RFC 6749 §2.1: one or the other, or a leak would turn on what nobody looks at.
        if kind == ClientKind::Public && new.secret.is_some() {
            return Err(refused(
                "secret",
                "a public client has no client secret",
                "leave the secret out, or add it as a confidential client",
            ));
        }
        self.check_rest(new, service)?;
        Ok(kind)
    }

    /// What doesn't depend on who proves himself.
    fn check_rest(&self, new: &NewClient, service: &Service) -> Result<(), Error> {
        if let Environment::Sandbox { address } = &new.environment
            && !Environment::is_loopback(address)
        {
            let detail = format!("{address:?} is not a loopback address with a port");
            return Err(refused(
                "sandbox",
                detail,
                "give the address that `indicia sandbox` shows",
            ));
        }
        for (name, value) in &new.settings {
            service.check_setting(name, value).map_err(|e| {
                let hint = format!("`indicia services show {}` lists its settings", service.id);
                refused(name, e.to_string(), hint)
            })?;
        }
        self.check_inputs(service, &new.inputs)
    }

    /// Where there are API keys alone, no application is registered: a client is a name for them.
    fn check_unregistered(&self, new: &NewClient, service: &Service) -> Result<ClientKind, Error> {
        let said = new.client_id.as_ref().is_some_and(|id| !id.is_empty()) || new.secret.is_some();
        if said {
            let detail = format!("no application is registered at {}", service.name);
            let hint = format!("the key goes to `indicia connect {}`, not here", service.id);
            return Err(refused("client-id", detail, hint));
        }
        self.check_rest(new, service)?;
        kind_of(new, &service.client_kinds)
    }

    fn check_inputs(
        &self,
        service: &Service,
        inputs: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let hint = format!("`indicia services show {}` lists its inputs", service.id);
        for (name, value) in inputs {
            service
                .check_input(name, value)
                .map_err(|e| refused(name, e.to_string(), hint.clone()))?;
        }
        let missing = service.inputs.iter().find(|i| {
            i.level == indicia_catalog::template::Level::Client
                && i.from == indicia_catalog::template::InputFrom::User
                && i.default.is_none()
                && !i.optional
                && !inputs.contains_key(&i.name)
        });
        match missing {
            Some(input) => Err(Error::Refused {
                code: "input_missing",
                field: input.name.clone(),
                detail: format!("{} needs the input {}: {}", service.name, input.name, input.help),
                hint: format!("give it, for example --input {}={}", input.name, input.example),
            }),
            None => Ok(()),
        }
    }

    async fn free_client_id(&self, service: &str) -> Result<ClientId, Error> {
        for n in 1.. {
            let text = if n == 1 { service.to_owned() } else { format!("{service}-{n}") };
            let id = ClientId::new(&text)
                .map_err(|e| refused("id", e.to_string(), "choose one with --id"))?;
            if self.ports.store.client(&id).await?.is_none() {
                return Ok(id);
            }
        }
        Err(Error::Internal("ran out of numbers".into()))
    }

    #[expect(clippy::too_many_arguments, reason = "each is one column of the row")]
    fn secret_row(
        &self,
        (client, service): (&ClientId, &Service),
        n: u32,
        state: SecretState,
        secret: &ClientSecret,
        expires_at: Option<Timestamp>,
        for_input: Option<String>,
        now: Timestamp,
    ) -> Result<SecretRow, Error> {
        let key = self.checked_secret(service, secret)?;
        let field = Field::ClientSecret { client: client.as_str(), n };
        let sealed = Some(self.vault.seal(field, secret.expose().as_bytes()));
        Ok(SecretRow { n, state, sealed, added_at: now, expires_at, for_input, key })
    }

    /// Checks a secret's form; the public part of one that is a private key.
    fn checked_secret(
        &self,
        service: &Service,
        secret: &ClientSecret,
    ) -> Result<Option<PublicKey>, Error> {
        let name = &service.name;
        if ClientKey::is_one(secret) {
            let Some(rule) = &service.client_keys else {
                let detail = format!("this is a private key, and {name} takes none");
                return Err(refused("secret", detail, "give the client secret that it shows"));
            };
            let hint = "`--generate-key` makes one, or `openssl genpkey`";
            let key = ClientKey::read(secret).map_err(|why| refused("secret", why, hint))?;
            let public = key.public().map_err(|why| refused("secret", why, hint))?;
            if !rule.algorithms.contains(&public.algorithm) {
                let known: Vec<_> = rule.algorithms.iter().map(|known| known.name()).collect();
                let by = public.algorithm.name();
                let detail = format!("{name} takes keys for {}, not {by}", known.join(", "));
                return Err(refused("secret", detail, hint));
            }
            return Ok(Some(public));
        }
        if service.client_keys.as_ref().is_some_and(|rule| rule.only) {
            let detail = format!("{name} takes a private key, and no client secret");
            return Err(refused("secret", detail, "--generate-key makes one"));
        }
        check_credential("secret", secret.expose())?;
        if secret.expose().is_empty() {
            return Err(refused(
                "secret",
                "the client secret is empty",
                "give it on standard input",
            ));
        }
        Ok(None)
    }

    /// All clients, by id.
    ///
    /// # Errors
    /// The store's.
    pub async fn clients(&self) -> Result<Vec<ClientView>, Error> {
        Ok(self.ports.store.clients().await?.iter().map(|row| self.client_view(row)).collect())
    }

    /// One client.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn client(&self, id: &str) -> Result<ClientView, Error> {
        Ok(self.client_view(&self.client_named(id).await?))
    }

    fn client_view(&self, row: &ClientRow) -> ClientView {
        view(row, self.overridden(&row.service))
    }

    /// The user's own file that takes a shipped service's place.
    pub(crate) fn overridden(&self, service: &str) -> Option<String> {
        match &self.catalogue.service(service)?.origin {
            Origin::Overrides(path) => Some(path.display().to_string()),
            Origin::Shipped | Origin::Own(_) => None,
        }
    }

    pub(crate) async fn client_named(&self, id: &str) -> Result<ClientRow, Error> {
        match ClientId::new(id) {
            Ok(key) => self.client_row(&key).await,
            Err(_) => Err(Error::NotFound { what: "client", id: id.into(), nearest: Vec::new() }),
        }
    }

    /// Changes settings of a client; an empty value goes back to what the service has by default.
    ///
    /// # Errors
    /// [`Error::Refused`]: a setting that the service doesn't know, or a value that it can't have.
    pub async fn set_client(
        &self,
        id: &str,
        settings: &BTreeMap<String, String>,
    ) -> Result<ClientView, Error> {
        loop {
            let mut row = self.client_named(id).await?;
            let service = self.service(&row.service)?;
            for (name, value) in settings {
                // A pinned endpoint is nobody's to take away.
                if value.is_empty() && !name.contains('.') {
                    row.settings.remove(name);
                    continue;
                }
                service.check_setting(name, value).map_err(|e| {
                    let hint = format!("`indicia services show {}` lists its settings", service.id);
                    refused(name, e.to_string(), hint)
                })?;
                row.settings.insert(name.clone(), value.clone());
            }
            row.revision += 1;
            let event = client_event(&row, EventKind::ClientChanged, self.ports.clock.now());
            if self.ports.store.update_client(row.clone(), vec![event]).await? {
                self.cache.client_changed();
                return Ok(self.client_view(&row));
            }
        }
    }

    /// Removes a client that no connection uses.
    ///
    /// # Errors
    /// [`Error::Conflict`] while connections use it.
    pub async fn remove_client(&self, id: &str) -> Result<(), Error> {
        let row = self.client_named(id).await?;
        let event = client_event(&row, EventKind::ClientRemoved, self.ports.clock.now());
        let removed = self.ports.store.remove_client(&row.id, vec![event]).await?;
        self.cache.client_changed();
        match removed {
            None => Ok(()),
            Some(n) => Err(Error::Conflict {
                code: "client_in_use",
                detail: format!("{n} connection(s) use client {id}"),
                hint: format!("first `indicia revoke --client {id}`, then `indicia forget` each"),
            }),
        }
    }

    /// Adds a secret as `staged`: used when the current one is refused, or once promoted. One that
    /// is there already stays the only one of its kind: what was refused with it stays refused.
    ///
    /// # Errors
    /// A public client has none.
    pub async fn add_secret(
        &self,
        client: &str,
        secret: ClientSecret,
        expires_at: Option<Timestamp>,
        for_input: Option<String>,
    ) -> Result<ClientView, Error> {
        loop {
            let mut row = self.client_named(client).await?;
            if row.kind == ClientKind::Public {
                let hint = "a public client keeps no secret (RFC 6749 §2.1)";
                return Err(refused("secret", format!("client {client} is public"), hint));
            }
            let now = self.ports.clock.now();
            if let Some(known) = self.same_secret(&row, &secret, for_input.as_deref()) {
                let known = &mut row.secrets[known];
                known.expires_at = expires_at.or(known.expires_at);
                if self.change_secrets(&mut row, now).await? {
                    return Ok(self.client_view(&row));
                }
                continue;
            }
            let n = row.secrets.iter().map(|s| s.n).max().unwrap_or(0) + 1;
            let first = !row.secrets.iter().any(|s| s.state == SecretState::Current);
            let state = if first { SecretState::Current } else { SecretState::Staged };
            let input = for_input.clone();
            let owner = (&row.id, &*self.service(&row.service)?);
            let new = self.secret_row(owner, n, state, &secret, expires_at, input, now)?;
            row.secrets.push(new);
            if self.change_secrets(&mut row, now).await? {
                return Ok(self.client_view(&row));
            }
        }
    }

    /// The place of this very secret among a client's, if it is there.
    fn same_secret(
        &self,
        client: &ClientRow,
        secret: &ClientSecret,
        for_input: Option<&str>,
    ) -> Option<usize> {
        let digest = Sha256::digest(secret.expose());
        client.secrets.iter().position(|row| {
            // One that can't be opened any more is no match, and no reason to refuse another.
            let known = self.open_secret(client, Some(row)).ok().and_then(|known| known.secret);
            row.for_input.as_deref() == for_input
                && known.is_some_and(|known| Sha256::digest(known.expose()) == digest)
        })
    }

    /// Makes a secret the current one; the one before retires.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such secret or it is retired.
    pub async fn promote_secret(&self, client: &str, n: u32) -> Result<ClientView, Error> {
        loop {
            let mut row = self.client_named(client).await?;
            if !row.secrets.iter().any(|s| s.n == n && s.sealed.is_some()) {
                let nearest = row.secrets.iter().map(|s| s.n.to_string()).collect();
                return Err(Error::NotFound { what: "client secret", id: n.to_string(), nearest });
            }
            make_current(&mut row.secrets, n);
            let now = self.ports.clock.now();
            if self.change_secrets(&mut row, now).await? {
                return Ok(self.client_view(&row));
            }
        }
    }

    /// Never uses a secret again, and wipes it from the store.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such secret; [`Error::Conflict`] for the current one.
    pub async fn retire_secret(&self, client: &str, n: u32) -> Result<ClientView, Error> {
        loop {
            let mut row = self.client_named(client).await?;
            let nearest = row.secrets.iter().map(|s| s.n.to_string()).collect();
            let Some(secret) = row.secrets.iter_mut().find(|s| s.n == n) else {
                return Err(Error::NotFound { what: "client secret", id: n.to_string(), nearest });
            };
            match secret.state {
                SecretState::Retired => return Ok(self.client_view(&row)),
                SecretState::Current => return Err(still_current(client, n)),
                SecretState::Staged | SecretState::Retiring => {}
            }
            secret.state = SecretState::Retired;
            secret.sealed = None;
            let now = self.ports.clock.now();
            if self.change_secrets(&mut row, now).await? {
                return Ok(self.client_view(&row));
            }
        }
    }

    /// A change of secrets ends the wait after a refusal: what is new is tried at once.
    async fn change_secrets(&self, row: &mut ClientRow, now: Timestamp) -> Result<bool, Error> {
        if let Some(refused) = &mut row.refused {
            refused.retry_at = now;
        }
        row.revision += 1;
        let event = client_event(row, EventKind::ClientSecretChanged, now);
        let changed = self.ports.store.update_client(row.clone(), vec![event]).await?;
        self.cache.client_changed();
        Ok(changed)
    }
}

fn still_current(client: &str, n: u32) -> Error {
    Error::Conflict {
        code: "secret_current",
        detail: format!("secret {n} of client {client} is the current one"),
        hint: format!(
            "first the new one: `indicia clients secrets {client} add`, then `promote N`, then retire \
             this one"
        ),
    }
}

/// Makes secret `n` current and the one before it (of the same input value) retiring.
pub(crate) fn make_current(secrets: &mut [SecretRow], n: u32) {
    let input = secrets.iter().find(|s| s.n == n).and_then(|s| s.for_input.clone());
    for secret in secrets {
        if secret.n == n {
            secret.state = SecretState::Current;
        } else if secret.state == SecretState::Current && secret.for_input == input {
            secret.state = SecretState::Retiring;
        }
    }
}

fn kind_of(new: &NewClient, kinds: &[ClientKind]) -> Result<ClientKind, Error> {
    let usual = kinds.first().copied().unwrap_or(ClientKind::Confidential);
    let kind = new.kind.unwrap_or(usual);
    if kinds.is_empty() || kinds.contains(&kind) {
        Ok(kind)
    } else {
        let known = if usual == ClientKind::Public { "public" } else { "confidential" };
        Err(refused(
            "kind",
            format!("{} has {known} clients only", new.service),
            "leave out --kind",
        ))
    }
}

fn check_credential(field: &str, text: &str) -> Result<(), Error> {
    if text.len() > CREDENTIAL_BYTES_MAX {
        let detail = format!("it is longer than {CREDENTIAL_BYTES_MAX} bytes");
        return Err(refused(field, detail, "check what was copied"));
    }
    if text.chars().any(char::is_control) {
        return Err(refused(field, "it has control characters", "check what was copied"));
    }
    Ok(())
}

/// A redirect URI that may be registered: absolute, no fragment; `http` on loopback only
/// (RFC 6749 §3.1.2, RFC 8252 §7.3).
fn checked_redirect(uri: &str) -> Result<String, Error> {
    let hint = "give the URI exactly as it is registered";
    let parsed = url::Url::parse(uri)
        .map_err(|_| refused("redirect-uri", format!("{uri:?} is not an absolute URL"), hint))?;
    if parsed.fragment().is_some() {
        return Err(refused("redirect-uri", "a redirect URI has no fragment", hint));
    }
    let loopback = matches!(parsed.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    if parsed.scheme() != "https" && !(parsed.scheme() == "http" && loopback) {
        let detail = "a redirect URI is https, or http on loopback";
        return Err(refused("redirect-uri", detail, hint));
    }
    Ok(uri.to_owned())
}

fn client_event(row: &ClientRow, kind: EventKind, at: Timestamp) -> Event {
    Event {
        kind,
        at,
        connection: None,
        client: Some(row.id.clone()),
        grant: None,
        facts: BTreeMap::from([("service".into(), row.service.clone())]),
    }
}

/// A client, as shown.
pub(crate) fn view(row: &ClientRow, overridden: Option<String>) -> ClientView {
    let secret = |s: &SecretRow| SecretView {
        n: s.n,
        state: s.state,
        added_at: s.added_at,
        expires_at: s.expires_at,
        key: s.key.clone(),
    };
    ClientView {
        id: row.id.to_string(),
        service: row.service.clone(),
        client_id: row.client_id.clone(),
        kind: row.kind,
        redirect_uri: row.redirect_uri.clone(),
        inputs: row.inputs.clone(),
        settings: row.settings.clone(),
        secrets: row.secrets.iter().map(secret).collect(),
        created_at: row.created_at,
        environment: row.environment.clone(),
        overridden,
        refused: row.refused.as_ref().map(|r| r.said.clone()),
    }
}
