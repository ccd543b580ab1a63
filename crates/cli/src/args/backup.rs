//! What was typed after `backup` and `restore`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

/// `backup`.
#[derive(Debug, ClapArgs)]
pub struct Backup {
    /// File to make
    pub file: PathBuf,
    #[command(flatten)]
    pub passphrase: PassphraseSource,
    /// Replaces the file if it is there
    #[arg(long)]
    pub force: bool,
}

/// `restore`.
#[derive(Debug, ClapArgs)]
pub struct Restore {
    /// Backup to put back
    pub file: PathBuf,
    #[command(flatten)]
    pub passphrase: PassphraseSource,
    /// Replaces what is in the home
    #[arg(long)]
    pub force: bool,
}

/// Where the passphrase comes from; by default it is asked for.
#[derive(Debug, ClapArgs)]
#[group(multiple = false)]
pub struct PassphraseSource {
    /// Reads the passphrase from standard input, less one trailing newline
    #[arg(long)]
    pub passphrase_stdin: bool,
    /// Reads the passphrase from a file, less one trailing newline
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}
