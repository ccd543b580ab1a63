//! `indicia forecast`: what will end, when and why.

use std::time::Duration;

use ics::properties::{Description, DtStart, Summary};
use ics::{Event, ICalendar, escape_text};
use indicia_broker::forecast::Ending;
use indicia_broker::view::rfc3339;
use indicia_oauth::Timestamp;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::args::Forecast;
use crate::commands::word;
use crate::failure::Failure;
use crate::home::Cx;
use crate::output::{now, when};
use crate::words::shown;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Looks ahead.
pub fn run(cx: &Cx, args: &Forecast) -> Result<(), Failure> {
    let until = now().plus(DAY * u32::from(args.days));
    let endings = match cx.home_is_there() {
        true => cx.block_on(async { Ok(cx.broker().await?.forecast(until).await?) })?,
        false => Vec::new(),
    };
    if args.ical {
        return cx.out.line(calendar(&endings).to_string().trim_end());
    }
    if cx.out.json {
        return cx.out.document(&json!({ "endings": endings }));
    }
    if endings.is_empty() {
        return cx.out.line(&format!("nothing ends within {} days", args.days));
    }
    let rows: Vec<Vec<String>> = endings
        .iter()
        .map(|e| {
            vec![when(e.at, now()), whose(e).to_owned(), e.detail.clone(), e.next_step.clone()]
        })
        .collect();
    cx.out.table(&["WHEN", "OF", "WHAT", "WHAT TO DO"], &rows)
}

/// The connection, else the client.
fn whose(ending: &Ending) -> &str {
    ending.connection.as_ref().or(ending.client.as_ref()).unwrap_or(&ending.service)
}

/// One event an ending. Its identity stays the same from one forecast to the next.
fn calendar(endings: &[Ending]) -> ICalendar<'static> {
    let mut calendar = ICalendar::new("2.0", "-//Indicia//forecast//EN");
    let stamp = basic(now());
    for ending in endings {
        let whose = whose(ending);
        let at = basic(ending.at);
        let same = format!("{} {whose} {}", word(&ending.kind), ending.detail);
        let uid = format!("{:x}@indicia", Sha256::digest(same));
        let mut event = Event::new(uid, stamp.clone());
        event.push(DtStart::new(at));
        let summary = format!("{}: {}", shown(whose), shown(&ending.detail));
        event.push(Summary::new(escape_text(summary)));
        event.push(Description::new(escape_text(shown(&ending.next_step))));
        calendar.add_event(event);
    }
    calendar
}

/// A moment as calendars spell it (RFC 5545 §3.3.5): RFC 3339 without its marks.
fn basic(at: Timestamp) -> String {
    rfc3339(at).replace(['-', ':'], "")
}
