//! The test program as another process: it runs itself, opens the library on a home, and does what
//! it is told. So one process can have many threads, and can be killed.
//!
//! Surprise: what it has kept and learnt it also notes in a plain file, past all that is under
//! test: a `kill -9` takes nothing from a file that was written, so the parent knows what must not
//! be lost.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use indicia::{Broker, Indicia, Options};
use indicia_broker::Force;
use indicia_broker::model::JournalId;
use indicia_broker::ports::{Journal, JournalEntry, JournalError, Sent, SlotNo, Transport};
use indicia_oauth::{Request, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

/// Another process on a home.
pub struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts it; it is ready when this returns. `what`: `ask ID THREADS`, `once ID` (one refresh),
    /// `panic ID`, or `refresh ID LINGER_MS`, which refreshes without end and waits so long between
    /// keeping an answer and storing it.
    pub fn start(home: &Path, notes: &Path, what: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "worker::works", "--nocapture", "--quiet"])
            .env(HOME, home)
            .env(NOTES, notes)
            .env(WHAT, what)
            .env("RUST_BACKTRACE", "full")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(notes.with_extension("stderr")).unwrap())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut worker = Self { child, stdin, stdout };
        worker.until("ready");
        worker
    }

    fn until(&mut self, word: &str) {
        let mut said = String::new();
        while !said.ends_with(&format!("{word}\n")) {
            assert!(self.stdout.read_line(&mut said).unwrap() > 0, "it ended: {said}");
        }
    }

    /// Lets it begin.
    pub fn go(&mut self) {
        writeln!(self.stdin, "go").unwrap();
    }

    /// Waits until it has done its work.
    pub fn done(mut self) {
        self.until("done");
        self.end();
    }

    /// Stops it where it stands, as a laptop's lid does, or lets it go on.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end, whatever that is.
    pub fn end(mut self) {
        drop(self.stdin);
        self.child.wait().unwrap();
    }
}

/// The work. Run with all the tests, without an order, there is none.
#[test]
fn works() {
    let Some(home) = std::env::var_os(HOME).map(PathBuf::from) else { return };
    let notes = PathBuf::from(std::env::var_os(NOTES).unwrap());
    let what = std::env::var(WHAT).unwrap();
    let words: Vec<&str> = what.split(' ').collect();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ports = match words[..] {
        ["panic", ..] => With::Panics,
        ["refresh", _, linger] => With::Notes(Notes::at(&notes, linger.parse().unwrap())),
        _ => With::Notes(Notes::at(&notes, 0)),
    };
    let broker = runtime.block_on(open(&home, ports));
    // A line of its own, whatever the test harness has said before.
    println!("\nready");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    match words[..] {
        ["ask", id, threads] => ask(&runtime, &broker, id, threads.parse().unwrap(), &notes),
        ["refresh", id, _] => refresh_without_end(&runtime, &broker, id),
        ["once", id] => drop(runtime.block_on(broker.refresh(id, Force::No))),
        ["panic", id] => drop(runtime.block_on(broker.refresh(id, Force::Yes))),
        _ => panic!("unknown order {what}"),
    }
    runtime.block_on(broker.drain());
    println!("\ndone");
}

/// Each of so many threads asks for a token; what each was told goes into a file.
fn ask(runtime: &Runtime, broker: &Arc<Broker>, id: &str, threads: usize, notes: &Path) {
    let told = Mutex::new(String::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let line = match runtime.block_on(broker.token(id, None)) {
                    Ok(token) => format!("{} {}\n", token.version, token.access_token.as_str()),
                    Err(error) => format!("error {error}\n"),
                };
                *told.lock().unwrap() += &line;
            });
        }
    });
    std::fs::write(notes.with_extension("told"), told.into_inner().unwrap()).unwrap();
}

fn refresh_without_end(runtime: &Runtime, broker: &Arc<Broker>, id: &str) {
    loop {
        if let Err(error) = runtime.block_on(broker.refresh(id, Force::No)) {
            panic!("{error}");
        }
    }
}

/// What stands before the library's own adapters.
pub enum With {
    /// Nothing.
    Nothing,
    /// Notes of what was answered, kept and stored.
    Notes(Notes),
    /// A network in which whoever sends panics.
    Panics,
}

/// Opens the library on a home.
pub async fn open(home: &Path, with: With) -> Arc<Broker> {
    let options = Options::new(home.to_owned());
    // A refresh ahead of time would be one that nobody here asked for.
    let settings = indicia::Settings { refresh_ahead: false, ..options.settings.clone() };
    let catalogue = Arc::new(indicia::catalogue(home).unwrap());
    let mut ports = Indicia::ports(options).unwrap();
    match with {
        With::Nothing => {}
        With::Notes(notes) => {
            let notes = Arc::new(notes);
            let (transport, journal) = (ports.transport, ports.journal);
            ports.transport = Arc::new(NotesAnswers { transport, notes: Arc::clone(&notes) });
            ports.journal = Arc::new(NotesKept { journal, notes });
        }
        With::Panics => ports.transport = Arc::new(Panics),
    }
    Broker::open(ports, catalogue, settings).await.unwrap()
}

/// A file in which a line is safe from `kill -9` once it was written.
pub struct Notes {
    file: Mutex<File>,
    since: Instant,
    answered_us: AtomicU64,
    linger: Duration,
}

impl Notes {
    fn at(path: &Path, linger_ms: u64) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        Self {
            file: Mutex::new(file),
            since: Instant::now(),
            answered_us: AtomicU64::new(0),
            linger: Duration::from_millis(linger_ms),
        }
    }

    fn write(&self, line: &str) {
        // One write: the line is there whole, or not at all.
        self.file.lock().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_micros()).unwrap()
    }
}

struct NotesAnswers {
    transport: Arc<dyn Transport>,
    notes: Arc<Notes>,
}

#[async_trait]
impl Transport for NotesAnswers {
    async fn send(&self, request: Request, may_write: &(dyn Fn() -> bool + Sync)) -> Sent {
        let sent = self.transport.send(request, may_write).await;
        self.notes.answered_us.store(self.notes.now_us(), Ordering::Relaxed);
        sent
    }
}

struct NotesKept {
    journal: Arc<dyn Journal>,
    notes: Arc<Notes>,
}

#[async_trait]
impl Journal for NotesKept {
    fn id(&self) -> JournalId {
        self.journal.id()
    }

    async fn reserve(&self) -> Result<SlotNo, JournalError> {
        self.journal.reserve().await
    }

    async fn keep(&self, slot: SlotNo, entry: JournalEntry) -> Result<(), JournalError> {
        let version = entry.version;
        self.journal.keep(slot, entry).await?;
        let window = self.notes.now_us() - self.notes.answered_us.load(Ordering::Relaxed);
        self.notes.write(&format!("kept {version} {window}"));
        tokio::time::sleep(self.notes.linger).await;
        Ok(())
    }

    async fn give_back(&self, slot: SlotNo) {
        self.journal.give_back(slot).await;
    }

    async fn entries(&self, of: Option<&str>) -> Result<Vec<JournalEntry>, JournalError> {
        self.journal.entries(of).await
    }

    async fn committed(&self, of: &str, version: u64, now: Timestamp) -> Result<(), JournalError> {
        self.journal.committed(of, version, now).await
    }
}

struct Panics;

#[async_trait]
impl Transport for Panics {
    async fn send(&self, request: Request, _: &(dyn Fn() -> bool + Sync)) -> Sent {
        panic!("with a request of {} bytes in hand", request.body.len());
    }
}

const HOME: &str = "INDICIA_TEST_HOME";
const NOTES: &str = "INDICIA_TEST_NOTES";
const WHAT: &str = "INDICIA_TEST_WHAT";
