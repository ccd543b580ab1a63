//! The acts, in the order in which they are played. Each tells what it does, does it with real
//! processes, and gives rows that the service's record bears out.

use std::time::Duration;

use serde_json::Value;

use super::Proven;
use super::stage::{LIFE, PLAY_SECRET, Part, Stage, failed, finished, until};
use crate::failure::Failure;

/// An act.
type Act = fn(&mut Stage) -> Result<Vec<Proven>, Failure>;

/// All of them.
pub const ACTS: &[(&str, Act)] = &[
    ("1. Clients are registered and connected", connect),
    ("2. A token is printed, and the API takes it", call),
    ("3. The tokens end, and new ones come", expire),
    ("4. Two processes ask for one ended token at once", two_at_once),
    ("5. The service is down while the token is good", outage),
    ("6. An answer is lost where the service forgives", lost_and_forgiven),
    ("7. An answer is lost where the service does not forgive", lost),
    ("8. The grant is gone, and is connected again under the same id", reconnect),
    ("9. The process is killed between the answer and the commit", killed),
    ("10. A token leaks", leaked),
    ("11. Nothing secret lies about", canaries),
];

fn row(what: &'static str, how: String, ok: bool) -> Proven {
    Proven { what, how, ok }
}

fn connect(stage: &mut Stage) -> Result<Vec<Proven>, Failure> {
    let mut how = Vec::new();
    let mut ok = true;
    for part in Part::ALL {
        let name = stage.service(part).name.clone();
        stage.tell(&format!("  {name}, as {:?}:", part.id()));
        stage.add_client(part)?;
        let connection = stage.connect(part)?;
        let record = stage.record(part)?;
        let exchanged = record.count("exchange");
        ok &= exchanged == 1 && record.alive() && connection["id"] == part.id();
        how.push(format!("{name}: {exchanged} code exchanged"));
    }
    Ok(vec![row("Each connection is one grant at its service", how.join("; "), ok)])
}

fn call(stage: &mut Stage) -> Result<Vec<Proven>, Failure> {
    let token = stage.token(Part::Keeps)?.must("token")?.json();
    // The one place where a token is shown: it opens nothing but the sandbox, and that for seconds.
    stage.tell(&format!("    {}", text(&token, "access_token")));
    let before = stage.record(Part::Keeps)?.calls();
    let status = stage.call_api(&token)?;
    let after = stage.record(Part::Keeps)?.calls();
    let (calls, refused) = (after.0 - before.0, after.1 - before.1);
    let ok = calls == 1 && refused == 0;
    let how =
        format!("the API answered {status}; its record has {calls} call let in, {refused} refused");
    Ok(vec![row("The token that is printed is one that the API takes", how, ok)])
}

fn expire(stage: &mut Stage) -> Result<Vec<Proven>, Failure> {
    let before = stage.token(Part::Keeps)?.must("token")?.json();
    let had = stage.record(Part::Keeps)?.refreshes();
    stage.tell(&format!(
        "    (waiting for the tokens to end: they live for {} s here)",
        LIFE.as_secs()
    ));
    std::thread::sleep(LIFE + MARGIN);
    let refused = stage.call_api(&before)?;
    let after = stage.token(Part::Keeps)?.must("token")?.json();
    let taken = stage.call_api(&after)?;
    let record = stage.record(Part::Keeps)?;
    let refreshes = record.refreshes() - had;
    let newest = record.is_newest(text(&after, "access_token"));
    let ok = refused == 401 && taken != 401 && refreshes == 1 && newest;
    let how = format!(
        "the ended token got {refused}, the next one {taken}; the record has {refreshes} refresh, and \
         the token served is its newest"
    );
    Ok(vec![row("A token that ends is followed by a new one", how, ok)])
}

fn two_at_once(stage: &mut Stage) -> Result<Vec<Proven>, Failure> {
    let before = stage.record(Part::Rotates)?.refreshes();
    // Slow, so that the second surely comes while the first is under way.
    stage.fault(Part::Rotates, Some("latency=700ms"))?;
    let args = ["token", Part::Rotates.id(), "--json"];
    let (one, other) = (stage.start(&args)?, stage.start(&args)?);
    let (one, other) = (finished(one)?.must("token")?, finished(other)?.must("token")?);
    stage.fault(Part::Rotates, None)?;
    let (one, other) = (one.json(), other.json());
    let record = stage.record(Part::Rotates)?;
    let refreshes = record.refreshes() - before;
    let same = one["access_token"] == other["access_token"];
    let ok = refreshes == 1 && same && record.count("reuse_detected") == 0 && record.alive();
    let how = format!(
        "both got {} token; the record has {refreshes} refresh, and no refresh token used twice",
        if same { "the same" } else { "another" }
    );
    Ok(vec![row("Two processes at once make one refresh", how, ok)])
}

fn outage(stage: &mut Stage) -> Result<Vec<Proven>, Failure> {
    let before = stage.record(Part::Keeps)?.refreshes();
    stage.fault(Part::Keeps, Some("error-before=503"))?;
    let refresh = stage.run(&["refresh", Part::Keeps.id(), "--json"])?;
    let read = stage.token(Part::Keeps)?;
    stage.fault(Part::Keeps, None)?;
    let during = stage.record(Part::Keeps)?;
    let again = stage.run(&["refresh", Part::Keeps.id(), "--force", "--json"])?;
    let after = stage.record(Part::Keeps)?;
    let ok = refresh.status == 5
        && read.status == 0
        && during.refreshes() == before
        && again.status == 0
        && after.refreshes() == before + 1
        && after.alive();
    let how = format!(
        "a refresh ended with status {} (retry later), a read with {}; after it, one refresh more is \
         in the record",
        refresh.status, read.status
    );
    Ok(vec![row("Reads go on through an outage", how, ok)])
}

fn lost_and_forgiven(stage: &mut Stage) -> Result<Vec<Proven>, Failure> {
    stage.fault(Part::Forgives, Some("reset-after:1"))?;
    let refresh = stage.run(&["refresh", Part::Forgives.id(), "--json"])?;
    let token = stage.token(Part::Forgives)?.must("token")?.json();
    stage.fault(Part::Forgives, None)?;
    let record = stage.record(Part::Forgives)?;
    let outcomes: Vec<&str> = record.grant()["refreshes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|refresh| refresh["outcome"].as_str())
        .collect();
    let forgiven = outcomes.ends_with(&["rotated", "forgiven"]);
    let newest = record.is_newest(text(&token, "access_token"));
    let ok = refresh.status == 0 && forgiven && record.alive() && newest;
    let how = format!("sent again within the grace; the record has {}", outcomes.join(", "));
    Ok(vec![row("A lost answer costs nothing where the service forgives", how, ok)])
}

fn lost(stage: &mut Stage) -> Result<Vec<Proven>, Failure> {
    let part = Part::Rotates;
    // A fresh token, so that there is time to look before it ends.
    stage.run(&["refresh", part.id(), "--json"])?.must("refresh")?;
    let before = stage.record(part)?;
    stage.fault(part, Some("reset-after:1"))?;
    let refresh = stage.run(&["refresh", part.id(), "--json"])?;
    stage.fault(part, None)?;
    let reads = [stage.token(part)?, stage.token(part)?];
    let told = stage.run(&["explain", part.id(), "--json"])?.must("explain")?.json();
    let during = stage.record(part)?;
    let served = reads.iter().all(|read| read.status == 0);
    let processed = during.refreshes() - before.refreshes();
    let again = during.count("refused") + during.count("reuse_detected")
        - before.count("refused")
        - before.count("reuse_detected");
    stage.tell(&format!("    explain: {}", text(&told, "summary")));
    Ok(vec![
        row(
            "After a lost answer, reads go on to the token's end",
            format!("refresh ended with status {}, both reads with 0", refresh.status),
            refresh.status == 5 && served && processed == 1,
        ),
        row(
            "Nothing is sent again before the token's end",
            format!("the record has {processed} refresh processed and {again} refused"),
            processed == 1 && again == 0 && during.alive(),
        ),
        row(
            "`explain` names the cause",
            format!("code {}", text(&told, "code")),
            told["code"] == "answer_lost",
        ),
    ])
}

fn reconnect(stage: &mut Stage) -> Result<Vec<Proven>, Failure> {
    let part = Part::Rotates;
    let before = stage.run(&["connections", "show", part.id(), "--json"])?.must("show")?.json();
    stage.tell("    (waiting for the token to end, and for the lost request to have landed)");
    std::thread::sleep(LIFE + MARGIN);
    let mut read = stage.token(part)?;
    for _ in 0..LANDING_SECS_MAX {
        if read.status != RETRY_LATER {
            break;
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
        read = stage.token(part)?;
    }
    let told = stage.run(&["explain", part.id(), "--json"])?.must("explain")?.json();
    let dead = stage.record(part)?;
    let died = !dead.alive() && dead.count("reuse_detected") == 1;
    let after = stage.connect(part)?;
    let token = stage.token(part)?.must("token")?.json();
    let status = stage.call_api(&token)?;
    let record = stage.record(part)?;
    let same = after["id"] == before["id"] && version(&after) > version(&before);
    let newest = record.is_newest(text(&token, "access_token"));
    Ok(vec![
        row(
            "At the token's end the verdict is definite, and explained",
            format!(
                "status {}, cause {}; the record ended the grant for reuse",
                read.status,
                text(&told, "cause")
            ),
            read.status == 4 && told["cause"] == "answer_lost" && died,
        ),
        row(
            "A reconnect keeps the connection's id",
            format!(
                "{:?} went from version {} to {}; the API answered {status}",
                part.id(),
                version(&before),
                version(&after)
            ),
            same && record.alive() && newest && status != 401,
        ),
    ])
}

fn killed(stage: &mut Stage) -> Result<Vec<Proven>, Failure> {
    let part = Part::Rotates;
    let before = stage.record(part)?;
    let signal = stage.home().join("kept");
    let path = signal.to_string_lossy().into_owned();
    let mut child = stage.start(&["refresh", part.id(), "--demo-pause-after-keep", &path])?;
    let kept = until(|| signal.exists());
    child.kill().map_err(|error| failed(error.to_string()))?;
    let ended = finished(child)?;
    if !kept {
        return Err(failed(format!("the answer was not kept: {}", ended.stderr.trim())));
    }
    stage.tell("    (killed with SIGKILL: the answer is in the journal, and not in the store)");
    let recovered = stage.run(&["recover", "--json"])?.must("recover")?.json();
    let token = stage.token(part)?.must("token")?.json();
    let record = stage.record(part)?;
    let refreshes = record.refreshes() - before.refreshes();
    let newest = record.is_newest(text(&token, "access_token"));
    let named =
        recovered["recovered"].as_array().is_some_and(|ids| ids.contains(&part.id().into()));
    let status = stage.call_api(&token)?;
    let ok = refreshes == 1
        && newest
        && named
        && record.alive()
        && record.count("reuse_detected") == before.count("reuse_detected")
        && status != 401;
    let how = format!(
        "the record has {refreshes} refresh, and the token served after `recover` is the one that it \
         gave; the API answered {status}"
    );
    Ok(vec![row("A kill between the answer and the commit loses nothing", how, ok)])
}

fn leaked(stage: &mut Stage) -> Result<Vec<Proven>, Failure> {
    let part = Part::Revokes;
    let token = stage.token(part)?.must("token")?.json();
    let before = stage.call_api(&token)?;
    let found = text(&token, "access_token");
    let receipt = stage.run_with(&["revoke", "--leaked", "--json"], found)?.must("revoke")?.json();
    let after = stage.call_api(&token)?;
    let read = stage.token(part)?;
    let record = stage.record(part)?;
    let named =
        receipt["connections"].as_array().is_some_and(|ids| ids.contains(&part.id().into()));
    let why = record.grant()["ended"][0].as_str().unwrap_or("not ended").to_owned();
    let ok = named && before != 401 && after == 401 && read.status == 4 && why == "revoked";
    let how = format!(
        "found by its fingerprint as {:?}; the record says that the grant ended: {why}; the API \
         answered {before} before and {after} after",
        part.id()
    );
    Ok(vec![row("A leaked token is found, revoked, and proven dead", how, ok)])
}

fn canaries(stage: &mut Stage) -> Result<Vec<Proven>, Failure> {
    let mut secrets: Vec<Vec<u8>> =
        stage.seen().iter().map(|token| token.as_bytes().to_vec()).collect();
    secrets.push(PLAY_SECRET.as_bytes().to_vec());
    let mut files = 0;
    let mut found = Vec::new();
    let mut folders = vec![stage.home().to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| failed(error.to_string()))?;
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap_or_default();
            files += 1;
            if secrets.iter().any(|secret| holds(&bytes, secret)) {
                found.push(path.display().to_string());
            }
        }
    }
    let how = match found.is_empty() {
        true => format!("{} secrets looked for in {files} files: none is there", secrets.len()),
        false => format!("readable in {}", found.join(", ")),
    };
    stage.tell(&format!("    {how}"));
    let ok = found.is_empty() && files > 2 && secrets.len() > 5;
    Ok(vec![row("No token and no secret stands readable in the home", how, ok)])
}

fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn version(connection: &Value) -> u64 {
    connection["version"].as_u64().unwrap_or(0)
}

/// A token is surely over this long after its end.
const MARGIN: Duration = Duration::from_millis(300);

/// Exit status of a read that may be tried again.
const RETRY_LATER: i32 = 5;

/// How long the verdict on a lost answer may take after the token's end.
const LANDING_SECS_MAX: u32 = 12;
