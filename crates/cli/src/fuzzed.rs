//! Parsers of this crate, by plain types: for the fuzzer, and for nobody else. They may change at
//! any time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indicia_broker::model::Environment;
use zeroize::Zeroizing;

use crate::commands::{clients, import};
use crate::listen::{self, AnswerIn};
use crate::options::Options;
use crate::prompt;
use crate::root_key::RootKeySource;

pub use crate::words::{duration, pair, shown, shown_json, spoken};

/// What `config.toml` with this text makes of the home: root key as it is spelt, callback port,
/// least validity; or all that is wrong with it.
pub fn config(home: &Path, text: &str) -> Result<(String, u16, Duration), Vec<String>> {
    let options = Options::of_file(home, text)?;
    Ok((options.root_key.spelt(), options.callback_port, options.min_valid))
}

/// Where the root key is, spelt again.
pub fn root_key_source(text: &str) -> Result<String, String> {
    RootKeySource::parse(text, &PathBuf::new()).map(|source| source.spelt())
}

/// The address that `--sandbox` means.
pub fn sandbox(text: &str) -> Option<String> {
    match clients::environment(Some(text)) {
        Ok(Environment::Sandbox { address }) => Some(address),
        Ok(Environment::Live) | Err(_) => None,
    }
}

/// A secret as a file or standard input has it.
pub fn secret(bytes: &[u8]) -> Option<Zeroizing<String>> {
    prompt::read("secret", bytes).ok()
}

/// The lines that `import --jsonl` sees.
pub fn import_lines(mut input: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut lines = Vec::new();
    while let Ok(Some(line)) = import::next_line(&mut input) {
        lines.push(line);
    }
    lines
}

/// What a listener for this redirect URI answers to a peer who says this, waits and hangs up, and
/// the addresses that it hands on; `None`: it doesn't listen there. Needs a runtime with time.
pub async fn heard(
    redirect_uri: &str,
    in_fragment: bool,
    said: &[u8],
) -> Option<(Vec<u8>, Vec<Zeroizing<String>>)> {
    let answer = if in_fragment { AnswerIn::Fragment } else { AnswerIn::Query };
    listen::heard(redirect_uri, answer, said).await
}
