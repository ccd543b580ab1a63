//! Catches every span and event at every level, and looks for secrets in it at once.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Every token of a simulated service begins so, and every secret of a simulated client.
pub const CANARIES: [&str; 3] = ["sbx-", "canary-", "Basic "];

/// The lines that hold a secret.
#[derive(Clone, Default)]
pub struct Leaks(Arc<Mutex<Vec<String>>>);

impl Leaks {
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn look(&self, metadata: &Metadata<'_>, visit: impl FnOnce(&mut Line)) {
        let mut line = Line(metadata.name().to_owned());
        visit(&mut line);
        self.look_at(&line.0);
    }

    fn look_at(&self, text: &str) {
        let spelt = CANARIES.iter().any(|c| text.contains(c) || text.contains(&hex::encode(c)));
        if spelt {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Leaks {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.look(span.metadata(), |line| span.record(line));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line(String::new());
        values.record(&mut line);
        self.look_at(&line.0);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.look(event.metadata(), |line| event.record(line));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
