//! The stage: a temporary home, two sandboxes, real processes of this binary, and a small HTTP
//! client for the calls that an application would make.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicia_catalog::{ClientKind, Service};
use indicia_sandbox::{Options, Registration, Sandbox, StartOptions};
use serde_json::Value;
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::cast::{Cast, Settings};
use crate::failure::Failure;
use crate::output::Output;
use crate::words::shown;

/// What one command did.
pub struct Ran {
    /// Exit status; -1: a signal.
    pub status: i32,
    /// Standard output.
    pub stdout: Zeroizing<String>,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Standard output as JSON; null when it isn't.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or(Value::Null)
    }

    /// Fails the act when the command did.
    pub fn must(self, what: &str) -> Result<Self, Failure> {
        if self.status == 0 {
            return Ok(self);
        }
        let said = self.stderr.trim();
        Err(failed(format!("{what}: exit status {}: {said}", self.status)))
    }
}

/// An act can't go on.
pub fn failed(detail: impl Into<String>) -> Failure {
    Failure::failed("demo_failed", detail, "this is a defect: please report it")
}

/// One connection of the play: client and connection have the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// At the service that keeps its refresh token.
    Keeps,
    /// At the one that rotates.
    Rotates,
    /// At the one that rotates and forgives.
    Forgives,
    /// At the one that can revoke.
    Revokes,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Keeps, Self::Rotates, Self::Forgives, Self::Revokes];

    /// Id of client and connection.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Keeps => "keeps",
            Self::Rotates => "rotates",
            Self::Forgives => "forgives",
            Self::Revokes => "revokes",
        }
    }
}

/// Everything that the play needs.
pub struct Stage {
    out: Output,
    home: TempDir,
    program: PathBuf,
    cast: Cast,
    /// All services as they are, but for short lives and reuse detection.
    main: Sandbox,
    /// The variant that forgives: it has the same addresses, so it needs a machine of its own.
    forgiving: Sandbox,
    /// Tokens that were seen, to be looked for where they must not be.
    seen: Vec<Zeroizing<String>>,
}

impl Stage {
    /// Sets it up.
    pub fn set(out: Output, cast: Cast) -> Result<Self, Failure> {
        let home = tempfile::Builder::new()
            .prefix("indicia-demo-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()
            .map_err(|error| failed(format!("no temporary folder: {error}")))?;
        let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
        let services = home.path().join("services");
        std::fs::create_dir(&services)
            .and_then(|()| std::fs::write(services.join("forgiving.toml"), &cast.forgives_text))
            .map_err(|error| failed(format!("{}: {error}", services.display())))?;
        let main = start(vec![
            Arc::clone(&cast.keeps),
            Arc::clone(&cast.rotates),
            Arc::clone(&cast.revokes),
        ])?;
        let forgiving = start(vec![Arc::clone(&cast.forgives)])?;
        Ok(Self { out, home, program, cast, main, forgiving, seen: Vec::new() })
    }

    /// Says something to whoever watches.
    pub fn tell(&self, text: &str) {
        if !self.out.json && !self.out.quiet {
            // The story is the result of this command; when nobody reads it any more, the proof at
            // the end says so.
            let _ = self.out.line(text);
        }
    }

    /// The service of a part.
    pub fn service(&self, part: Part) -> &Arc<Service> {
        match part {
            Part::Keeps => &self.cast.keeps,
            Part::Rotates => &self.cast.rotates,
            Part::Forgives => &self.cast.forgives,
            Part::Revokes => &self.cast.revokes,
        }
    }

    /// The sandbox of a part.
    pub const fn sandbox(&self, part: Part) -> &Sandbox {
        match part {
            Part::Keeps | Part::Rotates | Part::Revokes => &self.main,
            Part::Forgives => &self.forgiving,
        }
    }

    /// The home folder.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Leaves the home where it is.
    pub fn keep(self) -> PathBuf {
        self.home.keep()
    }

    /// Notes a token, to be looked for later.
    pub fn saw(&mut self, token: &str) {
        self.seen.push(Zeroizing::new(token.to_owned()));
    }

    /// All tokens that were seen.
    pub fn seen(&self) -> &[Zeroizing<String>] {
        &self.seen
    }

    /// A command of this binary on the play's home, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--home").arg(self.home.path()).args(args);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("INDICIA_") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts a command.
    pub fn start(&self, args: &[&str]) -> Result<Child, Failure> {
        self.tell(&format!("  $ indicia {}", args.join(" ")));
        self.command(args).spawn().map_err(|error| failed(format!("{}: {error}", args.join(" "))))
    }

    /// Runs a command with something on its standard input.
    pub fn run_with(&self, args: &[&str], input: &str) -> Result<Ran, Failure> {
        let mut child = self.start(args)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that didn't read its input has said why on standard error.
            let _ = stdin.write_all(input.as_bytes());
        }
        finished(child)
    }

    /// Runs a command.
    pub fn run(&self, args: &[&str]) -> Result<Ran, Failure> {
        self.run_with(args, "")
    }

    /// Registers the client at the service and adds it here.
    pub fn add_client(&self, part: Part) -> Result<(), Failure> {
        let service = self.service(part);
        let kind = service.client_kinds.first().copied().unwrap_or(ClientKind::Confidential);
        let settings = match part {
            Part::Keeps => self.cast.keeps_settings.clone(),
            Part::Rotates | Part::Forgives | Part::Revokes => Settings::new(),
        };
        let set: Vec<String> =
            settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let address = self.sandbox(part).addr.to_string();
        let mut args = vec!["clients", "add", &service.id, "--id", part.id(), "--client-id"];
        args.extend([part.id(), "--sandbox", &address, "--json"]);
        args.extend(set.iter().flat_map(|pair| ["--set", pair.as_str()]));
        if kind == ClientKind::Confidential {
            args.push("--secret-stdin");
        }
        let added = self.run_with(&args, PLAY_SECRET)?.must("clients add")?.json();
        let redirect_uri = added["redirect_uri"].as_str().unwrap_or_default().to_owned();
        let secret = (kind == ClientKind::Confidential).then(|| PLAY_SECRET.to_owned());
        self.sandbox(part).with_model(&service.id, |model| {
            model.register(Registration {
                client_id: part.id().to_owned(),
                secrets: secret.into_iter().collect(),
                kind,
                redirect_uris: vec![redirect_uri],
                inputs: std::collections::BTreeMap::new(),
                settings,
            });
        });
        Ok(())
    }

    /// Connects, and plays the click of the account's owner. Gives the connection as JSON.
    pub fn connect(&self, part: Part) -> Result<Value, Failure> {
        let service = self.service(part);
        let capability = service.scopes.capabilities.keys().next().map(|c| c.as_str());
        let mut args = vec!["connect", part.id(), "--id", part.id(), "--no-browser", "--json"];
        args.extend(capability.into_iter().flat_map(|capability| ["--can", capability]));
        let mut child = self.start(&args)?;
        let (Some(mut stdin), Some(stderr)) = (child.stdin.take(), child.stderr.take()) else {
            return Err(failed("a process without pipes"));
        };
        let mut stderr = BufReader::new(stderr);
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            let read = stderr.read_line(&mut line).map_err(|error| failed(error.to_string()))?;
            if let Some(address) = line.trim().strip_prefix("http://") {
                break format!("http://{address}");
            }
            said += &line;
            if read == 0 {
                return Err(failed(format!("connect gave no address: {}", said.trim())));
            }
        };
        self.tell("    (the account's owner logs in at the service and clicks Allow)");
        let sandbox = self.sandbox(part);
        let now = sandbox.now();
        let clicked = sandbox.with_model(&service.id, |model| model.approve(&address, "", now));
        let callback = match clicked {
            Some(Ok(callback)) => callback,
            Some(Err(refused)) => return Err(failed(refused.to_string())),
            None => return Err(failed("the sandbox lost a service")),
        };
        stdin.write_all(callback.as_bytes()).map_err(|error| failed(error.to_string()))?;
        drop(stdin);
        let mut rest = String::new();
        // What it says here is only needed when it fails.
        let _ = stderr.read_to_string(&mut rest);
        let mut ran = finished(child)?;
        ran.stderr = said + &rest;
        Ok(ran.must("connect")?.json())
    }

    /// The token of a connection as JSON, with what else the command said.
    pub fn token(&mut self, part: Part) -> Result<Ran, Failure> {
        let ran = self.run(&["token", part.id(), "--json"])?;
        if let Some(token) = ran.json()["access_token"].as_str() {
            let token = Zeroizing::new(token.to_owned());
            self.saw(&token);
        }
        Ok(ran)
    }

    /// Calls the service's API as an application would, with what `indicia token --json` gave.
    pub fn call_api(&self, token: &Value) -> Result<u16, Failure> {
        let url = token["api_base_url"].as_str().unwrap_or_default();
        let headers = token["headers"].as_object().into_iter().flatten();
        let headers: Vec<(String, String)> = headers
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect();
        let (status, _) = get(url, &headers)?;
        self.tell(&format!("    GET {} → {status}", shown(url)));
        Ok(status)
    }

    /// What the service itself recorded, over HTTP.
    pub fn record(&self, part: Part) -> Result<Record, Failure> {
        let address = self.sandbox(part).addr;
        let url = format!("http://{address}/_sandbox/record?service={}", self.service(part).id);
        let (status, body) = get(&url, &[])?;
        let record = serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))?;
        match status {
            200 => Ok(Record { client_id: part.id(), record }),
            other => Err(failed(format!("{url} answered {other}"))),
        }
    }

    /// Puts a fault on a part's sandbox; all others are taken back.
    pub fn fault(&self, part: Part, fault: Option<&str>) -> Result<(), Failure> {
        let sandbox = self.sandbox(part);
        sandbox.clear_faults();
        if let Some(fault) = fault {
            let place = format!("{fault}@{}/refresh", self.service(part).id);
            self.tell(&format!("    (fault at the service: {place})"));
            sandbox.add_fault(
                place.parse().map_err(|error: indicia_sandbox::faults::FaultError| {
                    failed(error.to_string())
                })?,
            );
        }
        Ok(())
    }
}

/// A service's own record, as far as it is about one client.
pub struct Record {
    client_id: &'static str,
    record: Value,
}

impl Record {
    fn grants(&self) -> impl DoubleEndedIterator<Item = &Value> {
        let all = self.record["grants"].as_array().into_iter().flatten();
        all.filter(|grant| grant["client_id"] == self.client_id)
    }

    /// Events of a kind (`exchange`, `api_call`, `reuse_detected`, …) about the client's grants.
    pub fn events(&self, kind: &str) -> Vec<&Value> {
        let ids: Vec<&Value> = self.grants().map(|grant| &grant["id"]).collect();
        let all = self.record["events"].as_array().into_iter().flatten();
        all.filter(|event| event["what"] == kind && ids.contains(&&event["grant"])).collect()
    }

    /// How many of them there were.
    pub fn count(&self, kind: &str) -> usize {
        self.events(kind).len()
    }

    /// API calls that were let in, and those that were refused.
    pub fn calls(&self) -> (usize, usize) {
        let (ok, refused): (Vec<_>, Vec<_>) =
            self.events("api_call").into_iter().partition(|event| event["ok"] == true);
        (ok.len(), refused.len())
    }

    /// The newest grant.
    pub fn grant(&self) -> &Value {
        self.grants().next_back().unwrap_or(&Value::Null)
    }

    /// Whether the newest grant lives.
    pub fn alive(&self) -> bool {
        self.grant()["alive"] == Value::Bool(true)
    }

    /// Refreshes of the newest grant that were processed.
    pub fn refreshes(&self) -> usize {
        self.grant()["refreshes"].as_array().map_or(0, Vec::len)
    }

    /// Whether this access token is of the newest token set of the newest grant, by its hash.
    pub fn is_newest(&self, access_token: &str) -> bool {
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest(access_token.as_bytes());
        let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let newest = self.grant()["generations"].as_array().and_then(|all| all.last());
        let known = newest.and_then(|newest| newest["access"].as_str()).unwrap_or_default();
        !known.is_empty() && hash.starts_with(known)
    }
}

/// Waits for a command's end.
pub fn finished(child: Child) -> Result<Ran, Failure> {
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ran {
        status: output.status.code().unwrap_or(-1),
        stdout: Zeroizing::new(text(output.stdout)),
        stderr: text(output.stderr),
    })
}

/// Waits until something is so, at most a while.
pub fn until(mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + WAIT_MAX;
    while Instant::now() < end {
        if is_so() {
            return true;
        }
        std::thread::sleep(LOOK_PAUSE);
    }
    false
}

fn start(services: Vec<Arc<Service>>) -> Result<Sandbox, Failure> {
    let options = StartOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        services,
        options: Options {
            seed: 1,
            life_max: Some(LIFE),
            reuse_kills: Some(true),
            ..Options::default()
        },
        faults: Vec::new(),
    };
    Sandbox::start_in_thread(options).map_err(|error| failed(format!("no sandbox: {error}")))
}

/// GET over plain HTTP on this machine.
fn get(url: &str, headers: &[(String, String)]) -> Result<(u16, Vec<u8>), Failure> {
    let broken = |error: std::io::Error| failed(format!("{url}: {error}"));
    let rest = url.strip_prefix("http://").ok_or_else(|| failed(format!("{url}: not http")))?;
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(address).map_err(broken)?;
    let mut request = Zeroizing::new(format!(
        "GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAccept: application/json\r\n"
    ));
    for (name, value) in headers {
        *request += &format!("{name}: {value}\r\n");
    }
    *request += "\r\n";
    stream.set_read_timeout(Some(WAIT_MAX)).map_err(broken)?;
    stream.write_all(request.as_bytes()).map_err(broken)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(broken)?;
    let head_end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let head_end = head_end.ok_or_else(|| failed(format!("{url}: no HTTP answer")))?;
    let head = String::from_utf8_lossy(&answer[..head_end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| failed(format!("{url}: no HTTP status")))?;
    Ok((status, answer[head_end + 4..].to_vec()))
}

/// Life of every access token: long enough for slow machines, short enough to watch one end.
pub const LIFE: Duration = Duration::from_secs(6);
/// The clients' secret; play money, but looked for all the same.
pub const PLAY_SECRET: &str = "play-secret-5f1c";
const WAIT_MAX: Duration = Duration::from_secs(10);
const LOOK_PAUSE: Duration = Duration::from_millis(5);
