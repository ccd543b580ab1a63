//! Our own HTTP servers: the listener for callbacks, and the simulated services. A peer says
//! anything, waits, and hangs up.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use indicia_catalog::{Service, read};
use tokio::runtime::{Builder, Runtime};

/// Runs it to its end. Its time jumps on where there is nothing to do but wait.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    thread_local!(static RUNTIME: Runtime = {
        let mut builder = Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().expect("a runtime")
    });
    RUNTIME.with(|runtime| runtime.block_on(work))
}

/// What anybody on this machine may say to the listener.
pub fn listener(data: &[u8]) {
    let asked = data.to_ascii_lowercase();
    let has = |text: &str| asked.windows(text.len()).any(|part| part == text.as_bytes());
    for in_fragment in [false, true] {
        let heard = indicia_cli::fuzzed::heard(REDIRECT_URI, in_fragment, data);
        let (answers, urls) = block_on(heard).expect("it is on loopback");
        is_http(&answers);
        assert!(urls.len() <= 1, "a connection carries one request");
        for url in urls {
            let rest = url.strip_prefix(REDIRECT_URI).expect("an answer from elsewhere");
            assert!(rest.is_empty() || rest.starts_with(['?', '#']), "of another path");
            assert!(has(AUTHORITY) && has(PATH), "taken from who didn't ask for us");
            let status = answers.get(b"HTTP/1.1".len()..).unwrap_or_default();
            assert!(status.starts_with(b" 200 "), "taken, and refused");
        }
    }
}

/// What anybody may say to the simulated services.
pub fn sandbox(data: &[u8]) {
    let services = services().to_vec();
    is_http(&block_on(indicia_sandbox::fuzzed::answers(services, data)));
}

fn is_http(answers: &[u8]) {
    assert!(answers.is_empty() || answers.starts_with(b"HTTP/1."), "an answer that is none");
}

/// Two that between them have every flow.
pub fn services() -> &'static [Arc<Service>; 2] {
    static SERVICES: OnceLock<[Arc<Service>; 2]> = OnceLock::new();
    SERVICES.get_or_init(|| {
        [
            include_str!("../../docs/examples/django.toml"),
            include_str!("../../docs/examples/ghost.toml"),
        ]
        .map(|text| Arc::new(read::read("own.toml", text).expect("an example of the docs")))
    })
}

const REDIRECT_URI: &str = "http://127.0.0.1:8917/oauth/callback/c";
const AUTHORITY: &str = "127.0.0.1:8917";
const PATH: &str = "/oauth/callback/c";
