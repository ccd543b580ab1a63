//! `indicia forget ID (--revoke | --keep-grant)`: removes a connection, and says what becomes of
//! its grant.

use indicia_broker::Broker;
use indicia_broker::revoke::{ForgetGrant, Selector, Shared};
use indicia_broker::view::ConnectionState;
use serde_json::json;

use crate::args::Forget;
use crate::commands::revoke;
use crate::failure::Failure;
use crate::home::Cx;

/// Removes it.
pub fn run(cx: &Cx, args: Forget) -> Result<(), Failure> {
    let (before, forgotten) = cx.block_on(async {
        cx.must_be_there("connection", &args.id)?;
        let broker = cx.broker().await?;
        let before = broker.connection(&args.id).await?;
        let grant = grant(&broker, &args).await?;
        let forget = broker.forget(&args.id, grant);
        let forgotten = cx.out.wait("telling the service", forget).await?;
        if args.revoke {
            cx.do_what_is_due().await;
        }
        Ok((before, forgotten))
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
        (None, []) if before.state == ConnectionState::Revoked => {
            cx.out.line("its grant was taken back before")
        }
        (None, []) if before.state == ConnectionState::ReauthorizationRequired => {
            cx.out.line("its grant had ended before")
        }
        (None, []) => {
            cx.out.line("its grant lives on at the service; nobody here holds it any more")
        }
        (None, others) => {
            cx.out.line(&format!("its grant lives on: {} keeps it", others.join(", ")))
        }
    }
}

/// What becomes of the grant; asks where others would end with it.
async fn grant(broker: &Broker, args: &Forget) -> Result<ForgetGrant, Failure> {
    if args.keep_grant {
        return Ok(ForgetGrant::Keep);
    }
    if args.shared {
        return Ok(ForgetGrant::RevokeShared);
    }
    let what = Selector::Connections(vec![args.id.clone()]);
    Ok(match revoke::ask(broker, &what, revoke::Bulk::No).await? {
        Shared::Allow => ForgetGrant::RevokeShared,
        Shared::Refuse => ForgetGrant::Revoke,
    })
}
