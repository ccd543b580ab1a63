//! `indicia revoke`: takes grants back, and prints the receipt.

use indicia_broker::Broker;
use indicia_broker::revoke::{Selector, Shared};
use indicia_broker::view::Receipt;

use crate::args::Revoke;
use crate::commands::word;
use crate::failure::Failure;
use crate::home::{Cx, beside};
use crate::output::{now, when};
use crate::prompt;

/// Takes them back.
pub fn run(cx: &Cx, args: Revoke) -> Result<(), Failure> {
    let bulk = match args.client.is_some() || args.service.is_some() || args.label.is_some() {
        true => Bulk::Yes,
        false => Bulk::No,
    };
    let what = selector(cx, &args)?;
    let receipt = cx.block_on(async {
        let broker = cx.broker().await?;
        let shared = match (args.shared, args.yes) {
            (true, _) => Shared::Allow,
            (false, true) => Shared::Refuse,
            (false, false) => ask(&broker, &what, bulk).await?,
        };
        let revoked = broker.revoke(what, shared);
        let receipt = cx.out.wait("telling the service", revoked).await?;
        cx.do_what_is_due().await;
        Ok(receipt)
    })?;
    if cx.out.json {
        return cx.out.document(&receipt);
    }
    print(cx, &receipt)
}

fn selector(cx: &Cx, args: &Revoke) -> Result<Selector, Failure> {
    if let Some(id) = args.ids.first() {
        cx.must_be_there("connection", id)?;
        return Ok(Selector::Connections(args.ids.clone()));
    }
    if let Some(client) = &args.client {
        cx.must_be_there("client", client)?;
        return Ok(Selector::Client(client.clone()));
    }
    if let Some(service) = &args.service {
        return Ok(Selector::Service(service.clone()));
    }
    if let Some((key, value)) = &args.label {
        return Ok(Selector::Label(key.clone(), value.clone()));
    }
    Ok(Selector::Leaked(prompt::from_stdin("leaked token")?))
}

/// Whether many may be meant without being named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bulk {
    /// All of a client, a service, a label.
    Yes,
    /// Those that are named.
    No,
}

/// Asks where more ends than was named; where nobody can be asked, the engine refuses and names
/// them.
pub async fn ask(broker: &Broker, what: &Selector, bulk: Bulk) -> Result<Shared, Failure> {
    if !prompt::somebody_is_there() {
        return Ok(Shared::Refuse);
    }
    let plan = broker.revoke_plan(what).await?;
    if plan.shared_with.is_empty() && !(bulk == Bulk::Yes && plan.connections.len() > 1) {
        return Ok(Shared::Refuse);
    }
    let mut question = format!("this ends {}", counted(&plan.connections));
    if !plan.shared_with.is_empty() {
        question += &format!(", and with the same grant {}", counted(&plan.shared_with));
    }
    match beside(move || prompt::confirm(&format!("{question}. Go on?"))).await? {
        true => Ok(Shared::Allow),
        false => Err(Failure::failed("not_confirmed", "nothing was revoked", "")),
    }
}

/// Ids, and how many they are; of many the first.
fn counted(ids: &[String]) -> String {
    let named = ids.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match ids.len() {
        0 | 1 => named,
        n if n <= NAMED_MAX => format!("{n} connections: {named}"),
        n => format!("{n} connections: {named} and {} more", n - NAMED_MAX),
    }
}

/// The receipt as text.
pub fn print(cx: &Cx, receipt: &Receipt) -> Result<(), Failure> {
    let at = |moment| when(moment, now());
    cx.out.facts(&[
        ("receipt", receipt.id.clone()),
        ("connections", counted(&receipt.connections)),
        ("asked for", at(receipt.requested_at)),
        ("local use", receipt.local.to_owned()),
    ])?;
    let rows: Vec<Vec<String>> = receipt
        .service
        .iter()
        .map(|item| {
            vec![
                item.what.clone(),
                word(&item.state),
                item.call.clone().unwrap_or_default(),
                item.answer.clone().unwrap_or_default(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        cx.out.line("")?;
    }
    cx.out.table(&["AT THE SERVICE", "STATE", "CALL", "ANSWER"], &rows)?;
    for step in receipt.service.iter().filter_map(|item| item.next_step.as_ref()) {
        cx.out.line(&format!("next step: {}", crate::words::shown(step)))?;
    }
    if let Some(proof) = &receipt.proof {
        let probe = crate::words::shown(&proof.probe);
        cx.out.line(&format!("proof: {probe} was refused {}", at(proof.at)))?;
    }
    Ok(())
}

/// Ids that are named in a sentence.
const NAMED_MAX: usize = 20;
