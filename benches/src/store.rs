//! What a refresh asks of the store: claim, intent, commit, by 64 tasks at once, beside raw
//! transactions of 64 rows on a table of as many rows, each as large.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicia::clock::SystemClock;
use indicia_broker::model::{GrantId, Intent, JournalId};
use indicia_broker::ports::{ClaimOutcome, CommitOutcome, NewTokens, Store};
use indicia_store::{Options, Sqlite};

use crate::copies::{Copies, grant_id};
use crate::figure::{Figure, Goal, Subject, compare};
use crate::raw::{ROWS_PER_COMMIT, Raw, row_bytes, scattered};
use crate::world::World;

const LEASE: Duration = Duration::from_secs(15);

/// Claim, intent and commit.
pub fn figures(world: &World, pairs: usize) -> Result<Vec<Figure>> {
    let home = world.folder().join("store-home");
    let ids = world.stored_ids();
    let store = world.runtime.block_on(filled(world, &home, &ids))?;
    let mut raw = Raw::new(world.folder(), &ids, row_bytes(&world.home())?)?;
    // From all over the table, as what is due is.
    let due: Vec<String> = scattered(&ids, 0).take(world.ids.len()).cloned().collect();
    let subject = Subject {
        what: "claim, intent and commit in the store, 64 in flight",
        baseline: "raw rusqlite, 64 rows a transaction",
        unit: "rows/s",
        goal: Goal::None,
    };
    let base = || raw.commits(Duration::from_millis(700));
    let ours = || {
        let started = Instant::now();
        world.runtime.block_on(all(&store, &due))?;
        Ok(due.len() as f64 / started.elapsed().as_secs_f64())
    };
    Ok(vec![compare(subject, pairs, base, ours)?])
}

/// A store of its own with grants like one of the world's, under these ids.
pub async fn filled(world: &World, home: &Path, ids: &[String]) -> Result<Arc<Sqlite>> {
    let ports = world.ports()?;
    let options = Options { create: true, ..Options::default() };
    let store = Sqlite::open(home, Arc::new(SystemClock), &options)?;
    for key in ports.store.data_keys().await? {
        store.add_data_key(key).await?;
    }
    for client in ports.store.clients().await? {
        store.add_client(client, Vec::new()).await?;
    }
    Copies::of(ports, &world.ids[0]).await?.add(store.as_ref(), ids).await?;
    Ok(store)
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
