//! A worker with client credentials: the application's own account, no person, no browser.
//!
//! `worker HOME CLIENT CAPABILITY CONNECTION ROUNDS`; register the client with `indicia clients
//! add`.
#![expect(clippy::print_stdout, reason = "a program of somebody's own")]

use std::path::PathBuf;

use indicia::connect::{ConnectRequest, ConnectStep};
use indicia::{Flow, Indicia, Options};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = |what: &str| args.next().ok_or(format!("{what} is missing"));
    let (home, client, capability) = (next("HOME")?, next("CLIENT")?, next("CAPABILITY")?);
    let connection = next("CONNECTION")?;
    let rounds: u32 = next("ROUNDS")?.parse()?;
    let broker = Indicia::open(Options::new(PathBuf::from(home))).await?;

    let request = ConnectRequest {
        client,
        id: Some(connection.clone()),
        // The least that does the job.
        capabilities: vec![capability.parse()?],
        flow: Some(Flow::ClientCredentials),
        ..ConnectRequest::default()
    };
    match broker.connect(request).await? {
        ConnectStep::Done(view) => println!("connected: {}", view.id),
        _ => return Err("client credentials need no person".into()),
    }
    for round in 1..=rounds {
        // Valid for a while at least; a new one is asked for when the one at hand would end before.
        let token = broker.token(&connection, Some(std::time::Duration::from_secs(1))).await?;
        println!("round {round}: version {}", token.version);
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    }
    broker.drain().await;
    Ok(())
}
