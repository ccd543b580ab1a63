//! Grants like one that is there, as many as are wanted: a store as large as those in use.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use indicia_broker::Ports;
use indicia_broker::model::{ConnectionId, ConnectionRow, GrantId, GrantRow};
use indicia_broker::ports::Store;
use indicia_broker::vault::{Field, Vault};
use zeroize::Zeroizing;

/// As many as the store takes into one transaction.
const CONNECTS_AT_ONCE: usize = 256;

/// A grant to be copied, opened.
pub struct Copies {
    vault: Vault,
    connection: ConnectionRow,
    grant: GrantRow,
    tokens: Zeroizing<Vec<u8>>,
}

impl Copies {
    /// Copies of what `id` is in the store of these ports.
    pub async fn of(ports: Ports, id: &str) -> Result<Self> {
        let Ports { store, root_key, random, clock, .. } = ports;
        let vault = Vault::open(Arc::clone(&store), root_key, random, clock.now()).await?;
        let found = store.connection(&ConnectionId::new(id)?).await?;
        let (connection, grant) = found.context("the world has connections")?;
        let field = Field::Tokens { grant: grant.id.as_str(), version: grant.version };
        let tokens = vault.unseal(field, &grant.tokens)?;
        Ok(Self { vault, connection, grant, tokens })
    }

    /// Adds one for each id, with tokens that can be opened, to a store under the same root key.
    pub async fn add(&self, store: &dyn Store, ids: &[String]) -> Result<()> {
        let mut waiting = FuturesUnordered::new();
        for id in ids {
            let new = grant_id(id)?;
            let field = Field::Tokens { grant: new.as_str(), version: self.grant.version };
            let tokens = self.vault.seal(field, &self.tokens);
            let grant = GrantRow { id: new, account: None, tokens, ..self.grant.clone() };
            let id = ConnectionId::new(id)?;
            let connection =
                ConnectionRow { id, grant: grant.id.clone(), ..self.connection.clone() };
            waiting.push(store.connect(connection, grant, None, Vec::new()));
            if waiting.len() >= CONNECTS_AT_ONCE {
                waiting.next().await.transpose()?;
            }
        }
        while waiting.next().await.transpose()?.is_some() {}
        Ok(())
    }
}

/// The id of a copy's grant, which its connection's number tells.
pub fn grant_id(connection: &str) -> Result<GrantId> {
    let number = connection.rsplit('-').next().unwrap_or_default();
    Ok(GrantId::new(&format!("{number:0>32}"))?)
}
