//! Who asks: callers that want tokens, the duties that run unasked, and what people do meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicia_broker::model::{ConnectionId, GrantRow, Life};
use indicia_broker::ports::{Clock as _, Spawn as _};
use indicia_broker::revoke::{Selector, Shared};
use indicia_broker::view::TokenView;
use indicia_broker::{Broker, Error, Force};
use indicia_oauth::{ClientSecret, Expiry, Timestamp};
use sha2::{Digest as _, Sha256};

use super::host::{Host, SimClock, SimSpawn};
use super::world::{Conn, World, holder};

/// A read that needs no refresh takes no longer than this, its store's delays included.
const READ_MS_MAX: u64 = 1_000;

/// How often a host looks after what is due.
const DUTIES_EVERY: Duration = Duration::from_secs(5);

/// How often a host looks at what others changed.
const NOTICE_EVERY: Duration = Duration::from_millis(500);

struct Caller {
    host: Arc<Host>,
    broker: Arc<Broker>,
    name: String,
}

/// Starts all that a host does.
pub fn begin(host: &Arc<Host>, broker: &Arc<Broker>) {
    let spawn = SimSpawn(Arc::clone(host));
    for n in 0..host.world.plan.callers {
        let name = format!("{}/{n}", host.name());
        let caller = Caller { host: Arc::clone(host), broker: Arc::clone(broker), name };
        spawn.spawn(Box::pin(caller.live()));
    }
    let (world, duties) = (Arc::clone(&host.world), Arc::clone(broker));
    spawn.spawn(Box::pin(async move {
        loop {
            tokio::time::sleep(DUTIES_EVERY).await;
            if let Err(error) = duties.run_due().await {
                world.tell(&format!("duties: {}", error.code()));
            }
        }
    }));
    let notices = Arc::clone(broker);
    spawn.spawn(Box::pin(async move {
        loop {
            tokio::time::sleep(NOTICE_EVERY).await;
            let _ = notices.notice_changes().await;
        }
    }));
}

/// What is at hand for a connection, looked at from outside.
struct AtHand {
    row: Option<GrantRow>,
    failures: u64,
    at: u64,
    /// By the host's own wall clock.
    clock: Timestamp,
}

impl Caller {
    async fn live(self) {
        let world = Arc::clone(&self.host.world);
        loop {
            // Connections are made before anybody asks for them.
            let pause = world.draw(|rng| rng.within(50, 6_000));
            tokio::time::sleep(Duration::from_millis(pause)).await;
            if !world.is_settled() {
                continue;
            }
            let n = usize::try_from(world.draw(|rng| rng.below(world.conns.len() as u64))).unwrap();
            self.tell_secret(world.conns[n].place).await;
            self.act(&world.conns[n]).await;
        }
    }

    async fn act(&self, conn: &Conn) {
        let world = &self.host.world;
        let faults = &world.plan.faults;
        let stormy = world.is_stormy();
        match world.draw(|rng| rng.below(100)) {
            0..=2 if stormy && faults.we_revoke => self.revoke(conn).await,
            3..=5 if stormy && faults.reconnect => self.reconnect(conn).await,
            6..=9 if stormy && faults.force => self.refresh(conn, Force::Yes).await,
            10..=16 => self.refresh(conn, Force::No).await,
            17..=30 => {
                let secs = world.draw(|rng| rng.within(1, 600));
                self.token(conn, Some(Duration::from_secs(secs))).await;
            }
            _ => self.token(conn, None).await,
        }
    }

    /// A person gives a client the new secret that its portal showed.
    async fn tell_secret(&self, place: usize) {
        let world = &self.host.world;
        let due = world.new_secrets.lock().unwrap().get(&place).cloned();
        let Some((_, secret)) = due.filter(|(at, _)| *at <= world.now_ms()) else { return };
        let client = world.plan.kinds[place].service();
        let new = ClientSecret::new(secret.clone());
        let told = self.broker.add_secret(client, new, None, None).await;
        if told.is_ok() {
            world.tell(&format!("{} adds the new secret of {client}", self.name));
            world.new_secrets.lock().unwrap().remove(&place);
            world.told_secrets.lock().unwrap().insert(place, secret);
        }
    }

    async fn at_hand(&self, conn: &Conn) -> AtHand {
        let world = &self.host.world;
        let id = ConnectionId::new(&conn.id).unwrap();
        let skew_ms = world.skews[self.host.n].clone();
        let found = world.eye.connection(&id).await.expect("the eye sees all");
        AtHand {
            row: found.map(|(_, grant)| grant),
            failures: self.host.failures.load(Ordering::Relaxed),
            at: world.now_ms(),
            clock: SimClock { start: world.clock.start, skew_ms }.now(),
        }
    }

    async fn token(&self, conn: &Conn, min_valid: Option<Duration>) {
        let before = self.at_hand(conn).await;
        let served = self.broker.token(&conn.id, min_valid).await;
        let after = self.at_hand(conn).await;
        self.check_read(conn, &before, &after, served.as_ref().err(), min_valid);
        if let Ok(view) = served {
            if let (Some(old), Some(new)) = (&before.row, &after.row)
                && old.id == new.id
            {
                self.host.world.books().check_off(&holder(&self.host), &old.id, before.at);
            }
            self.use_it(conn, &view).await;
        }
    }

    /// A read never fails, and never waits, while a valid token is at hand.
    fn check_read(
        &self,
        conn: &Conn,
        before: &AtHand,
        after: &AtHand,
        error: Option<&Error>,
        min_valid: Option<Duration>,
    ) {
        if before.failures != after.failures {
            return;
        }
        let (Some(old), Some(new)) = (&before.row, &after.row) else { return };
        let good = |row: &GrantRow, at: Timestamp| {
            let lives = match row.facts.expiry {
                Expiry::At(end) => at.as_millis() + 6_000 <= end.as_millis(),
                Expiry::Never | Expiry::Unknown => true,
            };
            lives && !row.facts.rejected && row.state.life != Life::Revoked
        };
        let stayed = old.id == new.id && old.version == new.version;
        if !stayed || !good(old, before.clock) || !good(new, after.clock) {
            return;
        }
        let took = after.at - before.at;
        let mut books = self.host.world.books();
        if let Some(error) = error {
            let code = error.code();
            books.broken(format!(
                "{} asked for {}: {code}, with a token at hand",
                self.name, conn.id
            ));
        } else if took > READ_MS_MAX && min_valid.is_none() {
            books
                .broken(format!("{} waited {took} ms for {} that was at hand", self.name, conn.id));
        }
    }

    /// Calls the API with the token; what it refuses is told back.
    async fn use_it(&self, conn: &Conn, view: &TokenView) {
        let world = &self.host.world;
        world.books().check_handed_out(&self.name, &view.access_token);
        let tells = world.draw(|rng| rng.chance(5_000));
        if !tells || world.lets_in(conn, &view.access_token) {
            return;
        }
        world.tell(&format!("{} was refused by the API of {}", self.name, conn.id));
        let digest = hex::encode(Sha256::digest(view.access_token.as_bytes()));
        if let Ok(view) = self.broker.rejected(&conn.id, &digest).await {
            world.books().check_handed_out(&self.name, &view.access_token);
        }
    }

    async fn refresh(&self, conn: &Conn, force: Force) {
        let world = &self.host.world;
        let me = holder(&self.host);
        let forced = force == Force::Yes;
        world.books().wish_began(&me, forced);
        let done = self.broker.refresh(&conn.id, force).await;
        world.books().wish_ended(&me, forced);
        if let Ok(view) = done {
            self.use_it(conn, &view).await;
        }
    }

    async fn revoke(&self, conn: &Conn) {
        self.host.world.tell(&format!("{} revokes {}", self.name, conn.id));
        let what = Selector::Connections(vec![conn.id.clone()]);
        let _ = self.broker.revoke(what, Shared::Allow).await;
    }

    async fn reconnect(&self, conn: &Conn) {
        self.host.world.tell(&format!("{} connects {} again", self.name, conn.id));
        let done = self.host.world.connect(&self.broker, conn).await;
        if let Err(error) = done {
            self.host.world.tell(&format!("{} couldn't: {}", self.name, error.code()));
        }
    }
}

impl World {
    /// Whether the API would let a token in.
    pub fn lets_in(&self, conn: &Conn, access: &str) -> bool {
        let model = self.models[conn.place].lock().unwrap();
        model.record().is_access_token_valid(access, self.clock.now())
    }
}
