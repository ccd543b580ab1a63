//! `indicia refresh ID`: a new token now.

use indicia_broker::Force;

use crate::args::Refresh;
use crate::commands::connections;
use crate::failure::Failure;
use crate::home::Cx;

/// Refreshes, and shows the connection as it is then. The token itself isn't printed.
pub fn run(cx: &Cx, args: Refresh) -> Result<(), Failure> {
    let force = if args.force { Force::Yes } else { Force::No };
    let (token, view) = cx.block_on(async {
        cx.must_be_there("connection", &args.id)?;
        let broker = cx.broker().await?;
        let refreshed = broker.refresh(&args.id, force);
        let token = cx
            .out
            .wait("asking the service for a new token", refreshed)
            .await?;
        Ok((token, broker.connection(&args.id).await?))
    })?;
    for warning in &token.warnings {
        cx.out.warning(&warning.detail);
    }
    connections::show(cx, &view)
}
