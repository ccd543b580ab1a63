//! `indicia backup FILE`: a copy of the home as it is at one moment, without the root key.

use std::time::Duration;

use indicia_store::backup;
use serde_json::json;
use zeroize::Zeroizing;

use crate::archive;
use crate::args::{Backup, PassphraseSource};
use crate::failure::Failure;
use crate::home::{Cx, beside};
use crate::output::now;
use crate::prompt;

/// Makes it.
pub fn run(cx: &Cx, args: &Backup) -> Result<(), Failure> {
    let home = cx.options.home.clone();
    if !home.join(archive::DB).exists() {
        let detail = format!("there is nothing to back up in {}", home.display());
        return Err(Failure::home("no_store", detail, "choose a home with --home"));
    }
    if args.file.exists() && !args.force {
        let detail = format!("{} is there already", args.file.display());
        return Err(Failure::failed("file_exists", detail, "choose another name, or --force"));
    }
    let passphrase = passphrase(&args.passphrase, Asks::Twice)?;
    let made_at = u64::try_from(now().as_millis() / 1_000).unwrap_or(0);
    let to = args.file.clone();
    let bytes = cx.block_on(cx.out.wait(
        "backing up",
        beside(move || {
            let folder = archive::folder_in(&home)?;
            let copy = folder.path().join(archive::DB);
            backup::copy(&home, &copy, BUSY_WAIT).map_err(indicia_broker::Error::from)?;
            archive::pack(&to, &copy, &home, &passphrase, made_at)
        }),
    ))?;
    if cx.out.json {
        return cx.out.document(&json!({ "file": args.file, "bytes": bytes }));
    }
    cx.out.line(&format!("backed up to {} ({} KiB)", args.file.display(), bytes.div_ceil(1024)))?;
    cx.out
        .note("the root key isn't in it: keep that elsewhere, `indicia root-key export` prints it");
    Ok(())
}

/// How a passphrase is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// To open something: a wrong one is noticed.
    Once,
    /// To close something: a mistake would lock it for ever.
    Twice,
}

/// The passphrase of a backup.
pub(super) fn passphrase(
    source: &PassphraseSource,
    asks: Asks,
) -> Result<Zeroizing<String>, Failure> {
    let said = match (&source.passphrase_file, source.passphrase_stdin) {
        (Some(path), _) => prompt::from_file("passphrase", path)?,
        (None, true) => prompt::from_stdin("passphrase")?,
        (None, false) if prompt::somebody_is_there() => {
            let typed = prompt::from_stdin("passphrase")?;
            if asks == Asks::Twice && prompt::from_stdin("the same again")? != typed {
                let detail = "the two passphrases differ";
                return Err(Failure::usage("passphrase_refused", detail, "nothing was written"));
            }
            typed
        }
        (None, false) => {
            let detail = "a backup is encrypted to a passphrase, and none was given";
            let hint = "give it with --passphrase-stdin or --passphrase-file FILE";
            return Err(Failure::usage("passphrase_missing", detail, hint));
        }
    };
    if asks == Asks::Twice && said.chars().count() < PASSPHRASE_MIN {
        let detail = format!("a passphrase of less than {PASSPHRASE_MIN} letters can be guessed");
        return Err(Failure::usage("passphrase_refused", detail, "choose a longer one"));
    }
    Ok(said)
}

/// How long another program that writes is waited for.
pub(super) const BUSY_WAIT: Duration = Duration::from_secs(30);
const PASSPHRASE_MIN: usize = 8;
