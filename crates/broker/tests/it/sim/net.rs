//! The network and the services at its end. A request that was written goes its way whatever
//! becomes of the host that wrote it; the answer finds the host that waits, or nobody.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use indicia_broker::ports::{Sent, Transport};
use indicia_oauth::{Answer, Request};
use indicia_sandbox::Incoming;
use zeroize::Zeroizing;

use super::books::{Seen, SentId};
use super::host::{Host, Step};
use super::services::Kind;
use super::world::World;

/// How long a host waits for the head of an answer.
const HEAD_SECS: u64 = 30;

/// What happens to one request on its way, and to its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Good,
    /// It never arrives.
    LostRequest,
    /// It is processed; the answer is gone.
    LostAnswer,
    /// The answer comes when nobody waits any more.
    Late,
    /// A gateway's 503, not processed.
    ErrorBefore,
    /// A gateway's 502, processed.
    ErrorAfter,
    /// A page with 200, not processed.
    Page,
    /// Processed, and cut.
    Truncated,
    /// 429.
    Throttled,
    /// It arrives twice; the second answer is the one that comes back.
    Twice,
    /// A replica that doesn't know the grant yet.
    ReplicaLag,
}

pub struct SimTransport(pub Arc<Host>);

#[async_trait]
impl Transport for SimTransport {
    async fn send(&self, request: Request, may_write: &(dyn Fn() -> bool + Sync)) -> Sent {
        let host = &self.0;
        let world = &host.world;
        host.pass("send", Step::Spend).await;
        let incoming = Incoming::from_request(&request);
        drop(request);
        let Some((place, endpoint)) = world.service_at(&incoming) else {
            world.books().broken(format!("nobody serves {}{}", incoming.host, incoming.path));
            return Sent::NotSent("no such host".to_owned());
        };
        if world.stormy_chance(world.plan.faults.not_sent) {
            return Sent::NotSent("connection refused".to_owned());
        }
        if !may_write() {
            world.tell(&format!("{} looked at its lease, and didn't write", host.name()));
            return Sent::NotSent("the lease is over".to_owned());
        }
        let mut late = false;
        if endpoint == "refresh" && world.stormy_chance(world.plan.faults.window) {
            // The one window that nothing closes: frozen between the last look and the write.
            let secs = world.draw(|rng| rng.within(14, 60));
            host.freeze("the last look", secs);
            tokio::task::yield_now().await;
            late = true;
        }
        let id = (endpoint == "refresh").then(|| world.written(host, place, &incoming, late));
        if id.is_none() && world.memory.is_held() {
            world.books().check_held(endpoint, None, &super::world::holder(host));
        }
        let way = choose(world, place, endpoint, id);
        let (tell, answer) = tokio::sync::oneshot::channel();
        let far = Far { world: Arc::clone(world), place, id, way };
        world.background(async move {
            if let Some(answer) = far.process(incoming).await {
                let _ = tell.send(answer);
            }
        });
        let sent = match tokio::time::timeout(Duration::from_secs(HEAD_SECS), answer).await {
            Ok(Ok(answer)) => Sent::Answer(answer),
            Ok(Err(_)) => Sent::MaybeSent("connection reset".to_owned()),
            Err(_) => Sent::MaybeSent("timed out".to_owned()),
        };
        host.pass("answer", Step::Spend).await;
        let seen = seen(&sent);
        world.tell(&format!("{} {endpoint} at {place}: {way:?} → {}", host.name(), shown(&sent)));
        if let Some(id) = id {
            world.books().arrived(id, seen);
        }
        sent
    }
}

fn choose(world: &World, place: usize, endpoint: &str, id: Option<SentId>) -> Way {
    let faults = &world.plan.faults;
    let kind = world.plan.kinds[place];
    let harmless = matches!(kind, Kind::Keeps | Kind::Grace);
    let mut ways = vec![
        (faults.lost_request, Way::LostRequest),
        (faults.lost_answer, Way::LostAnswer),
        (faults.late, Way::Late),
        (faults.error_before, Way::ErrorBefore),
        (faults.error_after, Way::ErrorAfter),
        (faults.page, Way::Page),
        (faults.truncated, Way::Truncated),
        (faults.throttled, Way::Throttled),
    ];
    if endpoint == "refresh" && harmless {
        ways.push((faults.duplicate, Way::Twice));
    }
    let lags = kind == Kind::Keeps && id.is_some_and(|id| world.books().may_lag(id));
    if lags {
        ways.push((faults.replica_lag, Way::ReplicaLag));
    }
    for (share, way) in ways {
        if world.stormy_chance(share) {
            if let (Way::ReplicaLag, Some(id)) = (way, id) {
                world.books().lagged(id);
            }
            return way;
        }
    }
    Way::Good
}

/// What stands at the far end.
struct Far {
    world: Arc<World>,
    place: usize,
    id: Option<SentId>,
    way: Way,
}

impl Far {
    async fn process(self, incoming: Incoming) -> Option<Answer> {
        let world = &self.world;
        let slow = world.stormy_chance(world.plan.faults.slow);
        let way_there =
            world.draw(|rng| if slow { rng.within(500, 9_000) } else { rng.within(5, 60) });
        tokio::time::sleep(Duration::from_millis(way_there)).await;
        let answer = self.answer(&incoming);
        let way_back = match self.way {
            Way::Late => world.draw(|rng| rng.within(31_000, 50_000)),
            _ if slow => world.draw(|rng| rng.within(500, 18_000)),
            _ => world.draw(|rng| rng.within(5, 60)),
        };
        tokio::time::sleep(Duration::from_millis(way_back)).await;
        if let Some(id) = self.id {
            world.books().landed(id);
        }
        answer
    }

    fn answer(&self, incoming: &Incoming) -> Option<Answer> {
        let today = || self.id.and_then(|_| self.world.refusal_of_the_day(self.place));
        let handle = || match today() {
            Some(refusal) => refusal,
            None => self.world.handle(self.place, incoming, self.id),
        };
        Some(match self.way {
            Way::Good => handle(),
            Way::LostRequest => return None,
            Way::LostAnswer => {
                handle();
                return None;
            }
            Way::Late => handle(),
            Way::ErrorBefore => page(503, "text/html", "<h1>Service Unavailable</h1>"),
            Way::ErrorAfter => {
                handle();
                page(502, "text/html", "<h1>Bad Gateway</h1>")
            }
            Way::Page => page(200, "text/html", "<html>Welcome to our network</html>"),
            Way::Truncated => cut(handle()),
            Way::Throttled => {
                let mut answer = page(429, "application/json", "{\"error\":\"slow_down\"}");
                answer.headers.push(("retry-after".to_owned(), "7".to_owned()));
                answer
            }
            Way::Twice => {
                handle();
                handle()
            }
            Way::ReplicaLag => page(400, "application/json", "{\"error\":\"invalid_grant\"}"),
        })
    }
}

pub fn page(status: u16, media_type: &str, body: &str) -> Answer {
    Answer {
        status,
        headers: vec![("content-type".to_owned(), media_type.to_owned())],
        body: Zeroizing::new(body.as_bytes().to_vec()),
        complete: true,
    }
}

fn cut(answer: Answer) -> Answer {
    let half = answer.body.len() / 2;
    Answer { body: Zeroizing::new(answer.body[..half].to_vec()), complete: false, ..answer }
}

/// How a checker reads an answer: apart from the engine's own classification, and coarser.
fn seen(sent: &Sent) -> Seen {
    let Sent::Answer(answer) = sent else {
        return match sent {
            Sent::NotSent(_) => Seen::Definite,
            _ => Seen::Ambiguous,
        };
    };
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let error = json["error"].as_str();
    match answer.status {
        200 if answer.complete && json["access_token"].is_string() => Seen::Granted,
        400 | 401 if error == Some("invalid_grant") => Seen::Refused,
        400..=499 => Seen::Definite,
        _ => Seen::Ambiguous,
    }
}

fn shown(sent: &Sent) -> String {
    match sent {
        Sent::Answer(answer) => {
            let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let error = json["error"].as_str().unwrap_or_default();
            format!("{} {error}", answer.status)
        }
        Sent::NotSent(why) => format!("not sent: {why}"),
        Sent::MaybeSent(why) => format!("maybe sent: {why}"),
    }
}
