//! A script of an author's own: asks the API who it is, with a token that is valid now.
//!
//! Connect once with the command line (`indicia connect`), then:
//! `script HOME CONNECTION /path/below/the/base`
#![expect(clippy::print_stdout, reason = "a program of somebody's own")]

use std::path::PathBuf;

use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use indicia::{Indicia, Options, authorize, http};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = |what: &str| args.next().ok_or(format!("{what} is missing"));
    let (home, connection, path) = (next("HOME")?, next("CONNECTION")?, next("PATH")?);
    let broker = Indicia::open(Options::new(PathBuf::from(home))).await?;

    // Any HTTP client does that takes an `http::Request`; one that speaks https in real life.
    let client: Client<HttpConnector, Empty<bytes::Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let mut tries = 0;
    let response = loop {
        let mut request = http::Request::get(&path).body(Empty::new())?;
        let authorized = authorize(&broker, &connection, &mut request).await?;
        let response = client.request(request).await?;
        tries += 1;
        if response.status() != http::StatusCode::UNAUTHORIZED || tries > 1 {
            break response;
        }
        // The API refused the token: it is told back, replaced, and the call is made once more.
        authorized.refused(&broker).await?;
    };
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    println!("{status}\n{}", String::from_utf8_lossy(&body));
    broker.drain().await;
    Ok(())
}
