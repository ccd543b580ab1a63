//! `indicia import CLIENT`: takes over token sets that were obtained elsewhere.
//!
//! Surprise: a line that is refused doesn't stop the rest; the exit status tells that there was
//! one.

use std::io::{BufRead as _, Read as _};
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use indicia_broker::import::{IMPORT_BYTES_MAX, ImportRequest, Imported};
use indicia_broker::model::RotationOwner;
use indicia_broker::{Broker, Error};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::args::{Import, OwnerName};
use crate::commands::connect::key::client_of_its_own;
use crate::failure::Failure;
use crate::home::Cx;

/// Token sets that are on their way to the store at once: twice what it writes in one go, so that
/// the next are read meanwhile.
const AT_ONCE: usize = 4096;

/// A line is rarely longer.
const LINE_BYTES_USUAL: usize = 8 * 1024;

/// Refused lines that are told one by one.
const TOLD_MAX: usize = 20;

/// Takes over what comes on standard input.
pub fn run(cx: &Cx, args: Import) -> Result<(), Failure> {
    // Of a service that has keys alone the client is made along.
    if cx.catalogue()?.service(&args.client).is_none_or(|service| service.registers()) {
        cx.must_be_there("client", &args.client)?;
    }
    let request = ImportRequest {
        client: args.client,
        id: args.id,
        owner: match args.rotation_owner {
            OwnerName::Indicia => RotationOwner::Indicia,
            OwnerName::Other => RotationOwner::Other,
        },
        one_of_many: args.jsonl,
    };
    match args.jsonl {
        true => many(cx, &request),
        false => one(cx, &request),
    }
}

fn one(cx: &Cx, request: &ImportRequest) -> Result<(), Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(IMPORT_BYTES_MAX + 1));
    // One more than may be: what is longer is refused, not cut.
    std::io::stdin().lock().take(IMPORT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    let imported = cx.block_on(async {
        let broker = cx.broker().await?;
        let made = client_of_its_own(&broker, &request.client).await?;
        let doing = broker.import(request, &bytes);
        let done = cx.out.wait("asking whose account it is", doing).await;
        if done.is_err() {
            made.undo(&broker).await;
        }
        Ok(done?)
    })?;
    let Imported { connection, changed } = imported;
    if cx.out.json {
        return cx.out.document(&connection);
    }
    if !changed {
        cx.out.note("it was imported before; nothing is changed");
    }
    cx.out.line(&connection.id)
}

/// What became of many.
#[derive(Default, Serialize)]
struct Report {
    imported: u64,
    unchanged: u64,
    refused: u64,
    /// The first of the refused ones.
    refusals: Vec<Refusal>,
}

#[derive(Serialize)]
struct Refusal {
    line: u64,
    code: &'static str,
    detail: String,
}

fn many(cx: &Cx, request: &ImportRequest) -> Result<(), Failure> {
    let report = cx.block_on(async {
        let broker = cx.broker().await?;
        let made = client_of_its_own(&broker, &request.client).await?;
        let counter = cx.out.counter("imported");
        let mut report = Report::default();
        let mut on_the_way = FuturesUnordered::new();
        let mut input = std::io::stdin().lock();
        let mut n = 0;
        while let Some(line) = next_line(&mut input)? {
            n += 1;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            on_the_way.push(import_line(&broker, request, n, line));
            if on_the_way.len() >= AT_ONCE
                && let Some(done) = on_the_way.next().await
            {
                note(&mut report, done)?;
                counter.set(report.imported + report.unchanged);
            }
        }
        while let Some(done) = on_the_way.next().await {
            note(&mut report, done)?;
        }
        if report.imported + report.unchanged == 0 {
            made.undo(&broker).await;
        }
        Ok(report)
    })?;
    tell(cx, &report)
}

/// A line without its end; none at the end of the input. Of what is longer than may be, as much as
/// shows that.
pub(crate) fn next_line(
    input: &mut impl std::io::BufRead,
) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
    // Room for a usual one at once: a buffer that grows leaves copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_BYTES_USUAL));
    let taken = input.by_ref().take(IMPORT_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
    if taken == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') && taken > IMPORT_BYTES_MAX {
        input.skip_until(b'\n')?;
    }
    Ok(Some(line))
}

async fn import_line(
    broker: &Arc<Broker>,
    request: &ImportRequest,
    n: u64,
    line: Zeroizing<Vec<u8>>,
) -> (u64, Result<bool, Error>) {
    (n, broker.import(request, &line).await.map(|imported| imported.changed))
}

/// Notes one; what isn't the line's own fault ends the run.
fn note(report: &mut Report, (line, done): (u64, Result<bool, Error>)) -> Result<(), Failure> {
    match done {
        Ok(true) => report.imported += 1,
        Ok(false) => report.unchanged += 1,
        Err(error @ (Error::Refused { .. } | Error::Conflict { .. })) => {
            report.refused += 1;
            if report.refusals.len() < TOLD_MAX {
                let refusal = Refusal { line, code: error.code(), detail: error.to_string() };
                report.refusals.push(refusal);
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn tell(cx: &Cx, report: &Report) -> Result<(), Failure> {
    let Report { imported, unchanged, refused, refusals } = report;
    if cx.out.json {
        cx.out.document(report)?;
    } else {
        for Refusal { line, detail, .. } in refusals {
            cx.out.warning(&format!("line {line}: {detail}"));
        }
        cx.out.line(&format!("{imported} imported, {unchanged} unchanged, {refused} refused"))?;
    }
    match refused {
        0 => Ok(()),
        n => Err(Failure::failed(
            "lines_refused",
            format!("{n} line(s) were refused"),
            "mend them and run the same import again: what is there stays as it is",
        )),
    }
}
