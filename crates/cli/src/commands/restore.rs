//! `indicia restore FILE`: puts a backup back. The home is held afterwards: the original, or what
//! became of it since, may refresh the same grants.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use indicia::clock::SystemClock;
use indicia_broker::view::rfc3339;
use indicia_oauth::Timestamp;
use indicia_store::backup::{self, PutBack};
use serde_json::json;
use zeroize::Zeroizing;

use crate::archive;
use crate::args::Restore;
use crate::commands::backup::{Asks, BUSY_WAIT, passphrase};
use crate::failure::Failure;
use crate::home::{Cx, beside};
use crate::output::{now, when};
use crate::prompt;

/// Puts it back.
pub fn run(cx: &Cx, args: &Restore) -> Result<(), Failure> {
    let home = cx.options.home.clone();
    let store = indicia_broker::Error::from;
    let in_use = home.exists() && backup::is_in_use(&home, BUSY_WAIT).map_err(store)?;
    if in_use && !args.force {
        let question = "This home has connections, which the backup would replace. Go on?";
        if !prompt::somebody_is_there() || !prompt::confirm(question)? {
            let detail = format!("{} has clients or connections already", home.display());
            let hint = "choose another home with --home, or replace them with --force";
            return Err(Failure::failed("home_in_use", detail, hint));
        }
    }
    let passphrase = passphrase(&args.passphrase, Asks::Once)?;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&home);
    made.map_err(|error| Failure::file(&home, &error))?;
    let folder = archive::folder_in(&home)?;
    let done = cx.block_on(cx.out.wait("restoring", put(cx, args, folder.path(), passphrase)))?;
    let (done, made_at, kept) = done;
    let made_at = i64::try_from(made_at).unwrap_or(0).saturating_mul(1_000);
    let made_at = Timestamp::from_millis(made_at);
    if cx.out.json {
        return cx.out.document(&json!({
            "connections": done.connections,
            "made_at": rfc3339(made_at),
            "replaced": in_use,
            "services_kept": kept,
            "held": true,
        }));
    }
    cx.out.line(&format!(
        "restored {} connection(s) as they were {}",
        done.connections,
        when(made_at, now())
    ))?;
    for name in kept {
        cx.out.note(&format!("services/{name} differs from the one in the backup, and was kept"));
    }
    cx.out.note(
        "this home serves valid tokens and sends nothing until `indicia takeover`: see first that \
         nobody uses the original any more",
    );
    Ok(())
}

/// Takes it apart, looks whether it fits, and only then replaces what is there.
async fn put(
    cx: &Cx,
    args: &Restore,
    folder: &Path,
    passphrase: Zeroizing<String>,
) -> Result<(PutBack, u64, Vec<String>), Failure> {
    let (from, to) = (args.file.clone(), folder.to_owned());
    let unpacked = beside(move || archive::unpack(&from, &to, &passphrase)).await?;
    // Is it a store of ours, and does the key fit?
    opens(cx, folder).await?;
    let (copy, home) = (folder.join(archive::DB), cx.options.home.clone());
    let done = beside(move || {
        let put = backup::put_back(&copy, &home, &SystemClock, BUSY_WAIT);
        put.map_err(|error| indicia_broker::Error::from(error).into())
    })
    .await?;
    let kept = archive::put_services(folder, &cx.options.home, &unpacked.services)?;
    Ok((done, unpacked.made_at, kept))
}

/// Whether the store in a folder opens with the root key that this home has.
async fn opens(cx: &Cx, folder: &Path) -> Result<(), Failure> {
    crate::open::broker_elsewhere(&cx.options, folder).await.map(drop)
}
