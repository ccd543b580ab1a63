//! What was typed after `rotate` and `root-key`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use crate::words;

/// `rotate`.
#[derive(Debug, ClapArgs)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Rotate {
    #[command(subcommand)]
    pub what: RotateWhat,
}

/// What is rotated.
#[derive(Debug, Subcommand)]
pub enum RotateWhat {
    /// Refreshes every connection whose service issues a new token by itself; lists the rest
    Tokens(RotateTokens),
    /// Makes a new data key, and seals all tokens and client secrets with it
    ///
    /// An older data key is destroyed by a later run, a week after it was superseded, once neither
    /// store nor journal needs it.
    DataKeys,
    /// Wraps the data keys by another root key
    ///
    /// Without --to the new one takes the place of the file that holds the one in use. Processes
    /// that run go on until the data keys are rotated after it; those that start need the new one.
    RootKey(RotateRootKey),
}

/// `rotate tokens`.
#[derive(Debug, ClapArgs)]
pub struct RotateTokens {
    /// Only those of this client
    #[arg(long, value_name = "C")]
    pub client: Option<String>,
    /// Only those of this service
    #[arg(long, value_name = "S")]
    pub service: Option<String>,
    /// Only those with this label
    #[arg(long, value_name = "K=V", value_parser = words::pair)]
    pub label: Option<(String, String)>,
}

/// `rotate root-key`.
#[derive(Debug, ClapArgs)]
pub struct RotateRootKey {
    /// Where the new root key is: file:PATH (made if it isn't there), env:NAME, fd:N, command:CMD
    #[arg(long, value_name = "SOURCE")]
    pub to: Option<String>,
}

/// `root-key`.
#[derive(Debug, ClapArgs)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct RootKey {
    #[command(subcommand)]
    pub what: RootKeyDo,
}

/// What is done about a root key.
#[derive(Debug, Subcommand)]
pub enum RootKeyDo {
    /// Draws a new root key and prints it, or writes it into a file that isn't there yet
    Generate {
        /// File to make, for you alone
        file: Option<PathBuf>,
    },
    /// Prints the root key in use: keep it apart from backups of the home
    Export,
    /// Sees whether the root key in use opens the store
    Check,
}
