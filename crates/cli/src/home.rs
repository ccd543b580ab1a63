//! What a command works with: its options, how it prints, and the broker on the home folder, opened
//! when first asked for and drained at the end. Everything that knows how a broker is opened is
//! here.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use indicia_broker::{Broker, Error};
use indicia_catalog::Catalogue;
use rustix::process::{Resource, Rlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;
use crate::options::Options;
use crate::output::Output;

/// What a command works with.
pub struct Cx {
    /// What everything means.
    pub options: Options,
    /// How to print.
    pub out: Output,
    opened: OnceLock<Arc<Broker>>,
    pause_after_keep: OnceLock<PathBuf>,
    has_sent: Arc<AtomicBool>,
}

impl Cx {
    /// Opens nothing yet.
    pub fn new(options: Options) -> Self {
        Self {
            out: options.output,
            options,
            opened: OnceLock::new(),
            pause_after_keep: OnceLock::new(),
            has_sent: Arc::default(),
        }
    }

    /// Whether there is a home. One that isn't there yet reads as empty, and reading makes none.
    /// One that can't be looked at is there: opening it tells what is wrong.
    pub fn home_is_there(&self) -> bool {
        !matches!(self.options.home.try_exists(), Ok(false))
    }

    /// Makes the broker stop for good once it has kept an answer, and say so by making `file`.
    pub fn pause_after_keep(&self, file: PathBuf) {
        // Asked for once, before the broker is opened.
        let _ = self.pause_after_keep.set(file);
    }

    /// For what needs something that must have been made before: without a home it can't be there.
    pub fn must_be_there(&self, what: &'static str, id: &str) -> Result<(), Failure> {
        if self.home_is_there() {
            return Ok(());
        }
        let nearest = Vec::new();
        Err(Failure::Broker(Error::NotFound { what, id: id.to_owned(), nearest }))
    }

    /// The broker on the home folder, which is made if need be.
    pub async fn broker(&self) -> Result<Arc<Broker>, Failure> {
        if let Some(broker) = self.opened.get() {
            return Ok(Arc::clone(broker));
        }
        let has_sent = Arc::clone(&self.has_sent);
        let broker =
            crate::open::broker(&self.options, self.pause_after_keep.get(), has_sent).await?;
        if broker.is_held().await {
            self.out.warning(HELD);
        }
        Ok(Arc::clone(self.opened.get_or_init(|| broker)))
    }

    /// The services: the shipped ones, and those of the home.
    pub fn catalogue(&self) -> Result<Catalogue, Failure> {
        crate::open::catalogue(&self.options)
    }

    /// Whether anything was sent to a service.
    pub fn has_sent(&self) -> bool {
        self.has_sent.load(Ordering::Relaxed)
    }

    /// Does what is due, for a command that went to the network anyway: pending revocations, grants
    /// that would end unused. Never fails the command, nor holds it up for long; what is under way
    /// then is waited for and kept.
    pub async fn do_what_is_due(&self) {
        let Some(broker) = self.opened.get() else { return };
        match tokio::time::timeout(DUE_MAX, broker.keep_up()).await {
            Ok(Ok(report)) => tracing::debug!(?report, "did what was due"),
            Ok(Err(error)) => tracing::warn!(%error, "what is due can't be done now"),
            Err(_) => tracing::info!("what is due takes longer: the next command goes on"),
        }
    }

    /// Runs `work` to its end, in a runtime of its own. A signal ends it early; what it had sent is
    /// waited for and kept in either case.
    pub fn block_on<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::failed("internal", error.to_string(), ""))?;
        let done = runtime.block_on(async {
            let done = tokio::select! {
                biased;
                done = work => done,
                signal = stopped() => Err(Failure::Interrupted(signal)),
            };
            if let Some(broker) = self.opened.get() {
                broker.drain().await;
            }
            done
        });
        // A thread that waits for somebody to type can't be ended, and needn't be waited for.
        runtime.shutdown_background();
        done
    }
}

/// Something that may block for long (a person types), beside the runtime.
pub async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Failure::failed("internal", error.to_string(), "")),
    }
}

/// For how long a command goes on with what is due, once its own work is done.
const DUE_MAX: Duration = Duration::from_secs(5);

/// Waits for a signal that asks us to stop; tells which.
async fn stopped() -> i32 {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let mut streams: Vec<_> =
        kinds.into_iter().filter_map(|k| Some((k, signal(k).ok()?))).collect();
    std::future::poll_fn(|context| {
        for (kind, stream) in &mut streams {
            if stream.poll_recv(context).is_ready() {
                return std::task::Poll::Ready(kind.as_raw_value());
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// No core dumps of this process: memory holds tokens. Children of `exec` inherit the limit.
pub fn switch_core_dumps_off() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // Refused only where it is off already or the system knows no such thing; `doctor` looks.
    let _ = rustix::process::setrlimit(Resource::Core, none);
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Log lines on standard error: `-v` info, `-vv` debug, `-vvv` trace.
pub fn log_to_stderr(verbose: u8) {
    use tracing_subscriber::filter::LevelFilter;
    let level = match verbose {
        0 => return,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}

const HELD: &str =
    "this home was copied, restored or moved: it sends nothing until `indicia takeover`";
