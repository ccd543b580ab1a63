//! `indicia recover`: reads kept answers again, and does what was left undone.

use serde_json::json;

use crate::failure::Failure;
use crate::home::Cx;

/// Recovers, then tries what is due.
pub fn run(cx: &Cx) -> Result<(), Failure> {
    if !cx.home_is_there() {
        if cx.out.json {
            return cx.out.document(&json!({ "recovered": [], "unreadable": [], "open": [] }));
        }
        return cx.out.line("nothing to recover: there is no home yet");
    }
    let report = cx.block_on(async {
        let broker = cx.broker().await?;
        Ok(cx.out.wait("reading kept answers", broker.recover()).await?)
    })?;
    if cx.out.json {
        return cx.out.document(&report);
    }
    for id in &report.recovered {
        cx.out.line(&format!("recovered    {id}"))?;
    }
    for (id, why) in &report.unreadable {
        cx.out.line(&format!("unreadable   {id}: {}", crate::words::shown(why)))?;
    }
    for id in &report.open {
        cx.out.line(&format!("still open   {id}: `indicia explain {id}` tells what is known"))?;
    }
    if report.recovered.is_empty() && report.unreadable.is_empty() && report.open.is_empty() {
        cx.out.line("nothing to recover")?;
    }
    Ok(())
}
