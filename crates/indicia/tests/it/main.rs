//! The adapters against the real world: sockets, files, clocks, processes.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed, in helpers too")]

mod adapters;
mod authorize;
mod drive;
mod guard;
mod hostile;
mod journal_crash;
mod journal_keeps;
mod journal_many;
mod journal_support;
mod open;
mod restored;
mod root_key;
mod service_files;
mod support;
mod tls;
mod transport_pool;
mod transport_spend;
mod transport_wire;
