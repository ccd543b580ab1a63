//! Faults as data: what goes wrong, where, how often. Nothing is done here; `http` carries it out.
//!
//! Written as `KIND[=VALUE][:TIMES|:PERCENT%][@[SERVICE/]ENDPOINT]`: `reset-after:2@token` loses
//! the answers to the next two token requests, `latency=200ms@api` slows every API call down,
//! `error-after=502:10%` answers one request in ten with 502 after having processed it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::chance::Chance;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The answer comes late. `latency=200ms`; 1 s by default.
    Latency(Duration),
    /// The answer comes byte by byte, with this pause between. `drip=50ms`.
    Drip(Duration),
    /// The connection is reset before anything is processed. `reset-before`.
    ResetBefore,
    /// The request is processed, and its answer lost. `reset-after`.
    ResetAfter,
    /// 429, not processed, with `Retry-After` in seconds. `throttle=30`.
    Throttle(u64),
    /// A refusal in the service's own words, not processed, though nothing is wrong with the
    /// request: a bad day, on which the service refuses everybody. `refuse-grant`, `refuse-client`.
    Refuse(Refused),
    /// A 5xx, not processed. `error-before=503`.
    ErrorBefore(u16),
    /// A 5xx, processed. `error-after=500`.
    ErrorAfter(u16),
    /// A page with 200, not processed: a portal that catches everything. `html`.
    Html,
    /// A gateway's page with 502, processed. `html-502`.
    Html502,
    /// Processed; the body ends in the middle. `truncate`.
    Truncate,
    /// Processed; the right body under a wrong media type. `wrong-type`.
    WrongType,
    /// The service's clock is ahead by so many seconds, or behind, as long as the fault stands.
    /// `skew=300`, `skew=-300`.
    Skew(i64),
}

/// What a service says to be wrong on a bad day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The grant.
    Grant,
    /// The client.
    Client,
}

impl Kind {
    /// Whether it only changes the pace, so that it can come with another fault.
    const fn is_pace(self) -> bool {
        matches!(self, Self::Latency(_) | Self::Drip(_))
    }
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Often {
    Always,
    Times(u32),
    Percent(u8),
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: Kind,
    often: Often,
    service: Option<String>,
    endpoint: Option<String>,
}

/// Why a fault can't be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{text:?} is no fault: {problem}; write it like reset-after:2@token")]
pub struct FaultError {
    text: String,
    problem: String,
}

/// Endpoints that a fault can be put on. `token` is any token request, `refresh` and `exchange` are
/// its two halves.
pub const ENDPOINTS: [&str; 9] = [
    "authorize",
    "token",
    "exchange",
    "refresh",
    "device",
    "revoke",
    "introspect",
    "metadata",
    "api",
];

/// Kinds as they are written.
pub const KINDS: [&str; 14] = [
    "latency",
    "drip",
    "reset-before",
    "reset-after",
    "throttle",
    "refuse-grant",
    "refuse-client",
    "error-before",
    "error-after",
    "html",
    "html-502",
    "truncate",
    "wrong-type",
    "skew",
];

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let wrong = |problem: String| FaultError { text: text.to_owned(), problem };
        let (rest, place) = match text.split_once('@') {
            Some((rest, place)) => (rest, Some(place)),
            None => (text, None),
        };
        let (rest, often) = match rest.split_once(':') {
            Some((rest, often)) => (rest, parse_often(often).map_err(wrong)?),
            None => (rest, Often::Always),
        };
        let (name, value) = match rest.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (rest, None),
        };
        let kind = parse_kind(name, value).map_err(wrong)?;
        let (service, endpoint) = match place.map(|p| p.split_once('/').ok_or(p)) {
            None => (None, None),
            Some(Ok((service, endpoint))) => (Some(service), Some(endpoint)),
            Some(Err(endpoint)) => (None, Some(endpoint)),
        };
        let endpoint = endpoint.filter(|e| !matches!(*e, "any" | "*"));
        if let Some(endpoint) = endpoint.filter(|e| !ENDPOINTS.contains(e)) {
            let known = ENDPOINTS.join(", ");
            return Err(wrong(format!("{endpoint:?} is no endpoint ({known}, any)")));
        }
        Ok(Self {
            kind,
            often,
            service: service.map(str::to_owned),
            endpoint: endpoint.map(str::to_owned),
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Latency(by) => write!(f, "latency={}ms", by.as_millis())?,
            Kind::Drip(pause) => write!(f, "drip={}ms", pause.as_millis())?,
            Kind::ResetBefore => f.write_str("reset-before")?,
            Kind::ResetAfter => f.write_str("reset-after")?,
            Kind::Throttle(secs) => write!(f, "throttle={secs}")?,
            Kind::Refuse(Refused::Grant) => f.write_str("refuse-grant")?,
            Kind::Refuse(Refused::Client) => f.write_str("refuse-client")?,
            Kind::ErrorBefore(status) => write!(f, "error-before={status}")?,
            Kind::ErrorAfter(status) => write!(f, "error-after={status}")?,
            Kind::Html => f.write_str("html")?,
            Kind::Html502 => f.write_str("html-502")?,
            Kind::Truncate => f.write_str("truncate")?,
            Kind::WrongType => f.write_str("wrong-type")?,
            Kind::Skew(secs) => write!(f, "skew={secs}")?,
        }
        match self.often {
            Often::Always => {}
            Often::Times(times) => write!(f, ":{times}")?,
            Often::Percent(percent) => write!(f, ":{percent}%")?,
        }
        let endpoint = self.endpoint.as_deref();
        match (self.service.as_deref(), endpoint) {
            (Some(service), endpoint) => write!(f, "@{service}/{}", endpoint.unwrap_or("any")),
            (None, Some(endpoint)) => write!(f, "@{endpoint}"),
            (None, None) => Ok(()),
        }
    }
}

fn parse_often(text: &str) -> Result<Often, String> {
    let percent = text.strip_suffix('%').map(|p| p.parse::<u8>().ok().filter(|p| *p <= 100));
    match percent {
        Some(Some(percent)) => Ok(Often::Percent(percent)),
        Some(None) => Err(format!("{text:?} is no share from 0% to 100%")),
        None => {
            text.parse().map(Often::Times).map_err(|_| format!("{text:?} is no number of times"))
        }
    }
}

fn parse_kind(name: &str, value: Option<&str>) -> Result<Kind, String> {
    let status = |usual: u16| match value.map_or(Ok(usual), str::parse) {
        Ok(status) if (500..600).contains(&status) => Ok(status),
        _ => Err("its value is a status from 500 to 599".to_owned()),
    };
    let bare = |kind: Kind| match value {
        None => Ok(kind),
        Some(_) => Err(format!("{name} takes no value")),
    };
    match name {
        "latency" => Ok(Kind::Latency(parse_span(value.unwrap_or("1s"))?)),
        "drip" => Ok(Kind::Drip(parse_span(value.unwrap_or("20ms"))?)),
        "reset-before" => bare(Kind::ResetBefore),
        "reset-after" => bare(Kind::ResetAfter),
        "throttle" => {
            let secs = value.unwrap_or("30").parse();
            secs.map(Kind::Throttle).map_err(|_| "its value is a number of seconds".to_owned())
        }
        "refuse-grant" => bare(Kind::Refuse(Refused::Grant)),
        "refuse-client" => bare(Kind::Refuse(Refused::Client)),
        "error-before" => status(503).map(Kind::ErrorBefore),
        "error-after" => status(500).map(Kind::ErrorAfter),
        "html" => bare(Kind::Html),
        "html-502" => bare(Kind::Html502),
        "truncate" => bare(Kind::Truncate),
        "wrong-type" => bare(Kind::WrongType),
        "skew" => {
            let secs = value.map(|v| v.trim_start_matches('+').parse());
            match secs {
                Some(Ok(secs)) => Ok(Kind::Skew(secs)),
                _ => Err("skew needs a number of seconds, like skew=300".to_owned()),
            }
        }
        _ => Err(format!("{name:?} is none of {}", KINDS.join(", "))),
    }
}

/// `200ms`, `3s`; at most ten minutes.
fn parse_span(text: &str) -> Result<Duration, String> {
    let span = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => number.parse().ok().map(Duration::from_millis),
        (None, Some(number)) => number.parse().ok().map(Duration::from_secs),
        (None, None) => None,
    };
    let span = span.filter(|span| *span <= SPAN_MAX);
    span.ok_or_else(|| {
        format!("{text:?} is no time like 200ms or 3s, up to {}s", SPAN_MAX.as_secs())
    })
}

/// Longest pause of a fault.
const SPAN_MAX: Duration = Duration::from_secs(600);
/// Faults that may stand at once.
pub const FAULTS_MAX: usize = 1_000;

/// The faults in force.
#[derive(Debug)]
pub struct Faults {
    faults: Vec<Fault>,
    chance: Chance,
    asked: u64,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Wait this long first.
    pub latency: Option<Duration>,
    /// Pause between the answer's bytes.
    pub drip: Option<Duration>,
    /// And this goes wrong.
    pub kind: Option<Kind>,
}

impl Faults {
    /// None yet. The seed decides faults that come by share.
    pub fn new(seed: u64) -> Self {
        Self { faults: Vec::new(), chance: Chance::new(seed, "faults"), asked: 0 }
    }

    /// One more; false when there are [`FAULTS_MAX`] already.
    pub fn add(&mut self, fault: Fault) -> bool {
        let room = self.faults.len() < FAULTS_MAX;
        if room {
            self.faults.push(fault);
        }
        room
    }

    /// Takes all back.
    pub fn clear(&mut self) {
        self.faults.clear();
    }

    /// Those in force, as they are written.
    pub fn list(&self) -> Vec<String> {
        self.faults.iter().map(Fault::to_string).collect()
    }

    /// How far ahead a service's clock is.
    pub fn skew_secs(&self, service: &str) -> i64 {
        let ours = self.faults.iter().filter(|f| f.service.as_deref().is_none_or(|s| s == service));
        let skews = ours.filter_map(|fault| match fault.kind {
            Kind::Skew(secs) => Some(secs),
            _ => None,
        });
        skews.fold(0, i64::saturating_add)
    }

    /// Decides on one request, and counts down. Of the faults that fit, the first one that isn't
    /// about pace happens; pace may come with it.
    pub fn decide(&mut self, service: &str, endpoint: &str) -> Decision {
        let mut decision = Decision::default();
        self.asked += 1;
        for (index, fault) in self.faults.iter_mut().enumerate() {
            let taken = decision.kind.is_some() && !fault.kind.is_pace();
            if taken || matches!(fault.kind, Kind::Skew(_)) || !fault.fits(service, endpoint) {
                continue;
            }
            let purpose = [&self.asked.to_string() as &str, &index.to_string()];
            if !fault.fires(self.chance.pick(100, &purpose)) {
                continue;
            }
            match fault.kind {
                Kind::Latency(by) => decision.latency = Some(by),
                Kind::Drip(pause) => decision.drip = Some(pause),
                kind => decision.kind = Some(kind),
            }
        }
        self.faults.retain(|fault| fault.often != Often::Times(0));
        decision
    }
}

impl Fault {
    fn fits(&self, service: &str, endpoint: &str) -> bool {
        let here = self.service.as_deref().is_none_or(|s| s == service);
        let wanted = self.endpoint.as_deref();
        let halves = wanted == Some("token") && matches!(endpoint, "exchange" | "refresh");
        here && (halves || wanted.is_none_or(|e| e == endpoint))
    }

    fn fires(&mut self, of_hundred: usize) -> bool {
        match &mut self.often {
            Often::Always => true,
            Often::Times(0) => false,
            Often::Times(left) => {
                *left -= 1;
                true
            }
            Often::Percent(percent) => of_hundred < usize::from(*percent),
        }
    }
}
