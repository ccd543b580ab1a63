//! The network as `-v` shows it: each call with its address and how it ended, and never what is in
//! it. Query strings are left out, since some services want secrets there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use indicia_broker::ports::{Sent, Transport};
use indicia_oauth::Request;

/// A transport that tells what it does.
pub struct Logged {
    /// What does it.
    pub transport: Arc<dyn Transport>,
    /// Whether it did anything yet.
    pub has_sent: Arc<AtomicBool>,
}

#[async_trait]
impl Transport for Logged {
    async fn send(&self, request: Request, may_write: &(dyn Fn() -> bool + Sync)) -> Sent {
        let method = request.method.as_str();
        let address = request.url.split(['?', '#']).next().unwrap_or_default().to_owned();
        let (headers, body_bytes) =
            (names(request.headers.iter().map(|(n, _)| n)), request.body.len());
        tracing::trace!(%address, headers, body_bytes, "a request is handed over");
        let begun = Instant::now();
        self.has_sent.store(true, Ordering::Relaxed);
        let sent = self.transport.send(request, may_write).await;
        let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &sent {
            Sent::Answer(answer) => {
                tracing::info!(method, %address, status = answer.status, millis, "answered");
                let (headers, body_bytes) =
                    (names(answer.headers.iter().map(|(n, _)| n)), answer.body.len());
                tracing::trace!(%address, headers, body_bytes, complete = answer.complete, "the answer");
            }
            Sent::NotSent(why) => tracing::info!(method, %address, millis, why, "not sent"),
            Sent::MaybeSent(why) => tracing::info!(method, %address, millis, why, "no answer"),
        }
        sent
    }
}

/// Names of headers; their values may be secret.
fn names<'a>(names: impl Iterator<Item = impl AsRef<str> + 'a>) -> String {
    names.map(|name| name.as_ref().to_owned()).collect::<Vec<_>>().join(" ")
}
