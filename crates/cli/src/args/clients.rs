//! What was typed after `clients`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use crate::words;

/// `clients`.
#[derive(Debug, ClapArgs)]
pub struct Clients {
    #[command(subcommand)]
    pub command: Option<ClientsCommand>,
}

/// What to do with clients.
#[derive(Debug, Subcommand)]
pub enum ClientsCommand {
    /// Adds a client, as registered in the service's developer portal. Works offline
    Add(Box<ClientsAdd>),
    /// Lists the clients
    List,
    /// Shows a client; never a secret
    Show {
        /// Which client
        id: String,
    },
    /// Changes a client's settings
    ///
    /// Those of its service, and scopes, token_max_age and secret_max_age; an empty value goes back
    /// to the default.
    Set {
        /// Which client
        id: String,
        /// Settings
        #[arg(required = true, value_name = "K=V", value_parser = words::pair)]
        settings: Vec<(String, String)>,
    },
    /// Removes a client that has no connections
    Remove {
        /// Which client
        id: String,
    },
    /// Adds, promotes and lists a client's secrets
    Secrets {
        /// Which client
        client: String,
        #[command(subcommand)]
        command: SecretsCommand,
    },
    /// Goes with you through a new secret, by the service's rule
    ///
    /// Says what to do in the portal and when, asks for the new secret, tries it by a refresh, and
    /// retires the old one. It can be left at any question and run again.
    Rotate {
        /// Which client
        id: String,
    },
}

/// `clients add`.
#[derive(Debug, ClapArgs)]
pub struct ClientsAdd {
    /// Service, see `indicia services`
    pub service: String,
    /// Id of your choosing; by default the service's name
    #[arg(long)]
    pub id: Option<String>,
    /// The client ID (consumer key, API key) that the portal shows
    #[arg(long, value_name = "X")]
    pub client_id: Option<String>,
    /// confidential (has a secret) or public; by default what the service prefers
    #[arg(long)]
    pub kind: Option<Kind>,
    #[command(flatten)]
    pub secret: SecretSource,
    /// Last day of the secret, as YYYY-MM-DD
    #[arg(long, value_name = "DATE")]
    pub secret_expires: Option<String>,
    /// Input of the service, such as a tenant; see `indicia services show`
    #[arg(long = "input", value_name = "K=V", value_parser = words::pair)]
    pub inputs: Vec<(String, String)>,
    /// Setting that depends on how the application is registered
    ///
    /// Every service takes scopes (what to ask for where nothing is said), token_max_age and
    /// secret_max_age (such as 30d: tokens are replaced before that, and secrets are warned of).
    #[arg(long = "set", value_name = "K=V", value_parser = words::pair)]
    pub settings: Vec<(String, String)>,
    /// Redirect URI as registered; by default the one that `indicia services show` names
    #[arg(long, value_name = "URI")]
    pub redirect_uri: Option<String>,
    /// Address of a sandbox that stands in for the service, as 127.0.0.1:PORT
    #[arg(long, value_name = "ADDR")]
    pub sandbox: Option<String>,
}

/// Where a secret comes from. Never from an argument: arguments can be read by everybody.
#[derive(Debug, ClapArgs)]
#[group(multiple = false)]
pub struct SecretSource {
    /// Reads the secret from standard input, less one trailing newline
    #[arg(long)]
    pub secret_stdin: bool,
    /// Reads the secret, or a private key in PEM, from a file, less one trailing newline
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// Makes a private key in place of a secret, and shows its public part for the portal
    #[arg(long)]
    pub generate_key: bool,
}

/// What to do with a client's secrets.
#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// Adds a secret: staged, and used when the current one is refused or when promoted
    Add {
        #[command(flatten)]
        secret: SecretSource,
        /// Last day of the secret, as YYYY-MM-DD
        #[arg(long, value_name = "DATE")]
        expires: Option<String>,
        /// Input value that it belongs to (a data centre), where the service has secrets for each
        #[arg(long, value_name = "VALUE")]
        for_input: Option<String>,
    },
    /// Makes a staged secret the current one; the one before it is tried when it is refused
    Promote {
        /// Number of the secret, as `list` shows it
        n: u32,
    },
    /// Never uses a secret again, and wipes it; not the current one
    Retire {
        /// Number of the secret, as `list` shows it
        n: u32,
    },
    /// Lists the secrets: numbers, states and dates
    List,
}

/// RFC 6749 §2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Keeps a secret
    Confidential,
    /// Can keep none
    Public,
}
