//! The command line as its users have it: real processes, their output and their exit status,
//! beside a real `indicia sandbox`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod api_key;
mod backup;
mod bad_day;
mod bad_input;
mod book;
mod browser;
mod canary;
mod canary_wire;
mod client_keys;
mod data_centres;
mod demo;
mod device;
mod examples;
mod held;
mod http;
mod import;
mod killed;
mod life;
mod listen;
mod offline;
mod pages;
mod peers;
mod peers_django;
mod peers_lost;
mod peers_oidc;
mod peers_proxy;
mod processes;
mod reference;
mod reference_json;
mod revoke;
mod rotate;
mod rotate_client;
mod rotate_secrets;
mod scopes;
mod secrecy;
mod services_try;
mod setup;
mod stage;
mod terminal;
mod told;
mod upkeep;
mod worker;
