//! `indicia import --jsonl` into an empty home, beside bare inserts of as many rows, each as large,
//! found by id and by when they are due as ours are.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::rand;

use crate::figure::{Figure, Goal, Subject, compare};
use crate::raw::{inserts, row_bytes};
use crate::world::{World, program};

/// A whole import takes a minute: fewer pairs than of what takes a moment.
const PAIRS_MAX: usize = 3;
/// Between two looks at what the import holds in memory.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Random octets of a token.
const TOKEN_BYTES: usize = 32;

/// The import.
pub fn figures(world: &World, pairs: usize) -> Result<Vec<Figure>> {
    let lines = world.folder().join("token-sets.jsonl");
    let ids = world.stored_ids();
    write_lines(&lines, &ids)?;
    let bytes = row_bytes(&world.home())?;
    let subject = Subject {
        what: "`indicia import --jsonl`",
        baseline: "raw rusqlite, inserts of 64 rows a transaction",
        unit: "rows/s",
        goal: Goal::RatioAtLeast(0.5, 0.5),
    };
    let mut memory = Vec::new();
    let base = || Ok(ids.len() as f64 / inserts(world.folder(), &ids, bytes)?.as_secs_f64());
    let ours = || {
        let (took, kib) = imported(world, &lines)?;
        memory.push(kib);
        Ok(ids.len() as f64 / took.as_secs_f64())
    };
    let mut figure = compare(subject, pairs.min(PAIRS_MAX), base, ours)?;
    let most = memory.iter().max().copied().unwrap_or_default() / 1024;
    let count = ids.len();
    figure.notes.push(format!("{count} token sets, rows of {bytes} bytes"));
    figure.notes.push(format!("memory of its own at most {most} MiB, mapped files left out"));
    std::fs::remove_file(lines)?;
    Ok(vec![figure])
}

/// A token set on each line, all of them different, that end within a day.
fn write_lines(path: &Path, ids: &[String]) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for (n, id) in ids.iter().enumerate() {
        let (access, refresh) = (token()?, token()?);
        let life = 3600 + n * 7919 % 82_800;
        writeln!(
            file,
            "{{\"id\":\"{id}\",\"access_token\":\"{access}\",\"refresh_token\":\"{refresh}\",\
             \"expires_in\":{life}}}"
        )?;
    }
    Ok(file.flush()?)
}

fn token() -> Result<String> {
    let mut random = [0; TOKEN_BYTES];
    rand::fill(&mut random).ok().context("the system gives random bytes")?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// How long a whole import took, and how much memory of its own it held at most, in KiB.
fn imported(world: &World, lines: &Path) -> Result<(Duration, u64)> {
    let home = world.folder().join("import-home");
    if home.exists() {
        std::fs::remove_dir_all(&home)?;
    }
    let indicia = || {
        let mut command = Command::new(program("indicia")?);
        command.env("INDICIA_HOME", &home).stdout(Stdio::null()).stderr(Stdio::null());
        anyhow::Ok(command)
    };
    let mut add = indicia()?;
    let args = ["clients", "add", &world.service, "--id", "bench", "--client-id", "bench"];
    let mut add = add.args(args).arg("--secret-stdin").stdin(Stdio::piped()).spawn()?;
    add.stdin.take().context("its input is piped")?.write_all(b"a-secret-of-the-benchmarks")?;
    if !add.wait()?.success() {
        bail!("no client could be added");
    }
    let mut import = indicia()?;
    let started = Instant::now();
    let mut import =
        import.args(["import", "bench", "--jsonl"]).stdin(File::open(lines)?).spawn()?;
    let mut most = 0;
    let status = loop {
        match import.try_wait()? {
            Some(status) => break status,
            None => most = most.max(own_memory(import.id())),
        }
        std::thread::sleep(LOOK_EVERY);
    };
    if !status.success() {
        bail!("the import ended with {status}");
    }
    Ok((started.elapsed(), most))
}

/// KiB that a process holds for itself; 0 where that isn't told.
fn own_memory(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|kib| kib.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
