//! A web application that connects its customers: `/connect/CUSTOMER` sends one to the service's
//! login page, the client's redirect URI takes him back, `/customers/CUSTOMER` uses the connection.
//!
//! `web_app HOME CLIENT CAPABILITY PORT`; register the client with a redirect URI on this port.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a program of somebody's own")]

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use indicia::connect::{ConnectRequest, ConnectStep};
use indicia::{Broker, Error, Indicia, Options, http};
use tokio::net::TcpListener;

struct App {
    broker: Arc<Broker>,
    client: String,
    capability: String,
    origin: String,
}

impl App {
    async fn answer(&self, request: &http::Request<Incoming>) -> Result<(u16, String), Error> {
        let path = request.uri().path();
        if let Some(customer) = path.strip_prefix("/connect/") {
            let request = ConnectRequest {
                client: self.client.clone(),
                // One connection a customer: connecting again renews it in place.
                id: Some(customer.to_owned()),
                capabilities: self.capability.parse().into_iter().collect(),
                ..ConnectRequest::default()
            };
            return match self.broker.connect(request).await? {
                ConnectStep::Browser(step) => Ok((303, step.authorize_url)),
                ConnectStep::Done(view) => Ok((200, format!("connected as {}\n", view.id))),
                ConnectStep::Device(_) | ConnectStep::Key(_) => {
                    Ok((500, "this application connects in the browser alone\n".to_owned()))
                }
            };
        }
        if path.starts_with("/oauth/callback/") {
            let view = self.broker.finish(&format!("{}{}", self.origin, request.uri())).await?;
            return Ok((200, format!("connected as {}\n", view.id)));
        }
        if let Some(customer) = path.strip_prefix("/customers/") {
            // Warm, this costs no query and no decryption: ask as often as you like.
            let token = self.broker.token(customer, None).await?;
            return Ok((200, format!("{} is served, version {}\n", customer, token.version)));
        }
        Ok((404, "not here\n".to_owned()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = |what: &str| args.next().ok_or(format!("{what} is missing"));
    let (home, client) = (next("HOME")?, next("CLIENT")?);
    let (capability, port) = (next("CAPABILITY")?, next("PORT")?);
    let broker = Indicia::open(Options::new(PathBuf::from(home))).await?;
    let origin = format!("http://127.0.0.1:{port}");
    let app = Arc::new(App { broker: Arc::clone(&broker), client, capability, origin });

    // Refreshes in time, whoever asks or doesn't; notices what other processes change.
    tokio::spawn(indicia::keep_going(Arc::clone(&broker)));

    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on {port}");
    loop {
        let (stream, _) = listener.accept().await?;
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let app = Arc::clone(&app);
                async move {
                    let (status, text) = match app.answer(&request).await {
                        Ok(answer) => answer,
                        Err(error) => {
                            (500, format!("{}: {error}\n{}\n", error.code(), error.hint()))
                        }
                    };
                    let mut response = http::Response::builder().status(status);
                    if status == 303 {
                        response = response.header("location", &text);
                    }
                    let body = Full::new(Bytes::from(text));
                    Ok::<_, Infallible>(response.body(body).unwrap_or_default())
                }
            });
            let http1 = hyper::server::conn::http1::Builder::new();
            let _ = http1.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
