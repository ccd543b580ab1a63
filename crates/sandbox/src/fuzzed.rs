//! A conversation without a socket: for the fuzzer, and for nobody else. It may change at any time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use indicia_catalog::Service;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::http::{Shared, StartOptions, converse};
use crate::model::Options;

/// Everything that a sandbox of these services answers to a peer who says this, waits, and hangs
/// up. Needs a runtime whose time is paused: it waits for an hour.
pub async fn answers(services: Vec<Arc<Service>>, said: &[u8]) -> Vec<u8> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let options = Options { accept_any_client: true, ..Options::default() };
    let start = StartOptions { listen, services, options, faults: Vec::new() };
    let shared = Arc::new(Shared::new(listen, start));
    let (ours, theirs) = tokio::io::duplex(BUFFER_BYTES.max(said.len()));
    let (mut from, mut to) = tokio::io::split(ours);
    let mut answers = Vec::new();
    let peer = async {
        // The sandbox may hang up first; then the rest goes unheard.
        let _ = to.write_all(said).await;
        // Who hangs up at once gets no answer.
        let _ = tokio::time::timeout(PATIENCE, from.read_to_end(&mut answers)).await;
        let _ = to.shutdown().await;
        let _ = from.read_to_end(&mut answers).await;
    };
    tokio::join!(converse(theirs, shared, None), peer);
    answers
}

/// Longer than any fault holds an answer back.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Where it seems to listen.
const PORT: u16 = 8918;
const BUFFER_BYTES: usize = 64 * 1024;
