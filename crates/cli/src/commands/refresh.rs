//! `indicia refresh ID`: a new token now; `--due`: all that is due, for cron or a timer.

use indicia_broker::duty::DutyReport;
use indicia_broker::{Error, Force};
use indicia_catalog::Flow;

use crate::args::Refresh;
use crate::commands::connections;
use crate::failure::Failure;
use crate::home::Cx;
use crate::output::now;

/// Refreshes, and shows the connection as it is then. The token itself isn't printed.
pub fn run(cx: &Cx, args: Refresh) -> Result<(), Failure> {
    if let Some(file) = args.demo_pause_after_keep {
        cx.pause_after_keep(file);
    }
    match args.id {
        Some(id) => one(cx, &id, args.force),
        None => due(cx),
    }
}

fn one(cx: &Cx, id: &str, force: bool) -> Result<(), Failure> {
    let force = if force { Force::Yes } else { Force::No };
    let (before, token, access, after) = cx.block_on(async {
        cx.must_be_there("connection", id)?;
        let broker = cx.broker().await?;
        let before = broker.connection(id).await?;
        let refreshed = broker.refresh(id, force);
        let token = cx.out.wait("asking the service for a new token", refreshed).await?;
        let after = broker.connection(id).await?;
        if after.version != before.version {
            cx.do_what_is_due().await;
        }
        Ok((before, token, connections::access(&broker, &after), after))
    })?;
    if after.version == before.version && !token.warnings.is_empty() {
        // The token at hand is good, but a new one is what was asked for.
        let details: Vec<_> = token.warnings.iter().map(|w| w.detail.clone()).collect();
        return Err(Failure::Broker(Error::Unavailable {
            code: "not_refreshed",
            detail: format!(
                "not refreshed, the token at hand is still good: {}",
                details.join("; ")
            ),
            retry_after: None,
            hint: format!("`indicia explain {id}` tells more"),
        }));
    }
    if after.flow == Flow::ApiKey && token.warnings.is_empty() {
        cx.out.remark("there is nothing to refresh: a key stays until it is replaced");
    }
    for warning in &token.warnings {
        cx.out.warning(&warning.detail);
    }
    connections::show(cx, &after, access)
}

/// Rounds until nothing is due any more. What a service didn't answer is due again later.
fn due(cx: &Cx) -> Result<(), Failure> {
    let mut all = DutyReport::default();
    if cx.home_is_there() {
        cx.block_on(async {
            let broker = cx.broker().await?;
            let counter = cx.out.counter("refreshed");
            loop {
                let round = broker.run_due().await?;
                let did = round.refreshed + round.failed + round.revoked + round.recovered;
                all.refreshed += round.refreshed;
                all.failed += round.failed;
                all.revoked += round.revoked;
                all.recovered += round.recovered;
                counter.set(all.refreshed as u64);
                if did == 0 || round.next_at.is_none_or(|at| at > now()) {
                    return Ok(());
                }
            }
        })?;
    }
    if cx.out.json {
        return cx.out.document(&all);
    }
    let DutyReport { refreshed, failed, revoked, recovered, .. } = all;
    cx.out.line(&format!("{refreshed} refreshed, {failed} not yet"))?;
    if revoked + recovered > 0 {
        cx.out.line(&format!("{revoked} revocations answered, {recovered} kept answers stored"))?;
    }
    Ok(())
}
