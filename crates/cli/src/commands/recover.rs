//! `indicia recover`: reads kept answers again, and stores them.

use indicia_broker::model::RevocationItemState;
use indicia_broker::view::Receipt;
use serde::Serialize;

use crate::failure::Failure;
use crate::home::Cx;
use crate::words::shown;

/// What became of it, by connection.
#[derive(Debug, Default, Serialize)]
struct Recovered {
    recovered: Vec<String>,
    unreadable: Vec<(String, String)>,
    open: Vec<String>,
    /// Revocations that were pending: done now, still pending, or not to be done by us.
    revoked: Vec<String>,
    pending: Vec<String>,
    cannot: Vec<String>,
}

impl Recovered {
    fn revocations(&mut self, receipts: &[Receipt]) {
        for receipt in receipts {
            let is = |state| receipt.service.iter().any(|item| item.state == state);
            let list = match () {
                () if is(RevocationItemState::Pending) => &mut self.pending,
                () if is(RevocationItemState::Cannot) => &mut self.cannot,
                () => &mut self.revoked,
            };
            list.extend(receipt.connections.iter().cloned());
        }
    }

    fn is_empty(&self) -> bool {
        let lists = [&self.recovered, &self.open, &self.revoked, &self.pending, &self.cannot];
        self.unreadable.is_empty() && lists.iter().all(|list| list.is_empty())
    }
}

/// Recovers, then tries the revocations that are pending, due or not.
pub fn run(cx: &Cx) -> Result<(), Failure> {
    if !cx.home_is_there() {
        if cx.out.json {
            return cx.out.document(&Recovered::default());
        }
        return cx.out.line("nothing to recover: there is no home yet");
    }
    let report = cx.block_on(async {
        let broker = cx.broker().await?;
        let read = cx.out.wait("reading kept answers", broker.recover()).await?;
        let tried = cx.out.wait("telling the services", broker.try_revocations()).await?;
        let mut report = Recovered {
            recovered: read.recovered,
            unreadable: read.unreadable,
            open: read.open,
            ..Recovered::default()
        };
        report.revocations(&tried);
        Ok(report)
    })?;
    if cx.out.json {
        return cx.out.document(&report);
    }
    for id in &report.recovered {
        cx.out.line(&format!("recovered    {id}"))?;
    }
    for (id, why) in &report.unreadable {
        cx.out.line(&format!("unreadable   {id}: {}", shown(why)))?;
    }
    for id in &report.open {
        cx.out.line(&format!("still open   {id}: `indicia explain {id}` tells what is known"))?;
    }
    for id in &report.revoked {
        cx.out.line(&format!("revoked      {id}: the service has taken it back"))?;
    }
    for id in &report.pending {
        cx.out.line(&format!("pending      {id}: the service hasn't taken it back yet"))?;
    }
    for id in &report.cannot {
        cx.out.line(&format!("cannot       {id}: end it in the service's settings"))?;
    }
    if report.is_empty() {
        cx.out.line("nothing to recover")?;
    }
    Ok(())
}
