//! `indicia explain ID`: cause, evidence, next step.

use crate::args::Explain;
use crate::commands::word;
use crate::failure::Failure;
use crate::home::Cx;
use crate::output::{now, when};

/// Tells it.
pub fn run(cx: &Cx, args: Explain) -> Result<(), Failure> {
    let told = cx.block_on(async {
        cx.must_be_there("connection", &args.id)?;
        Ok(cx.broker().await?.explain(&args.id).await?)
    })?;
    if cx.out.json {
        return cx.out.document(&told);
    }
    let serving = match (told.serving, told.serving_until) {
        (true, Some(end)) => format!("a valid token, which ends {}", when(end, now())),
        (true, None) => "a valid token".to_owned(),
        (false, _) => "nothing".to_owned(),
    };
    cx.out.facts(&[
        ("connection", told.connection.clone()),
        ("state", word(&told.state)),
        ("serving", serving),
        ("code", told.code.as_ref().map(word).unwrap_or_default()),
        ("cause", told.cause.as_ref().map(word).unwrap_or_default()),
        ("summary", told.summary.clone()),
        ("evidence", told.evidence.join("\n")),
        ("next step", told.next_step.clone()),
    ])
}
