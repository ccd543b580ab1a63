//! `indicia takeover`: a copied, restored or moved home refreshes from now on.

use serde_json::json;

use crate::failure::Failure;
use crate::home::{Cx, beside};
use crate::prompt;

/// Takes over; a person is asked first.
pub fn run(cx: &Cx) -> Result<(), Failure> {
    let taken = cx.block_on(async {
        let broker = cx.broker().await?;
        let question = "Is the original out of use? Two that refresh the same grants end them";
        let asks = broker.is_held().await && prompt::somebody_is_there();
        if asks && !beside(move || prompt::confirm(question)).await? {
            let hint = "nothing is changed: this home goes on sending nothing";
            return Err(Failure::failed("not_confirmed", "it wasn't confirmed", hint));
        }
        Ok(broker.take_over().await?)
    })?;
    if cx.out.json {
        return cx.out.document(&json!({ "taken_over": taken }));
    }
    cx.out.line(match taken {
        true => "taken over: this home refreshes its connections from now on",
        false => "nothing to take over: this home isn't held",
    })
}
