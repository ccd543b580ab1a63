//! `indicia doctor`: what is wrong, or will be, and what to do. Looks, and changes nothing; a home
//! that isn't there yet isn't made.

mod reach;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use indicia_broker::Broker;
use indicia_broker::list::ConnectionQuery;
use indicia_broker::view::{ClientView, ConnectionState};
use indicia_oauth::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::args::Doctor;
use crate::failure::Failure;
use crate::home::Cx;
use crate::output::{Grade, day, now, when};
use crate::root_key::RootKeySource;
use crate::words::shown;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    state: Grade,
    detail: String,
    next_step: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, state: Grade::Ok, detail: detail.into(), next_step: None }
    }

    fn bad(
        check: &'static str,
        state: Grade,
        detail: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        Self { check, state, detail: detail.into(), next_step: Some(next_step.into()) }
    }
}

/// Looks.
pub fn run(cx: &Cx, args: &Doctor) -> Result<(), Failure> {
    let mut findings = vec![clock(), core_dumps()];
    findings.extend(services(cx));
    if cx.home_is_there() {
        findings.push(home(cx));
        findings.push(root_key(cx));
        findings.push(journal(cx));
        findings.extend(cx.block_on(store(cx, args.offline))?);
    } else {
        let detail = format!("{} is not there yet; the first client makes it", path(cx));
        findings.push(Finding::ok("home", detail));
    }
    report(cx, &findings)
}

fn report(cx: &Cx, findings: &[Finding]) -> Result<(), Failure> {
    if cx.out.json {
        cx.out.document(&json!({ "checks": findings }))?;
    } else {
        for finding in findings {
            let grade = cx.out.grade(finding.state);
            let mut lines = finding.detail.lines().map(shown);
            let first = lines.next().unwrap_or_default();
            cx.out.line(&format!("{grade}  {:14}  {first}", finding.check))?;
            for line in lines {
                cx.out.line(&format!("      {:14}  {line}", ""))?;
            }
            if let Some(step) = &finding.next_step {
                cx.out.line(&format!("      {:14}  next: {}", "", shown(step)))?;
            }
        }
    }
    let failed = findings.iter().filter(|finding| finding.state == Grade::Fail).count();
    match failed {
        0 => Ok(()),
        n => Err(Failure::failed(
            "doctor_found",
            format!("{n} of {} checks failed", findings.len()),
            "take the next steps above",
        )),
    }
}

fn path(cx: &Cx) -> String {
    cx.options.home.display().to_string()
}

fn clock() -> Finding {
    let now = now();
    match now.as_millis() < BUILT_AFTER_MILLIS {
        false => Finding::ok("clock", indicia_broker::view::rfc3339(now)),
        true => Finding::bad(
            "clock",
            Grade::Fail,
            "the wall clock stands before this program was built: tokens would look valid for ever",
            "set the clock, best by NTP",
        ),
    }
}

fn core_dumps() -> Finding {
    match rustix::process::getrlimit(rustix::process::Resource::Core).current {
        Some(0) => Finding::ok("core dumps", "off in this program"),
        _ => Finding::bad(
            "core dumps",
            Grade::Warn,
            "this system doesn't let them be switched off: one could hold a token",
            "switch them off for this user: ulimit -c 0",
        ),
    }
}

/// The home's own service files, and endpoints of services that end soon.
fn services(cx: &Cx) -> Vec<Finding> {
    match cx.catalogue() {
        Err(failure) => {
            let said = failure.said();
            let detail = said.as_ref().map(|said| said.detail.clone()).unwrap_or_default();
            let step = "`indicia services check FILE` tells more";
            vec![Finding::bad("service files", Grade::Fail, detail, step)]
        }
        Ok(catalogue) => {
            let usable =
                catalogue.ids().iter().filter(|id| catalogue.service(id).is_some()).count();
            let bad = catalogue.problems().into_iter().map(|problem| {
                let step = "mend it: until then this service can't be used, others can";
                Finding::bad("service files", Grade::Fail, problem.to_string(), step)
            });
            let good = Finding::ok("service files", format!("{usable} services"));
            std::iter::once(good).chain(bad).collect()
        }
    }
}

fn home(cx: &Cx) -> Finding {
    let home = &cx.options.home;
    match std::fs::metadata(home) {
        Err(error) => Finding::bad(
            "home",
            Grade::Fail,
            format!("{} can't be read: {error}", path(cx)),
            "check its rights, or choose another with --home",
        ),
        Ok(found) if !found.is_dir() => Finding::bad(
            "home",
            Grade::Fail,
            format!("{} is not a folder", path(cx)),
            "choose a folder with --home",
        ),
        Ok(found) => match found.permissions().mode() & 0o077 {
            0 => Finding::ok("home", path(cx)),
            _ => Finding::bad(
                "home",
                Grade::Fail,
                format!("{} can be entered by other users", path(cx)),
                format!("chmod 700 {}", path(cx)),
            ),
        },
    }
}

fn root_key(cx: &Cx) -> Finding {
    match &cx.options.root_key {
        RootKeySource::Variable(name) => match std::env::var_os(name) {
            Some(_) => Finding::ok("root key", format!("from the variable {name}")),
            None => Finding::bad(
                "root key",
                Grade::Fail,
                format!("the variable {name} isn't set"),
                format!("set {name}, or give another source with --root-key"),
            ),
        },
        RootKeySource::File(file) => root_key_file(cx, file),
        // It was read, or nothing of the store could be.
        other => Finding::ok("root key", format!("from {}", other.spelt())),
    }
}

fn root_key_file(cx: &Cx, file: &Path) -> Finding {
    let shown = file.display();
    match std::fs::metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !has_store(cx) => {
            Finding::ok("root key", "made with the store, when the first client is added")
        }
        Err(error) => Finding::bad(
            "root key",
            Grade::Fail,
            format!("{shown} can't be read: {error}"),
            "restore it from where you keep it: without it nothing stored can be opened",
        ),
        Ok(found) if found.permissions().mode() & 0o077 != 0 => Finding::bad(
            "root key",
            Grade::Fail,
            format!("{shown} can be read by other users"),
            format!("chmod 600 {shown}"),
        ),
        Ok(found) => {
            let beside = std::fs::metadata(&cx.options.home).is_ok_and(|h| h.dev() == found.dev());
            match beside {
                true => Finding::ok(
                    "root key",
                    format!(
                        "{shown}; beside the store it protects backups and disks, not this machine"
                    ),
                ),
                false => Finding::ok("root key", shown.to_string()),
            }
        }
    }
}

fn journal(cx: &Cx) -> Finding {
    let folder = cx.options.home.join("journal");
    match std::fs::read_dir(&folder) {
        Ok(_) => Finding::ok("journal", folder.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Finding::ok("journal", "nothing was kept yet")
        }
        Err(error) => Finding::bad(
            "journal",
            Grade::Fail,
            format!("{} can't be read: {error}", folder.display()),
            "check its rights: without a journal nothing is refreshed",
        ),
    }
}

fn has_store(cx: &Cx) -> bool {
    cx.options.home.join("indicia.db").exists()
}

/// Opens the store, and looks at what is in it.
async fn store(cx: &Cx, offline: bool) -> Result<Vec<Finding>, Failure> {
    if !has_store(cx) {
        return Ok(vec![Finding::ok("store", "nothing is stored yet")]);
    }
    let broker = match cx.broker().await {
        Ok(broker) => broker,
        Err(failure) => {
            let said = failure.said();
            let (detail, hint) = said.map(|said| (said.detail, said.hint)).unwrap_or_default();
            return Ok(vec![Finding::bad("store", Grade::Fail, detail, hint)]);
        }
    };
    let mut findings = vec![match broker.is_held().await {
        false => Finding::ok("store", "opens with this root key"),
        true => {
            let detail = "was copied, restored or moved, so it sends nothing";
            let step = "once the original isn't used any more: `indicia takeover`";
            Finding::bad("store", Grade::Fail, detail, step)
        }
    }];
    let clients = broker.clients().await?;
    findings.extend(clients.iter().flat_map(|client| client_findings(&broker, client)));
    for ending in broker.secrets_ending(now().plus(SOON)).await? {
        let step = format!("make a new one in the portal, then {}", ending.next_step);
        let client = ending.client.unwrap_or_default();
        let detail = format!("{client}: {} {}", ending.detail, when(ending.at, now()));
        findings.extend(by_date("client secret", ending.at, detail, &step));
    }
    if !offline {
        let tried = reach::services(&broker, &clients);
        findings.extend(cx.out.wait("connecting to services", tried).await);
    }
    findings.push(connections(&broker).await?);
    findings.push(revocations(&broker).await?);
    Ok(findings)
}

fn client_findings(broker: &Broker, client: &ClientView) -> Vec<Finding> {
    let mut findings = Vec::new();
    let id = &client.id;
    if let Some(said) = &client.refused {
        let step = format!("check its secret, then `indicia clients secrets {id} add`");
        let detail = format!("{id}: the service refuses it: {said}");
        findings.push(Finding::bad("client", Grade::Fail, detail, step));
    }
    if let Some(path) = &client.overridden {
        let detail = format!("{id}: {} is overridden by {path}", client.service);
        let step = "nothing, if it is yours; it decides where this client's secrets go";
        findings.push(Finding::bad("overridden", Grade::Warn, detail, step));
    }
    if let Some(service) = broker.catalogue().service(&client.service) {
        for (endpoint, date) in &service.ends {
            let Some(end) = day(date, 0) else { continue };
            let detail = format!("{}: {endpoint} ends on {date}", client.service);
            let step = "use an Indicia or a service file that knows its successor";
            findings.extend(by_date("endpoint", end, detail, step));
        }
    } else if broker.catalogue().problems_of(&client.service).is_empty() {
        let detail = format!("{id}: there is no service {:?} any more", client.service);
        let step = "put its file back into the folder services in the home";
        findings.push(Finding::bad("client", Grade::Fail, detail, step));
    }
    findings
}

/// What ends at a date: fine while that is far away.
fn by_date(check: &'static str, end: Timestamp, detail: String, step: &str) -> Option<Finding> {
    let left = end.since(now());
    let grade = match () {
        () if left == Duration::ZERO => Grade::Fail,
        () if left < SOON => Grade::Warn,
        () => return None,
    };
    Some(Finding::bad(check, grade, detail, step))
}

async fn connections(broker: &Broker) -> Result<Finding, Failure> {
    let mut unwell = Vec::new();
    let mut all = 0_usize;
    let mut after: Option<String> = None;
    loop {
        let query = ConnectionQuery::default();
        let (page, next) = broker.connections(query, after.as_deref(), PAGE).await?;
        all += page.len();
        let bad = page.iter().filter(|view| {
            matches!(
                view.state,
                ConnectionState::Attention | ConnectionState::ReauthorizationRequired
            )
        });
        unwell.extend(bad.map(|view| view.id.clone()).take(NAMED_MAX));
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    unwell.truncate(NAMED_MAX);
    Ok(match unwell.first() {
        None => Finding::ok("connections", format!("{all}, none needs attention")),
        Some(first) => Finding::bad(
            "connections",
            Grade::Warn,
            format!("{all}, of which these need attention: {}", unwell.join(", ")),
            format!("`indicia explain {first}`"),
        ),
    })
}

async fn revocations(broker: &Broker) -> Result<Finding, Failure> {
    Ok(match broker.pending_revocations().await? {
        0 => Finding::ok("revocations", "none is pending at a service"),
        n => Finding::bad(
            "revocations",
            Grade::Warn,
            format!("{n} pending: ended here, but the service hasn't taken them back yet"),
            "`indicia recover` tries them again",
        ),
    })
}

/// What ends within this is worth a word.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);
/// This program was written after this: 2026-01-01.
const BUILT_AFTER_MILLIS: i64 = 1_767_225_600_000;
const PAGE: usize = 500;
const NAMED_MAX: usize = 5;
