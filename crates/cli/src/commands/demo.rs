//! `indicia demo`: the whole life cycle, with nothing but this program.
//!
//! The sandbox runs in a thread and is spoken to over real HTTP; every command is a real process of
//! this same binary, on a home in a temporary folder. Surprise: nothing is taken on trust. Each row
//! of the table at the end is checked against what the simulated service itself recorded, not only
//! against what Indicia says of itself.

mod acts;
mod cast;
mod stage;

use indicia_catalog::Catalogue;
use serde::Serialize;
use serde_json::json;

use crate::args::Demo;
use crate::failure::Failure;
use crate::home::Cx;
use crate::output::Grade;
use crate::words::shown;
use cast::Cast;
use stage::Stage;

/// A row of the table.
#[derive(Debug, Serialize)]
pub struct Proven {
    /// The promise.
    what: &'static str,
    /// How it was shown, and what the service's record said.
    how: String,
    /// Whether it held.
    ok: bool,
}

/// Plays all of it.
pub fn run(cx: &Cx, args: Demo) -> Result<(), Failure> {
    // The shipped services alone: the user's own home has no part in this.
    let cast = Cast::of(&Catalogue::shipped())?;
    let mut stage = Stage::set(cx.out, cast)?;
    let mut proven = Vec::new();
    for (title, act) in acts::ACTS {
        stage.tell(&format!("\n{title}"));
        match act(&mut stage) {
            Ok(rows) => proven.extend(rows),
            // An act that can't go on proves nothing; the acts after it may still.
            Err(failure) => {
                let said = failure.said().map(|said| said.detail).unwrap_or_default();
                proven.push(Proven { what: title, how: said, ok: false });
            }
        }
    }
    if args.keep {
        let home = stage.keep();
        cx.out.say(&format!("the home is kept: {}", home.display()));
    }
    report(cx, &proven)
}

fn report(cx: &Cx, proven: &[Proven]) -> Result<(), Failure> {
    if cx.out.json {
        cx.out.document(&json!({ "proven": proven }))?;
    } else {
        cx.out.line("\nWhat was proven, by the services' own records:")?;
        for row in proven {
            let grade = cx.out.grade(if row.ok { Grade::Ok } else { Grade::Fail });
            cx.out.line(&format!("{grade}  {}", row.what))?;
            cx.out.line(&format!("      {}", shown(&row.how)))?;
        }
    }
    match proven.iter().filter(|row| !row.ok).count() {
        0 => Ok(()),
        n => Err(Failure::failed(
            "demo_failed",
            format!("{n} of {} did not hold", proven.len()),
            "this is a defect: please report it, with the output of `indicia demo --json`",
        )),
    }
}
