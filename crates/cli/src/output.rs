//! All that is printed: results on standard output, everything else on standard error.
//!
//! Colour and progress only on a terminal (`NO_COLOR` is honoured by the stream itself). Surprise:
//! every text that a service or a file had a say in goes through [`shown`] before it is printed, so
//! that an account's name can't move the cursor.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::pin::pin;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use indicia_oauth::Timestamp;
use owo_colors::OwoColorize as _;
use serde::Serialize;
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Padding, Style};

use crate::failure::{Failure, Said};
use crate::words::{shown, shown_json, spoken};

/// How to print.
#[derive(Clone, Copy, Debug, Default)]
pub struct Output {
    /// JSON instead of text.
    pub json: bool,
    /// Results and errors only.
    pub quiet: bool,
}

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// Works, but look at it.
    Warn,
    /// Doesn't.
    Fail,
}

impl Output {
    /// One line of a result. `line` was made safe by its maker where it holds foreign text.
    pub fn line(&self, line: &str) -> Result<(), Failure> {
        writeln!(anstream::stdout(), "{line}").map_err(Failure::from)
    }

    /// Bytes of a result as they are, with a newline: a token. Not buffered anywhere by us.
    pub fn secret_line(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.write_all(b"\n")?;
        stdout.flush().map_err(Failure::from)
    }

    /// The one JSON document of a result, past the stream that looks for colours: it would take
    /// parts of strings for those.
    pub fn document(&self, document: &impl Serialize) -> Result<(), Failure> {
        match serde_json::to_string_pretty(document) {
            Ok(text) => self.secret_line(&shown_json(&text)),
            Err(error) => Err(Failure::failed("internal", error.to_string(), "")),
        }
    }

    /// Whether pictures and progress have a place: on a terminal that a person looks at.
    pub fn draws(&self) -> bool {
        !self.json && !self.quiet && std::io::stderr().is_terminal()
    }

    /// A word beside the result, on standard error; not with `--json` or `--quiet`.
    pub fn note(&self, text: &str) {
        if !self.json && !self.quiet {
            self.say(text);
        }
    }

    /// A word beside the result that matters also to who takes the result as JSON.
    pub fn remark(&self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// A word that the user must see to go on, on standard error, whatever was asked.
    pub fn say(&self, text: &str) {
        // Nothing can be done when standard error is closed, and the result matters more.
        let _ = writeln!(anstream::stderr(), "{text}");
    }

    /// A warning on standard error; JSON results carry their warnings inside.
    pub fn warning(&self, detail: &str) {
        let head = "warning:";
        self.note(&format!("{} {}", head.yellow().bold(), shown(detail)));
    }

    /// An error on standard error: text, or one line of JSON.
    pub fn error(&self, said: &Said) {
        if self.json {
            let text = serde_json::to_string(said).unwrap_or_default();
            // Nothing can be done when standard error is closed.
            let _ = writeln!(std::io::stderr(), "{}", *shown_json(&text));
            return;
        }
        let head = "error:";
        let mut text = format!("{} {}", head.red().bold(), shown_lines(&said.detail));
        if !said.hint.is_empty() {
            let next = " next:";
            let _ = write!(text, "\n{} {}", next.bold(), shown_lines(&said.hint));
        }
        self.say(&text);
    }

    /// A table with a head, columns two spaces apart; nothing at all when there are no rows.
    pub fn table(&self, head: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
        if rows.is_empty() {
            return Ok(());
        }
        let safe = |cells: &Vec<String>| cells.iter().map(|c| shown(c)).collect::<Vec<_>>();
        let mut builder = Builder::default();
        builder.push_record(head.iter().map(|cell| (*cell).to_owned()));
        for row in rows {
            builder.push_record(safe(row));
        }
        let mut table = builder.build();
        table.with(Style::empty()).with(Padding::new(0, 2, 0, 0));
        table.modify(Columns::last(), Padding::zero());
        for line in table.to_string().lines() {
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Names with values, as `name  value` lines; empty values are left out.
    pub fn facts(&self, facts: &[(&str, String)]) -> Result<(), Failure> {
        let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
            let mut lines = value.lines();
            let first = lines.next().unwrap_or_default();
            self.line(&format!("{name:width$}  {}", shown(first)))?;
            for line in lines {
                self.line(&format!("{:width$}  {}", "", shown(line)))?;
            }
        }
        Ok(())
    }

    /// A grade as a word, coloured on a terminal.
    pub fn grade(&self, grade: Grade) -> String {
        match grade {
            Grade::Ok => format!("{}", "ok  ".green()),
            Grade::Warn => format!("{}", "warn".yellow().bold()),
            Grade::Fail => format!("{}", "fail".red().bold()),
        }
    }

    /// A count that rises as work goes on, on a terminal.
    pub fn counter(&self, what: &str) -> Counter {
        if !self.draws() {
            return Counter(None);
        }
        let bar = ProgressBar::new_spinner().with_message(what.to_owned());
        bar.set_style(
            ProgressStyle::with_template("{spinner} {human_pos} {msg} ({elapsed}, {per_sec})")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar.enable_steady_tick(TICK);
        Counter(Some(bar))
    }

    /// Waits; when that takes longer than a second, says for what, on a terminal.
    pub async fn wait<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        if !self.draws() {
            return future.await;
        }
        if let Ok(done) = tokio::time::timeout(SILENT_MAX, &mut future).await {
            return done;
        }
        let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
        spinner.set_style(
            ProgressStyle::with_template("{spinner} {msg} ({elapsed})")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        spinner.enable_steady_tick(TICK);
        let done = future.await;
        spinner.finish_and_clear();
        done
    }
}

/// What [`Output::counter`] shows, until it is dropped.
pub struct Counter(Option<ProgressBar>);

impl Counter {
    /// So many by now.
    pub fn set(&self, count: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(count);
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Text of several lines, made safe.
fn shown_lines(text: &str) -> String {
    text.lines().map(shown).collect::<Vec<_>>().join("\n       ")
}

/// A moment, as people want it: how far away, and when.
pub fn when(at: Timestamp, now: Timestamp) -> String {
    let date = indicia_broker::view::rfc3339(at);
    if at >= now {
        format!("in {} ({date})", spoken(at.since(now)))
    } else {
        format!("{} ago ({date})", spoken(now.since(at)))
    }
}

/// The wall clock.
pub fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}

/// The moment at which a day (`YYYY-MM-DD`) and so many more days begin, in UTC.
pub fn day(text: &str, more_days: i64) -> Option<Timestamp> {
    let date = text.parse::<jiff::civil::Date>().ok()?;
    let date = date.checked_add(jiff::Span::new().days(more_days)).ok()?;
    let start = jiff::tz::TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()?;
    Some(Timestamp::from_millis(start.as_millisecond()))
}

/// Progress is shown only after this.
const SILENT_MAX: Duration = Duration::from_secs(1);
/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(120);
