//! What was typed after `connect`, `import` and `scopes`.

use clap::{ArgGroup, Args as ClapArgs, ValueEnum};

use crate::words;

/// `connect`.
#[derive(Debug, ClapArgs)]
pub struct Connect {
    /// Client, see `indicia clients`
    pub client: String,
    /// Id of the connection; by default the client's, then with -2, -3
    #[arg(long)]
    pub id: Option<String>,
    /// What you want to do, in our words: contacts.read, campaigns.send, …
    #[arg(long, value_name = "CAP", value_delimiter = ',')]
    pub can: Vec<String>,
    /// Scopes as the service spells them
    #[arg(long = "scope", value_name = "S", value_delimiter = ',')]
    pub scopes: Vec<String>,
    /// How the grant is obtained; by default what the service prefers
    #[arg(long)]
    pub flow: Option<FlowName>,
    /// Input of the service that belongs to this connection
    #[arg(long = "input", value_name = "K=V", value_parser = words::pair)]
    pub inputs: Vec<(String, String)>,
    /// Label of your own
    #[arg(long = "label", value_name = "K=V", value_parser = words::pair)]
    pub labels: Vec<(String, String)>,
    /// Prints the address instead, and takes the resulting one pasted back
    #[arg(long)]
    pub no_browser: bool,
    /// Lets an existing connection move to another account
    #[arg(long)]
    pub other_account: bool,
}

/// `scopes`.
#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("whose").required(true).args(["id", "client"]))]
pub struct Scopes {
    /// Connection, see `indicia connections`
    pub id: Option<String>,
    /// All connections of a client together
    #[arg(long, value_name = "C")]
    pub client: Option<String>,
    /// What it must be able to do, in our words: contacts.read, campaigns.send, …
    #[arg(long, value_name = "CAP", value_delimiter = ',')]
    pub can: Vec<String>,
}

/// `import`.
#[derive(Debug, ClapArgs)]
pub struct Import {
    /// Client, see `indicia clients`
    pub client: String,
    /// Id of the connection; the client's, then with -2, -3, where none is given
    #[arg(long, conflicts_with = "jsonl")]
    pub id: Option<String>,
    /// Who refreshes it: where it is `other`, it is served and never refreshed
    #[arg(long, value_name = "WHO", default_value = "indicia")]
    pub rotation_owner: OwnerName,
    /// Many, one on each line of standard input
    #[arg(long)]
    pub jsonl: bool,
}

/// Who refreshes a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OwnerName {
    /// We do
    Indicia,
    /// Whoever obtained it goes on refreshing it
    Other,
}

/// Flows that this command line can go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FlowName {
    /// A key that the account's owner made: asked for, or read from standard input
    ApiKey,
    /// A person logs in at the service and allows it
    AuthorizationCode,
    /// The application's own account
    ClientCredentials,
    /// A person enters a code on any device that has a browser
    Device,
    /// The token in the address of the answer: legacy, never chosen by itself
    Implicit,
}
