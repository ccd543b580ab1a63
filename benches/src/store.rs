//! What a refresh asks of the store: claim, intent, commit, by 64 tasks at once, beside raw
//! transactions of 64 rows.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use indicia::clock::SystemClock;
use indicia_broker::model::{ConnectionId, ConnectionRow, GrantId, GrantRow, Intent, JournalId};
use indicia_broker::ports::{ClaimOutcome, CommitOutcome, NewTokens, Store};
use indicia_broker::vault::{Field, Vault};
use indicia_store::{Options, Sqlite};

use crate::figure::{Figure, Goal, Subject, compare};
use crate::raw::{ROWS_PER_COMMIT, Raw, row_bytes};
use crate::world::World;

const LEASE: Duration = Duration::from_secs(15);

/// As many as the store takes into one transaction.
const CONNECTS_AT_ONCE: usize = 256;

/// Claim, intent and commit.
pub fn figures(world: &World, pairs: usize) -> Result<Vec<Figure>> {
    let home = world.folder().join("store-home");
    let store = world.runtime.block_on(filled(world, &home, &world.ids))?;
    let mut raw = Raw::new(world.folder(), &world.ids, row_bytes(&world.home())?)?;
    let subject = Subject {
        what: "claim, intent and commit in the store, 64 in flight",
        baseline: "raw rusqlite, 64 rows a transaction",
        unit: "rows/s",
        goal: Goal::None,
    };
    let base = || raw.commits(Duration::from_millis(700));
    let ours = || {
        let started = Instant::now();
        world.runtime.block_on(all(&store, &world.ids))?;
        Ok(world.ids.len() as f64 / started.elapsed().as_secs_f64())
    };
    Ok(vec![compare(subject, pairs, base, ours)?])
}

/// A store of its own with grants like one of the world's, under these ids, each with tokens that
/// can be opened.
pub async fn filled(world: &World, home: &Path, ids: &[String]) -> Result<Arc<Sqlite>> {
    let ports = world.ports()?;
    let theirs = ports.store;
    let options = Options { create: true, ..Options::default() };
    let store = Sqlite::open(home, Arc::new(SystemClock), &options)?;
    for key in theirs.data_keys().await? {
        store.add_data_key(key).await?;
    }
    let now = ports.clock.now();
    let vault = Vault::open(store.as_ref(), ports.root_key.as_ref(), ports.random, now).await?;
    let one = theirs.connection(&ConnectionId::new(&world.ids[0])?).await?;
    let (connection, grant) = one.context("the world has connections")?;
    let client = theirs.client(&connection.client).await?.context("and a client")?;
    store.add_client(client, Vec::new()).await?;
    let field = Field::Tokens { grant: grant.id.as_str(), version: grant.version };
    let plain = vault.unseal(field, &grant.tokens)?;
    let mut waiting = FuturesUnordered::new();
    for id in ids {
        let new = grant_id(id)?;
        let field = Field::Tokens { grant: new.as_str(), version: grant.version };
        let tokens = vault.seal(field, &plain);
        let grant = GrantRow { id: new, account: None, tokens, ..grant.clone() };
        let id = ConnectionId::new(id)?;
        let connection = ConnectionRow { id, grant: grant.id.clone(), ..connection.clone() };
        waiting.push(store.connect(connection, grant, None, Vec::new()));
        if waiting.len() >= CONNECTS_AT_ONCE {
            waiting.next().await.transpose()?;
        }
    }
    while waiting.next().await.transpose()?.is_some() {}
    drop(waiting);
    Ok(store)
}

fn grant_id(id: &str) -> Result<GrantId> {
    Ok(GrantId::new(&format!("{:0>32}", id.trim_start_matches("account-")))?)
}

async fn all(store: &Arc<Sqlite>, ids: &[String]) -> Result<()> {
    let tasks = ids.chunks(ids.len().div_ceil(ROWS_PER_COMMIT)).map(|ids| {
        let (store, ids) = (Arc::clone(store), ids.to_vec());
        tokio::spawn(async move {
            for id in ids {
                one(store.as_ref(), &grant_id(&id)?).await?;
            }
            anyhow::Ok(())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    Ok(())
}

async fn one(store: &Sqlite, id: &GrantId) -> Result<()> {
    let ClaimOutcome::Claimed(claimed) = store.claim(id, LEASE).await? else {
        bail!("the lease is free");
    };
    let grant = claimed.grant;
    let intent = Intent {
        version: grant.version,
        fingerprint: grant.facts.access,
        journal: JournalId::new("bench")?,
        lease_no: claimed.lease_no,
        at: grant.created_at,
        sends: 1,
        begun_boot_ms: 0,
    };
    if !store.begin(id, intent).await? {
        bail!("the lease is ours");
    }
    let new = NewTokens {
        version: grant.version + 1,
        tokens: grant.tokens,
        facts: grant.facts,
        state: grant.state,
        next_at: grant.next_at,
        inputs: grant.inputs,
        account: None,
        asked: None,
        flow: None,
    };
    let lease = Some(claimed.lease_no);
    let outcome = store.commit(id, grant.version, lease, new, Vec::new()).await?;
    if !matches!(outcome, CommitOutcome::Done) {
        bail!("nobody else commits");
    }
    Ok(())
}
