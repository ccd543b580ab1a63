//! What was typed, and nothing of what it means: see [`crate::options`] for that.
//!
//! Help, man page and completions all come from here. Surprise: the examples in the help texts are
//! not here, since they name services, which are data: [`crate::examples`] adds them.

mod backup;
mod clients;
mod connect;
mod keys;
mod setup;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::words;

pub use backup::{Backup, PassphraseSource, Restore};
pub use clients::{Clients, ClientsAdd, ClientsCommand, Kind, SecretSource, SecretsCommand};
pub use connect::{Connect, FlowName, Import, OwnerName, Scopes};
pub use keys::{RootKey, RootKeyDo, Rotate, RotateRootKey, RotateTokens, RotateWhat};
pub use setup::Setup;

/// Gets OAuth 2.0 access tokens from email marketing services and keeps them valid
///
/// Register your application as a client, connect an account, and use `indicia token` in scripts
/// for as long as the grant lives. `indicia demo` shows all of it without an account.
#[derive(Debug, Parser)]
#[command(name = "indicia", version, propagate_version = true, subcommand_required = true)]
#[command(arg_required_else_help = true, disable_help_subcommand = false)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Clone, Debug, Default, ClapArgs)]
#[command(next_help_heading = "Options for every command")]
pub struct Global {
    /// Folder with everything that Indicia keeps [env: INDICIA_HOME]
    #[arg(long, global = true, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Where the root key is: file:PATH, env:NAME, fd:N or command:CMD [env: INDICIA_ROOT_KEY]
    #[arg(long, global = true, value_name = "SOURCE")]
    pub root_key: Option<String>,
    /// One JSON document on standard output; an error is one JSON document on standard error
    #[arg(long, global = true)]
    pub json: bool,
    /// Says nothing but results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Says more on standard error; twice or three times: still more. Never a secret
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows the whole life cycle against the built-in sandbox
    ///
    /// Needs no account and no network. Works in a temporary home, goes step by step, and ends with
    /// a table of what was proven, each row checked against the sandbox's own record. Exit status 0
    /// only if all of it holds.
    Demo(Demo),
    /// Lists the services, shows one, checks or tries a service file
    ///
    /// A service is an email marketing service in the catalogue. A service file of your own goes
    /// into the folder `services` in the home.
    Services(Services),
    /// Goes with you from nothing to the first token of a service
    ///
    /// Says what to click in the service's developer portal, asks for what is needed, connects, and
    /// ends with the line for your script. It can be left at any question and run again.
    Setup(Setup),
    /// Adds, lists, shows and removes clients and their secrets
    ///
    /// A client is your application as registered in the service's developer portal.
    Clients(Clients),
    /// Gets a grant, and with it a connection
    ///
    /// Opens the service's login page in your browser and catches the answer on this machine. The
    /// id of the connection goes to standard output, all else to standard error. On an id that is
    /// there already it renews the connection in place, or asks for more.
    Connect(Connect),
    /// Takes over token sets that were obtained elsewhere
    ///
    /// Reads a token set from standard input, as JSON: access_token and, as far as they are known,
    /// refresh_token, expires_at or expires_in, scope, id, labels, inputs. With --jsonl one on each
    /// line, each with its id; what was imported before is left as it is, so that a run that was
    /// cut off can be run again.
    Import(Import),
    /// Lists the connections, or shows one
    Connections(Connections),
    /// Prints a valid token
    ///
    /// Refreshes first when the token at hand would end within --min-valid. While a valid token is
    /// at hand it is served, whatever else is wrong; what is wrong is told as a warning.
    Token(Token),
    /// Runs a command with a valid token in its environment
    ///
    /// Sets INDICIA_TOKEN and INDICIA_API_BASE_URL, and removes all other INDICIA_* variables. The
    /// command's exit status is passed through; 125 means that Indicia failed. Core dumps stay off
    /// in the command.
    Exec(Exec),
    /// Refreshes a connection's token now, or all that is due
    Refresh(Refresh),
    /// Tells why a connection is as it is: cause, evidence, next step
    Explain(Explain),
    /// Takes grants back at the service; their connections end
    ///
    /// Local use ends at once; what the service could not be told yet is told later. Prints a
    /// receipt.
    Revoke(Revoke),
    /// Removes a connection from this home
    Forget(Forget),
    /// Compares the scopes of a connection with what it needs
    ///
    /// Which were asked for, which were granted, and with --can which of them are needed for what
    /// the connection must be able to do; then what could be better. Without scopes at the service,
    /// a token may do all that its account may: that is said.
    Scopes(Scopes),
    /// Reads kept answers again, and does what was left undone
    ///
    /// Answers that were kept but not stored (a crash, a full disk, an odd shape) are read again
    /// and stored; revocations that a service has not taken yet are tried again.
    Recover,
    /// Lists what will end, when and why
    ///
    /// Tokens that can't be refreshed, refresh tokens by age and idleness, client secrets,
    /// endpoints of a service that have a last day.
    Forecast(Forecast),
    /// Renews tokens, data keys or the root key
    ///
    /// What is sealed or granted changes, connections and their ids don't. Everything goes on
    /// meanwhile, in other processes too.
    Rotate(Rotate),
    /// Makes a root key, prints it, or sees whether it opens the store
    RootKey(RootKey),
    /// Makes a home that was copied, restored or moved the one that refreshes
    ///
    /// Such a home serves valid tokens and sends nothing until then: two homes that refresh the
    /// same grants end them. See that the original isn't used any more.
    Takeover,
    /// Makes a backup of the home, without the root key
    ///
    /// Encrypted to a passphrase, in the format of age. Everything goes on meanwhile. Who restores
    /// it needs the root key too: `indicia root-key export` prints it, to be kept elsewhere.
    Backup(Backup),
    /// Puts a backup back
    ///
    /// The root key must be in its place. Afterwards the home serves valid tokens and sends nothing
    /// until `indicia takeover`. What was refreshed since the backup is repaired from the journal,
    /// as far as it has it; the rest is tried, and explained where the service refuses it.
    Restore(Restore),
    /// Runs the simulated services, with switchable faults
    Sandbox(Sandbox),
    /// Looks for what is wrong, or will be, and says what to do
    ///
    /// Also whether the services of your clients can be reached: it connects to them, and sends
    /// nothing.
    Doctor(Doctor),
    /// Prints a completion script for a shell
    Completions(Completions),
    /// Prints the manual page, of a command if one is named
    Man(Man),
}

/// `demo`.
#[derive(Debug, ClapArgs)]
pub struct Demo {
    /// Keeps the temporary home and prints where it is
    #[arg(long)]
    pub keep: bool,
}

/// `services`.
#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Services {
    /// Service to show
    pub name: Option<String>,
    #[command(subcommand)]
    pub command: Option<ServicesCommand>,
}

/// What to do with services.
#[derive(Debug, Subcommand)]
pub enum ServicesCommand {
    /// Lists all services
    List,
    /// Shows one service in full, with how to register there
    Show {
        /// Which service
        name: String,
    },
    /// Checks a service file and says what to write instead
    Check {
        /// Service file (TOML); without one, all of those in the home
        file: Option<PathBuf>,
    },
    /// Plays a service file through its whole life cycle, on a simulated clock
    Try {
        /// Service file (TOML), or the name of a service in the catalogue
        file: PathBuf,
        /// What is not verified is played by this number: another one, another way
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

/// `doctor`.
#[derive(Debug, ClapArgs)]
pub struct Doctor {
    /// Leaves out whether services can be reached
    #[arg(long)]
    pub offline: bool,
}

/// `forecast`.
#[derive(Debug, ClapArgs)]
pub struct Forecast {
    /// How far ahead, in days
    #[arg(long, value_name = "N", default_value_t = 90)]
    pub days: u16,
    /// As a calendar (iCalendar, RFC 5545), to subscribe to or to send
    #[arg(long, conflicts_with = "json")]
    pub ical: bool,
}

/// `connections`.
#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Connections {
    #[command(flatten)]
    pub filter: ConnectionsFilter,
    #[command(subcommand)]
    pub command: Option<ConnectionsCommand>,
}

/// What to do with connections.
#[derive(Debug, Subcommand)]
pub enum ConnectionsCommand {
    /// Lists connections
    List(ConnectionsFilter),
    /// Shows one connection
    Show {
        /// Which connection
        id: String,
    },
}

/// Which connections to list.
#[derive(Debug, Default, ClapArgs)]
pub struct ConnectionsFilter {
    /// Of this service
    #[arg(long, value_name = "S")]
    pub service: Option<String>,
    /// Of this client
    #[arg(long, value_name = "C")]
    pub client: Option<String>,
    /// With this label
    #[arg(long, value_name = "K=V", value_parser = words::pair)]
    pub label: Option<(String, String)>,
    /// In this state
    #[arg(long)]
    pub state: Option<StateName>,
    /// After this id, for the next page
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub limit: usize,
}

/// `token`.
#[derive(Debug, ClapArgs)]
pub struct Token {
    /// Connection, see `indicia connections`
    pub id: String,
    /// For how long the token must still be good, at least: 60s, 5m, 1h [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = words::duration)]
    pub min_valid: Option<Duration>,
    /// Form of the output
    #[arg(long, default_value = "plain")]
    pub format: TokenFormat,
}

/// Form of a token on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TokenFormat {
    /// The token alone
    Plain,
    /// A JSON document with all that an API call needs
    Json,
    /// The headers of an API call, a line each
    Header,
    /// An env file: INDICIA_TOKEN=… and INDICIA_API_BASE_URL=…, a line each
    ///
    /// Refused where a value has characters other than letters, digits and ._~+/=:- since no two
    /// readers of such files agree on quotes; `indicia exec` takes any value.
    Env,
}

/// `exec`.
#[derive(Debug, ClapArgs)]
pub struct Exec {
    /// Connection, see `indicia connections`
    pub id: String,
    /// For how long the token must still be good, at least: 60s, 5m, 1h [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = words::duration)]
    pub min_valid: Option<Duration>,
    /// Command to run, with its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<std::ffi::OsString>,
}

/// `refresh`.
#[derive(Debug, ClapArgs)]
pub struct Refresh {
    /// Connection, see `indicia connections`
    #[arg(required_unless_present = "due")]
    pub id: Option<String>,
    /// All that is due: for cron or a timer, so that no refresh token dies unused
    #[arg(long, conflicts_with_all = ["id", "force"])]
    pub due: bool,
    /// Also where the service refused this refresh token before, or is to be left alone for now
    #[arg(long)]
    pub force: bool,
    /// For `indicia demo`, which kills us there: once the answer is kept in the journal, and before
    /// it is stored, makes this file and waits for ever
    #[arg(long, hide = true, value_name = "FILE")]
    pub demo_pause_after_keep: Option<PathBuf>,
}

/// `explain`.
#[derive(Debug, ClapArgs)]
pub struct Explain {
    /// Connection, see `indicia connections`
    pub id: String,
}

/// `revoke`.
#[derive(Debug, ClapArgs)]
#[group(skip)]
#[command(group = ArgGroup::new("what").required(true).args(["ids", "client", "service", "label", "leaked"]))]
pub struct Revoke {
    /// Connections
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// All of this client
    #[arg(long, value_name = "C")]
    pub client: Option<String>,
    /// All of this service
    #[arg(long, value_name = "S")]
    pub service: Option<String>,
    /// All with this label
    #[arg(long, value_name = "K=V", value_parser = words::pair)]
    pub label: Option<(String, String)>,
    /// The one whose token is read from standard input
    #[arg(long)]
    pub leaked: bool,
    /// Also where other connections share the grant: they end too
    #[arg(long)]
    pub shared: bool,
    /// Asks no question
    #[arg(short, long)]
    pub yes: bool,
}

/// `forget`.
#[derive(Debug, ClapArgs)]
#[group(skip)]
#[command(group = ArgGroup::new("grant").required(true).args(["revoke", "keep_grant"]))]
pub struct Forget {
    /// Connection, see `indicia connections`
    pub id: String,
    /// Takes the grant back at the service
    #[arg(long)]
    pub revoke: bool,
    /// Leaves the grant alive at the service
    #[arg(long)]
    pub keep_grant: bool,
    /// With --revoke, also where other connections share the grant: they end too
    #[arg(long, conflicts_with = "keep_grant")]
    pub shared: bool,
}

/// `sandbox`.
#[derive(Debug, ClapArgs)]
pub struct Sandbox {
    /// Address to listen on; loopback only
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8918")]
    pub listen: String,
    /// Cap on every lifetime: 3s, 5m
    #[arg(long, value_name = "TIME", value_parser = words::duration)]
    pub life: Option<Duration>,
    /// Fault from the start, such as reset-after:2@token; may be given more than once
    ///
    /// Written as KIND[=VALUE][:TIMES|:PERCENT%][@[SERVICE/]ENDPOINT]. Kinds: latency=200ms,
    /// drip=20ms, reset-before, reset-after, throttle=30, refuse-grant, refuse-client,
    /// error-before=503, error-after=500, html, html-502, truncate, wrong-type, skew=300.
    /// Endpoints: authorize, token (exchange and refresh), exchange, refresh, device, revoke,
    /// introspect, metadata, api. More can be added while it runs, as below; DELETE instead takes
    /// all away.
    #[arg(long = "fault", value_name = "SPEC")]
    pub faults: Vec<String>,
    /// Number that all chance comes from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// `completions`.
#[derive(Debug, ClapArgs)]
pub struct Completions {
    /// Which shell
    pub shell: clap_complete::Shell,
}

/// `man`.
#[derive(Debug, ClapArgs)]
pub struct Man {
    /// Command, such as `connect` or `clients add`
    pub command: Vec<String>,
}

/// States of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StateName {
    /// All is well
    Active,
    /// Works, but something behind it fails
    Attention,
    /// Only the account's owner can renew it
    ReauthorizationRequired,
    /// Taken back
    Revoked,
}
