//! `indicia root-key`: makes one, prints the one in use, sees whether it opens the store.

use indicia::root_key::Missing;
use serde_json::json;

use crate::args::{RootKey, RootKeyDo};
use crate::failure::Failure;
use crate::home::Cx;
use crate::root_key::RootKeySource;

/// Does it.
pub fn run(cx: &Cx, args: RootKey) -> Result<(), Failure> {
    match args.what {
        RootKeyDo::Generate { file: None } => {
            let key = indicia::root_key::generate(&*indicia::random());
            print(cx, &key)
        }
        RootKeyDo::Generate { file: Some(file) } => {
            if file.exists() {
                return Err(Failure::failed(
                    "file_exists",
                    format!("{} is there already; a root key is never overwritten", file.display()),
                    "name another file, or `indicia root-key generate` without one",
                ));
            }
            let source = RootKeySource::File(file);
            // Wrapping makes it, whole and for its owner alone.
            cx.block_on(async {
                let wrapped = source.key(Missing::Make)?.wrap(b"", b"").await;
                wrapped.map(drop).map_err(|error| {
                    let hint = "name a file in a folder of your own";
                    Failure::home("root_key_unavailable", error.to_string(), hint)
                })
            })?;
            match cx.out.json {
                true => cx.out.document(&json!({ "root_key": source.spelt() })),
                false => cx.out.line(&source.spelt()),
            }
        }
        RootKeyDo::Export => {
            let key = cx.options.root_key.export()?;
            print(cx, &key)
        }
        RootKeyDo::Check => {
            cx.block_on(async { cx.broker().await.map(drop) })?;
            let source = cx.options.root_key.spelt();
            match cx.out.json {
                true => cx.out.document(&json!({ "root_key": source, "opens": true })),
                false => cx.out.line(&format!("the root key at {source} opens this store")),
            }
        }
    }
}

fn print(cx: &Cx, key: &str) -> Result<(), Failure> {
    match cx.out.json {
        true => cx.out.document(&json!({ "root_key": key })),
        false => cx.out.secret_line(key),
    }
}
