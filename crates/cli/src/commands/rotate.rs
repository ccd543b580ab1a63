//! `indicia rotate`: new tokens, a new data key, another root key.

use std::fs::File;
use std::path::{Path, PathBuf};

use indicia::root_key::Missing;
use indicia_broker::rotate_keys::KeysReport;
use indicia_broker::rotate_tokens::{RotateWhich, TokensReport};
use serde_json::json;

use crate::args::{Rotate, RotateRootKey, RotateTokens, RotateWhat};
use crate::failure::Failure;
use crate::home::Cx;
use crate::root_key::RootKeySource;

/// Rotates.
pub fn run(cx: &Cx, args: Rotate) -> Result<(), Failure> {
    match args.what {
        RotateWhat::Tokens(args) => tokens(cx, args),
        RotateWhat::DataKeys => data_keys(cx),
        RotateWhat::RootKey(args) => root_key(cx, &args),
    }
}

fn tokens(cx: &Cx, args: RotateTokens) -> Result<(), Failure> {
    let which = RotateWhich { client: args.client, service: args.service, label: args.label };
    let report = match cx.home_is_there() {
        false => TokensReport::default(),
        true => cx.block_on(async {
            let broker = cx.broker().await?;
            let counter = cx.out.counter("looked at");
            Ok(broker.rotate_tokens(which, &|count| counter.set(count)).await?)
        })?,
    };
    if cx.out.json {
        let listed = |rows: &[(String, String)]| -> Vec<_> {
            rows.iter().map(|(id, why)| json!({ "connection": id, "why": why })).collect()
        };
        return cx.out.document(&json!({
            "rotated": report.rotated,
            "not_yet": listed(&report.not_yet),
            "needs_user": listed(&report.needs_user),
        }));
    }
    cx.out.line(&format!(
        "{} rotated, {} not yet, {} need their user",
        report.rotated.len(),
        report.not_yet.len(),
        report.needs_user.len()
    ))?;
    let rows = |kind: &str, rows: &[(String, String)]| -> Vec<Vec<String>> {
        rows.iter().map(|(id, why)| vec![id.clone(), kind.to_owned(), why.clone()]).collect()
    };
    let mut table = rows("not yet", &report.not_yet);
    table.extend(rows("needs its user", &report.needs_user));
    if table.is_empty() {
        return Ok(());
    }
    cx.out.table(&["CONNECTION", "STATE", "WHY"], &table)
}

fn data_keys(cx: &Cx) -> Result<(), Failure> {
    must_have_a_home(cx)?;
    let report = cx.block_on(async {
        let broker = cx.broker().await?;
        let counter = cx.out.counter("sealed anew");
        Ok(broker.rotate_data_keys(&|count| counter.set(count)).await?)
    })?;
    if cx.out.json {
        let kept = report.kept.iter().map(|(n, why)| json!({ "data_key": n, "why": why }));
        let kept: Vec<_> = kept.collect();
        let KeysReport { data_key, resealed, destroyed, .. } = &report;
        return cx.out.document(&json!({
            "data_key": data_key, "resealed": resealed, "destroyed": destroyed, "kept": kept,
        }));
    }
    cx.out.line(&format!(
        "data key {} seals from now on; {} secrets were sealed anew",
        report.data_key, report.resealed
    ))?;
    for n in &report.destroyed {
        cx.out.line(&format!("data key {n} is destroyed"))?;
    }
    for (n, why) in &report.kept {
        cx.out.line(&format!("data key {n} stays: {why}"))?;
    }
    Ok(())
}

fn root_key(cx: &Cx, args: &RotateRootKey) -> Result<(), Failure> {
    must_have_a_home(cx)?;
    let target = Target::of(cx, args)?;
    let count = cx.block_on(async {
        let broker = cx.broker().await?;
        let new = target.source().key(Missing::Make)?;
        Ok(broker.rotate_root_key(&*new).await?)
    })?;
    target.put_in_place()?;
    let now_at = target.named().spelt();
    if cx.out.json {
        return cx.out.document(&json!({ "root_key": now_at, "data_keys": count }));
    }
    cx.out.line(&format!("{count} data key(s) are wrapped by the root key at {now_at}"))?;
    if target.named() != &cx.options.root_key {
        let hint = format!("name it from now on: --root-key or INDICIA_ROOT_KEY={now_at}");
        cx.out.remark(&hint);
    }
    cx.out.remark("backups from before open with the old root key alone");
    Ok(())
}

/// Where the new root key comes from.
enum Target {
    /// Another source.
    Other(RootKeySource),
    /// The same file: the new key waits beside it until the store is wrapped by it.
    Same { beside: RootKeySource, named: RootKeySource },
}

impl Target {
    fn of(cx: &Cx, args: &RotateRootKey) -> Result<Self, Failure> {
        let named = &cx.options.root_key;
        let to = match &args.to {
            Some(text) => RootKeySource::parse(text, Path::new(""))
                .map_err(|why| Failure::usage("input_refused", format!("--to: {why}"), ""))?,
            None => named.clone(),
        };
        match (&to, named) {
            (RootKeySource::File(path), RootKeySource::File(old)) if path == old => {
                let beside = RootKeySource::File(next_to(path));
                Ok(Self::Same { beside, named: to.clone() })
            }
            _ if to == *named => Err(Failure::usage(
                "input_refused",
                "the root key isn't in a file, so a new one can't be put in its place",
                "name where the new one is: --to file:PATH, env:NAME, fd:N or command:CMD",
            )),
            _ => Ok(Self::Other(to)),
        }
    }

    fn source(&self) -> &RootKeySource {
        match self {
            Self::Other(source) => source,
            Self::Same { beside, .. } => beside,
        }
    }

    fn named(&self) -> &RootKeySource {
        match self {
            Self::Other(source) => source,
            Self::Same { named, .. } => named,
        }
    }

    fn put_in_place(&self) -> Result<(), Failure> {
        let Self::Same { beside: RootKeySource::File(new), named: RootKeySource::File(path) } =
            self
        else {
            return Ok(());
        };
        let moved = std::fs::rename(new, path).and_then(|()| match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        });
        moved.map_err(|error| {
            let (new, path) = (new.display(), path.display());
            let detail = format!("the store is wrapped by {new}, which can't be moved: {error}");
            Failure::home("root_key_unavailable", detail, format!("type `mv {new} {path}`"))
        })
    }
}

/// Where a new root key waits that will take the place of this file's.
pub fn next_to(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".next");
    path.with_file_name(name)
}

fn must_have_a_home(cx: &Cx) -> Result<(), Failure> {
    match cx.home_is_there() {
        true => Ok(()),
        false => Err(Failure::home(
            "store_unreadable",
            format!("there is no store in {} yet", cx.options.home.display()),
            "`indicia clients add` makes one, or name another home with --home",
        )),
    }
}
