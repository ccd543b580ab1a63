//! What the machine can do: the facts without which no figure means anything. Names none.

use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};

use crate::figure::median;

/// Facts of a machine.
pub struct Machine {
    cores: usize,
    load: String,
    syncs: f64,
}

impl Machine {
    /// Looks; `folder` is on the disk that counts.
    pub fn look(folder: &Path) -> Result<Self> {
        let rates = (0..5).map(|_| syncs_per_second(folder)).collect::<Result<Vec<_>>>()?;
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
            syncs: median(&rates),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "The machine: {} cores, {} {}; {:.0} appends of 4 KiB with fdatasync a second; load {} \
             when it began.",
            self.cores,
            std::env::consts::OS,
            std::env::consts::ARCH,
            self.syncs,
            self.load,
        )
    }
}

/// Appends of 4 KiB, each made durable, in a second.
pub fn syncs_per_second(folder: &Path) -> Result<f64> {
    let path = folder.join("syncs");
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
    let started = Instant::now();
    let mut done = 0_u32;
    while started.elapsed() < Duration::from_millis(300) {
        file.write_all_at(&[7; 4096], u64::from(done) * 4096)?;
        file.sync_data()?;
        done += 1;
    }
    let rate = f64::from(done) / started.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}

/// CPU time of the calling thread. Others' load doesn't show in it.
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// CPU time of a whole process; user and system together.
pub fn process_cpu(pid: u32) -> Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Behind the name, which may hold anything.
    let fields = text.rsplit(')').next().unwrap_or_default();
    let ticks = |n: usize| fields.split_whitespace().nth(n).and_then(|t| t.parse::<u64>().ok());
    let spent = ticks(11).unwrap_or(0) + ticks(12).unwrap_or(0);
    Ok(Duration::from_millis(spent * 1000 / TICKS_PER_SECOND))
}

/// What Linux counts these in, on every machine (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;
