//! The subcommands, one file each, of the same name.

mod backup;
pub(crate) mod clients;
mod completions;
mod connect;
mod connections;
mod demo;
mod doctor;
mod exec;
mod explain;
mod forecast;
mod forget;
pub(crate) mod import;
mod man;
mod recover;
mod refresh;
mod restore;
mod revoke;
mod root_key;
pub mod rotate;
mod sandbox;
mod scopes;
mod services;
mod setup;
mod takeover;
mod token;

use crate::args::Command;
use crate::failure::Failure;
use crate::home::Cx;

/// Runs a command.
pub fn run(cx: &Cx, command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => demo::run(cx, args),
        Command::Services(args) => services::run(cx, args),
        Command::Setup(args) => setup::run(cx, &args),
        Command::Clients(args) => clients::run(cx, args),
        Command::Connect(args) => connect::run(cx, args),
        Command::Import(args) => import::run(cx, args),
        Command::Connections(args) => connections::run(cx, args),
        Command::Token(args) => token::run(cx, args),
        Command::Exec(args) => exec::run(cx, args),
        Command::Refresh(args) => refresh::run(cx, args),
        Command::Explain(args) => explain::run(cx, args),
        Command::Revoke(args) => revoke::run(cx, args),
        Command::Forget(args) => forget::run(cx, args),
        Command::Recover => recover::run(cx),
        Command::Forecast(args) => forecast::run(cx, &args),
        Command::Rotate(args) => rotate::run(cx, args),
        Command::RootKey(args) => root_key::run(cx, args),
        Command::Backup(args) => backup::run(cx, &args),
        Command::Restore(args) => restore::run(cx, &args),
        Command::Takeover => takeover::run(cx),
        Command::Scopes(args) => scopes::run(cx, &args),
        Command::Sandbox(args) => sandbox::run(cx, args),
        Command::Doctor(args) => doctor::run(cx, &args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    }
}

/// The word that JSON has for a value, so that text and JSON never differ.
pub fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}
