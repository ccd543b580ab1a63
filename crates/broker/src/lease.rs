//! Taking a grant's lease, or waiting for the commit or verdict of who has it.

use std::time::Duration;

use crate::Broker;
use crate::commit::{Claim, Taken};
use crate::error::Error;
use crate::model::{GrantId, GrantRow};

/// How long somebody waits for another's refresh.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);

/// First and longest pause between looks at a row that another is refreshing.
const LOOK_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// Every so many looks the lease itself is asked for: its holder may have died.
const LOOKS_PER_CLAIM: u32 = 4;

pub(crate) enum Lease {
    Ours(Box<Claim>),
    Moved(Box<GrantRow>),
}

/// Takes the lease, or waits for the commit or verdict of who has it.
pub(crate) async fn lease(broker: &Broker, id: &GrantId, seen: u64) -> Result<Lease, Error> {
    let started = tokio::time::Instant::now();
    let mut pause = LOOK_PAUSES.0;
    let mut looks = 0;
    let mut until = 0;
    #[cfg(feature = "mutants")]
    let before = broker.ports.store.grant(id).await?;
    loop {
        if looks % LOOKS_PER_CLAIM == 0 || broker.ports.clock.boot_millis() >= until {
            match Claim::take(broker, id).await? {
                #[cfg(feature = "mutants")]
                Taken::Claim(mut claim) if !broker.guards().recheck => {
                    if let Some(before) = before {
                        claim.look_away(before);
                    }
                    return Ok(Lease::Ours(claim));
                }
                Taken::Claim(claim) => return Ok(Lease::Ours(claim)),
                Taken::Busy { until_boot_ms } => until = until_boot_ms,
                Taken::Missing => return Err(gone(id)),
            }
        }
        if started.elapsed() > WAIT_MAX {
            return Err(busy());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_PAUSES.1);
        looks += 1;
        match broker.ports.store.grant(id).await? {
            Some(row) if row.version > seen && broker.guards().recheck => {
                broker.vault.know(row.tokens.key).await;
                return Ok(Lease::Moved(Box::new(row)));
            }
            Some(row) if row.lease.is_none() => until = 0,
            Some(_) => {}
            None => return Err(gone(id)),
        }
    }
}

pub(crate) fn busy() -> Error {
    Error::Unavailable {
        code: "refresh_busy",
        detail: "another process is refreshing this connection".into(),
        retry_after: Some(Duration::from_secs(2)),
        hint: "try again; `indicia explain` tells more".into(),
    }
}

pub(crate) fn gone(id: &GrantId) -> Error {
    Error::NotFound { what: "grant", id: id.to_string(), nearest: Vec::new() }
}
