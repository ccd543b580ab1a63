//! `indicia refresh ID`: a new token now.

use indicia_broker::{Error, Force};

use crate::args::Refresh;
use crate::commands::connections;
use crate::failure::Failure;
use crate::home::Cx;

/// Refreshes, and shows the connection as it is then. The token itself isn't printed.
pub fn run(cx: &Cx, args: Refresh) -> Result<(), Failure> {
    if let Some(file) = args.demo_pause_after_keep {
        cx.pause_after_keep(file);
    }
    let force = if args.force { Force::Yes } else { Force::No };
    let (before, token, access, after) = cx.block_on(async {
        cx.must_be_there("connection", &args.id)?;
        let broker = cx.broker().await?;
        let before = broker.connection(&args.id).await?;
        let refreshed = broker.refresh(&args.id, force);
        let token = cx.out.wait("asking the service for a new token", refreshed).await?;
        let after = broker.connection(&args.id).await?;
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
            hint: format!("`indicia explain {}` tells more", args.id),
        }));
    }
    for warning in &token.warnings {
        cx.out.warning(&warning.detail);
    }
    connections::show(cx, &after, access)
}
