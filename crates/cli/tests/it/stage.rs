//! A home of its own for each test, commands on it, and a sandbox process to talk to.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http;

/// The binary under test.
pub const INDICIA: &str = env!("CARGO_BIN_EXE_indicia");

/// What a command did.
#[derive(Clone, Debug)]
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The error document of `--json`: the last line of standard error.
    #[track_caller]
    pub fn error(&self) -> Value {
        let line = self.stderr.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 0, "{self:?}");
        self
    }

    #[track_caller]
    pub fn fails(self, status: i32, says: &str) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.stderr.contains(says), "expected {says:?} in {self:?}");
        self
    }

    /// The one line of standard output.
    #[track_caller]
    pub fn line(&self) -> &str {
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        self.stdout.trim_end()
    }
}

/// A home, which isn't there yet.
pub struct Home {
    folder: TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// A path beside the home.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(INDICIA);
        command.args(args).env("INDICIA_HOME", self.path());
        for name in ["INDICIA_ROOT_KEY", "DISPLAY", "WAYLAND_DISPLAY", "BROWSER"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, "")
    }

    pub fn run_with(&self, args: &[&str], input: &str) -> Ran {
        feed(self.command(args).spawn().unwrap(), input)
    }

    /// Adds a client at the sandbox, under the service's own name.
    #[track_caller]
    pub fn add_client(&self, sandbox: &Sandbox, service: &str, more: &[&str]) -> Value {
        let address = sandbox.address.as_str();
        let mut args = vec!["clients", "add", service, "--client-id", "app", "--sandbox", address];
        args.extend(["--secret-stdin", "--json"]);
        args.extend(more);
        self.run_with(&args, SECRET).ok().json()
    }

    /// Connects by pasting, with the owner's click; gives the connection.
    #[track_caller]
    pub fn connect(&self, sandbox: &Sandbox, args: &[&str]) -> Value {
        let connecting = self.connecting(args);
        let callback = sandbox.approve(&connecting.address);
        connecting.paste(&callback).ok().json()
    }

    /// Begins to connect with `--no-browser`, up to the address.
    pub fn connecting(&self, args: &[&str]) -> Connecting {
        let args = [&["connect"], args, &["--no-browser", "--json"]].concat();
        Connecting::of(self.command(&args).spawn().unwrap())
    }
}

/// The secret of every client in these tests.
pub const SECRET: &str = "s3cret-of-the-client-8c1f";

pub fn feed(mut child: Child, input: &str) -> Ran {
    let mut stdin = child.stdin.take().unwrap();
    // Who has failed already reads no more.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    end(child)
}

pub fn end(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    Ran {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs a command on a terminal of its own; types `typed` once it has shown `asked`. Gives all that
/// the terminal showed.
pub fn on_terminal(command: Command, asked: &str, typed: &str) -> String {
    on_terminal_in_turn(command, &[(asked, typed)])
}

/// The same with several questions, each answered for as long as it is the last on the screen.
pub fn on_terminal_in_turn(command: Command, answers: &[(&str, &str)]) -> String {
    on_terminal_by(command, |shown| {
        let asked = answers.iter().filter(|(asked, _)| !asked.is_empty());
        let last = asked.filter_map(|(asked, typed)| Some((shown.rfind(asked)?, typed)));
        last.max().map(|(_, typed)| (*typed).to_owned())
    })
}

/// The same with whatever is typed for what was shown.
pub fn on_terminal_by(
    mut command: Command,
    mut typed: impl FnMut(&str) -> Option<String>,
) -> String {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let end = || File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end());
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut keyboard = File::from(master);
    let mut screen = keyboard.try_clone().unwrap();
    let (chunks, arrived) = std::sync::mpsc::channel();
    // Reading ends with an error once nobody holds the other end.
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(n) = screen.read(&mut bytes) {
            if chunks.send(bytes[..n].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut shown = String::new();
    let late = Instant::now() + Duration::from_secs(60);
    loop {
        match arrived.recv_timeout(Duration::from_millis(500)) {
            Ok(bytes) => shown += &String::from_utf8_lossy(&bytes),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            // It waits. A prompt throws away what was typed before it was ready: so type until it
            // goes on.
            Err(_) => {
                if let Some(typed) = typed(&shown) {
                    keyboard.write_all(typed.as_bytes()).unwrap();
                }
            }
        }
        if Instant::now() > late {
            child.kill().unwrap();
            panic!("it still waits: {shown:?}");
        }
    }
    child.wait().unwrap();
    shown
}

/// The same command as the one that the terminal belongs to, so that Ctrl-C reaches it.
pub fn owning_its_terminal(command: &Command) -> Command {
    let mut owner = Command::new("setsid");
    owner.arg("--ctty").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => owner.env(name, value),
            None => owner.env_remove(name),
        };
    }
    owner
}

/// A `connect` that waits for its callback.
pub struct Connecting {
    pub child: Child,
    pub address: String,
    stdin: ChildStdin,
    stderr: BufReader<ChildStderr>,
    said: String,
}

impl Connecting {
    pub fn of(mut child: Child) -> Self {
        let stdin = child.stdin.take().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let read = stderr.read_line(&mut line).unwrap();
            assert!(read > 0, "no address: {said}");
            said += &line;
            if line.starts_with("http") {
                let address = line.trim_end().to_owned();
                return Self { child, address, stdin, stderr, said };
            }
        }
    }

    /// The line that comes after one with this in it.
    pub fn line_after(&mut self, marker: &str) -> String {
        let mut before = String::new();
        loop {
            let mut line = String::new();
            assert!(self.stderr.read_line(&mut line).unwrap() > 0, "no {marker:?}: {}", self.said);
            self.said += &line;
            if before.contains(marker) {
                return line.trim_end().to_owned();
            }
            before = line;
        }
    }

    pub fn paste(mut self, callback: &str) -> Ran {
        let _ = self.stdin.write_all(callback.as_bytes());
        self.end()
    }

    pub fn end(mut self) -> Ran {
        drop(self.stdin);
        let late = Instant::now() + Duration::from_secs(60);
        while self.child.try_wait().unwrap().is_none() {
            if Instant::now() > late {
                self.child.kill().unwrap();
                panic!("it still waits: {}", self.said);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.stderr.read_to_string(&mut self.said).unwrap();
        let mut ran = end(self.child);
        ran.stderr = self.said;
        ran
    }
}

/// A running `indicia sandbox`.
pub struct Sandbox {
    pub address: String,
    /// What it said when it began.
    pub told: Value,
    child: Child,
}

impl Sandbox {
    pub fn start(args: &[&str]) -> Self {
        Self::start_in(&Home::new(), args)
    }

    /// With the service files of a home.
    pub fn start_in(home: &Home, args: &[&str]) -> Self {
        let args = [&["sandbox", "--listen", "127.0.0.1:0", "--json"], args].concat();
        let mut child = home.command(&args).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        let told: Value = loop {
            assert!(stdout.read_line(&mut text).unwrap() > 0, "the sandbox ended: {text}");
            if let Ok(told) = serde_json::from_str(&text) {
                break told;
            }
        };
        // Kept open: a sandbox whose output can't be written would end.
        std::mem::forget(stdout);
        Self { address: told["address"].as_str().unwrap().to_owned(), told, child }
    }

    fn url(&self, call: &str) -> String {
        format!("http://{}/_sandbox/{call}", self.address)
    }

    /// The owner's click; gives the callback.
    #[track_caller]
    pub fn approve(&self, authorize_url: &str) -> String {
        self.click(&json!({ "authorize_url": authorize_url }))
    }

    #[track_caller]
    pub fn deny(&self, authorize_url: &str) -> String {
        self.click(&json!({ "authorize_url": authorize_url, "deny": true }))
    }

    #[track_caller]
    pub fn click(&self, click: &Value) -> String {
        let answer = http::post(&self.url("approve"), click);
        let told = answer.json();
        told["callback_url"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    pub fn record(&self, service: &str) -> Value {
        http::get(&self.url(&format!("record?service={service}"))).json()
    }

    pub fn faults(&self, faults: &[&str]) {
        let cleared = http::raw(
            &self.address,
            &format!(
                "DELETE /_sandbox/faults HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
                self.address
            ),
        );
        assert_eq!(cleared.status, 200);
        let set = http::post(&self.url("faults"), &json!({ "add": faults }));
        assert_eq!(set.status, 200, "{set:?}");
    }

    /// The client as somebody registered it in the portal, with a value of its `rotation` setting.
    pub fn register(&self, service: &str, rotation: &str) {
        let body = json!({
            "service": service,
            "client_id": "app",
            "secrets": [SECRET],
            "redirect_uris": [],
            "settings": { "rotation": rotation },
        });
        assert_eq!(http::post(&self.url("register"), &body).status, 200);
    }

    pub fn secrets(&self, service: &str, secrets: &[&str]) {
        let body = json!({ "service": service, "client_id": "app", "secrets": secrets });
        assert_eq!(http::post(&self.url("secrets"), &body).status, 200);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nothing listens on now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until something is so.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sleeps until a connection's token has ended.
pub fn wait_for_the_end(connection: &Value) {
    // It is told in whole seconds.
    let left = left_of(connection) + jiff::SignedDuration::from_secs(1);
    std::thread::sleep(Duration::try_from(left).unwrap_or_default());
}

/// Whether a connection's token has ended.
pub fn has_ended(connection: &Value) -> bool {
    !left_of(connection).is_positive()
}

fn left_of(connection: &Value) -> jiff::SignedDuration {
    let end: jiff::Timestamp = connection["expires_at"].as_str().unwrap().parse().unwrap();
    end.duration_since(jiff::Timestamp::now())
}

/// All files under a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}
