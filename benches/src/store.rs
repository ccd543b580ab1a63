//! What a refresh asks of the store: claim, intent, commit, by 64 tasks at once, beside raw
//! transactions of 64 rows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use indicia::clock::SystemClock;
use indicia_broker::model::{ConnectionId, ConnectionRow, GrantId, GrantRow, Intent, JournalId};
use indicia_broker::ports::{ClaimOutcome, CommitOutcome, NewTokens, Store};
use indicia_store::{Options, Sqlite};

use crate::figure::{Figure, Goal, Subject, compare};
use crate::raw::{ROWS_PER_COMMIT, Raw};
use crate::world::World;

const LEASE: Duration = Duration::from_secs(15);

/// Claim, intent and commit.
pub fn figures(world: &World, pairs: usize) -> Result<Vec<Figure>> {
    let store = world.runtime.block_on(filled(world))?;
    let mut raw = Raw::new(world.folder(), &world.ids, world.row_bytes()?)?;
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

/// A store with the grants of the world's, under names that can be told from a number.
async fn filled(world: &World) -> Result<Arc<Sqlite>> {
    let theirs = world.ports()?.store;
    let options = Options { create: true, ..Options::default() };
    let home = world.folder().join("store-home");
    let store = Sqlite::open(&home, Arc::new(SystemClock), &options)?;
    let one = theirs.connection(&ConnectionId::new(&world.ids[0])?).await?;
    let (connection, grant) = one.context("the world has connections")?;
    let client = theirs.client(&connection.client).await?.context("and a client")?;
    store.add_client(client, Vec::new()).await?;
    for id in &world.ids {
        let grant = GrantRow { id: grant_id(id)?, account: None, ..grant.clone() };
        let id = ConnectionId::new(id)?;
        let connection = ConnectionRow { id, grant: grant.id.clone(), ..connection.clone() };
        store.connect(connection, grant, Vec::new()).await?;
    }
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
    };
    let lease = Some(claimed.lease_no);
    let outcome = store.commit(id, grant.version, lease, new, Vec::new()).await?;
    if !matches!(outcome, CommitOutcome::Done(_)) {
        bail!("nobody else commits");
    }
    Ok(())
}
