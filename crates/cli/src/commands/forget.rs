//! `indicia forget ID (--revoke | --keep-grant)`: removes a connection, and says what becomes of
//! its grant.

use indicia_broker::revoke::ForgetGrant;
use serde_json::json;

use crate::args::Forget;
use crate::commands::revoke;
use crate::failure::Failure;
use crate::home::Cx;

/// Removes it.
pub fn run(cx: &Cx, args: Forget) -> Result<(), Failure> {
    let grant = if args.revoke { ForgetGrant::Revoke } else { ForgetGrant::Keep };
    let forgotten = cx.block_on(async {
        cx.must_be_there("connection", &args.id)?;
        let broker = cx.broker().await?;
        let forget = broker.forget(&args.id, grant);
        Ok(cx.out.wait("telling the service", forget).await?)
    })?;
    if cx.out.json {
        return cx.out.document(&json!({
            "forgotten": args.id,
            "receipt": forgotten.receipt,
            "grant_kept_by": forgotten.grant_kept_by,
        }));
    }
    cx.out.line(&format!("connection {} is forgotten", args.id))?;
    match (&forgotten.receipt, forgotten.grant_kept_by.as_slice()) {
        (Some(receipt), _) => revoke::print(cx, receipt),
        (None, []) => {
            cx.out.line("its grant lives on at the service; nobody here holds it any more")
        }
        (None, others) => {
            cx.out.line(&format!("its grant lives on: {} keeps it", others.join(", ")))
        }
    }
}
