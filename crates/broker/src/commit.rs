//! `Claim → Spend → Kept → Committed`: the order of writes, so that another order doesn't compile.
//!
//! A refresh token is reachable only through [`Spend`], which exists only once the intent is stored
//! and a journal slot is taken. An answer can be read only from [`Kept`], and a token handed out
//! only from a [`Committed`](crate::committed::Committed), which `Kept` or the store makes. All
//! fields are private to these two files; where
//! the service verifiably keeps its refresh token (or nothing is spent) the proof [`Free`] takes
//! the place of intent and slot.
//!
//! Must never: send anything before the intent, parse before the journal, hand out before either.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use indicia_catalog::Keeps;
use indicia_oauth::{Answer, Dialect, RefreshToken, Request, Timestamp, TokenSet};

use zeroize::Zeroizing;

use crate::Broker;
use crate::committed::{Plan, Stored, Writing, open_tokens, store_tokens};
use crate::decide::Attempt;
use crate::error::Error;
use crate::model::{Event, GrantId, GrantRow, GrantState, Intent};
use crate::outcome::{self, Outcome};
use crate::ports::{ClaimOutcome, JournalEntry, Sent, Settlement, SlotNo, StoreError};
use crate::spoken::Spoken;
use crate::token_facts;
use crate::vault::{Field, VaultError};

/// How long a lease lasts unless it is renewed.
pub(crate) const LEASE: Duration = Duration::from_secs(15);

/// How often it is renewed while a request flies, at least; sooner when little is left of it.
const RENEW_EVERY: Duration = Duration::from_secs(4);

/// Pause after a renewal that failed, at least.
const RENEW_PAUSE_MIN: Duration = Duration::from_millis(100);

/// A request isn't written when less than this is left of the lease.
const WRITE_MARGIN_MS: u64 = 2_000;

/// How long an answer that neither store nor journal takes is held, and tried on: 2 min 38 s in
/// all.
const HOLD_PAUSES: [Duration; 10] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(30),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

/// The lease is ours, and the row was read after it became so.
pub(crate) struct Claim {
    grant: GrantRow,
    lease_no: u64,
    until_boot_ms: Arc<AtomicU64>,
}

/// What asking for a lease gave.
pub(crate) enum Taken {
    /// Ours.
    Claim(Box<Claim>),
    /// Somebody else's until then.
    Busy { until_boot_ms: u64 },
    /// No such grant.
    Missing,
}

/// Proof that sending loses nothing: the service verifiably keeps the refresh token, or nothing is
/// spent at all.
pub(crate) enum Free {
    /// Verified by the catalogue, and never seen to be otherwise with this grant.
    Keeps(Keeps),
    /// Client credentials: each request stands by itself.
    NothingSpent,
}

impl Claim {
    pub(crate) async fn take(broker: &Broker, grant: &GrantId) -> Result<Taken, StoreError> {
        Ok(match broker.ports.store.claim(grant, LEASE).await? {
            ClaimOutcome::Claimed(row) => {
                broker.vault.know(row.grant.tokens.key).await;
                Taken::Claim(Box::new(Self {
                    grant: row.grant,
                    lease_no: row.lease_no,
                    until_boot_ms: Arc::new(AtomicU64::new(row.until_boot_ms)),
                }))
            }
            ClaimOutcome::Busy { until_boot_ms } => Taken::Busy { until_boot_ms },
            ClaimOutcome::Missing => Taken::Missing,
        })
    }

    pub(crate) fn grant(&self) -> &GrantRow {
        &self.grant
    }

    /// The mutation proof's "no second look": acts on the row as it was before the lease was ours.
    #[cfg(feature = "mutants")]
    pub(crate) fn look_away(&mut self, before: GrantRow) {
        self.grant = before;
    }

    /// Between two sends of one spend: what the first one left behind.
    pub(crate) fn set_state(&mut self, state: GrantState) {
        self.grant.state = state;
    }

    /// Ends the lease; a failure only means that it ends by time.
    pub(crate) async fn release(self, broker: &Broker) -> GrantRow {
        let _ = broker.ports.store.release(&self.grant.id, self.lease_no).await;
        self.grant
    }

    /// Writes what an outcome left behind, under the lease and at this version.
    pub(crate) async fn settle(
        self,
        broker: &Broker,
        change: Settlement,
        events: Vec<Event>,
    ) -> Result<bool, StoreError> {
        let grant = &self.grant;
        let store = &broker.ports.store;
        store.settle(&grant.id, self.lease_no, grant.version, change, events).await
    }

    /// The number of sends of this spend so far, and when the first was: from an open intent.
    fn before(&self) -> Option<&Intent> {
        self.grant.intent.as_ref().filter(|i| i.version == self.grant.version)
    }

    /// Takes a journal slot and notes the intent; the refresh token is reachable from then on.
    /// `free` leaves both out.
    pub(crate) async fn begin(
        mut self: Box<Self>,
        broker: &Broker,
        free: Option<Free>,
    ) -> Result<Spend, (Box<Self>, Error)> {
        let old = match open_tokens(&broker.vault, &self.grant) {
            Ok(old) => old,
            Err(error) => return Err((self, error.into())),
        };
        let now = broker.ports.clock.now();
        let fingerprint = match free {
            Some(Free::NothingSpent) => None,
            _ => self.grant.facts.refresh,
        };
        let (first, sends) = self.before().map_or((now, 1), |i| (i.at, i.sends + 1));
        let mut slot = None;
        if free.is_none() {
            // mark: no-slot-no-spend
            slot = match broker.ports.journal.reserve().await {
                Ok(slot) => Some(slot),
                Err(_) if !broker.guards().journal_slot => None,
                Err(error) => {
                    let error = Error::Store {
                        code: "journal_full",
                        detail: format!("no room in the journal, so nothing was sent: {error}"),
                        hint: "make room on the disk; nothing was lost".into(),
                    };
                    return Err((self, error));
                }
            };
        }
        if let (None, Some(fingerprint)) = (&free, fingerprint) {
            let intent = Intent {
                version: self.grant.version,
                fingerprint,
                journal: broker.ports.journal.id(),
                lease_no: self.lease_no,
                at: first,
                sends,
                begun_boot_ms: broker.ports.clock.boot_millis(),
            };
            if let Err(error) = self.note(broker, intent).await {
                give_back(broker, slot).await;
                return Err((self, error));
            }
        }
        Ok(Spend {
            claim: self,
            old,
            slot,
            first_sent_at: first,
            sends,
            spends: fingerprint.is_some(),
        })
    }

    async fn note(&mut self, broker: &Broker, intent: Intent) -> Result<(), Error> {
        if !broker.guards().intent {
            return Ok(());
        }
        // mark: intent-before-spend
        if broker.ports.store.begin(&self.grant.id, intent.clone()).await? {
            self.grant.intent = Some(intent);
            Ok(())
        } else {
            Err(lease_lost())
        }
    }
}

fn lease_lost() -> Error {
    Error::Unavailable {
        code: "lease_lost",
        detail: "another process took over while this one was held up".into(),
        retry_after: Some(Duration::from_secs(1)),
        hint: "try again".into(),
    }
}

async fn give_back(broker: &Broker, slot: Option<SlotNo>) {
    if let Some(slot) = slot {
        broker.ports.journal.give_back(slot).await;
    }
}

/// The intent is durable and a journal slot is ours: the one place where the refresh token is
/// within reach.
pub(crate) struct Spend {
    claim: Box<Claim>,
    old: TokenSet,
    slot: Option<SlotNo>,
    first_sent_at: Timestamp,
    sends: u32,
    spends: bool,
}

/// What became of a spend.
pub(crate) enum Flown {
    /// An answer came; if it was 2xx it is in the journal.
    Kept(Box<Kept>),
    /// None came: whether it was processed is told by the outcome.
    NoAnswer(Box<Claim>, Outcome),
    /// The request could not be built: the service file is wrong.
    NotBuilt(Box<Claim>, String),
}

impl Spend {
    /// What is being sent, for the decision about its outcome.
    pub(crate) fn attempt(&self, endpoint: &str, secret_n: u32) -> Attempt {
        Attempt {
            first_sent_at: self.first_sent_at,
            sends: self.sends,
            boot_ms: 0,
            secret_n,
            endpoint: endpoint.to_owned(),
            fingerprint: self.claim.grant.facts.refresh.filter(|_| self.spends),
            doubtful: false,
        }
    }

    /// Builds the request from the refresh token, looks at the deadline, sends once while renewing
    /// the lease, and keeps a 2xx answer before anybody reads it.
    ///
    /// `not_after`: in milliseconds of the boot clock; a send that is only forgiven until then
    /// isn't written later.
    pub(crate) async fn send(
        self,
        broker: &Broker,
        not_after: Option<u64>,
        build: impl FnOnce(Option<&RefreshToken>) -> Result<Request, String>,
    ) -> Flown {
        let request = match build(self.old.refresh_token.as_ref()) {
            Ok(request) => request,
            Err(why) => {
                give_back(broker, self.slot).await;
                return Flown::NotBuilt(self.claim, why);
            }
        };
        let sent_at = broker.ports.clock.now();
        let spoken = Spoken::of(&request);
        match self.fly(broker, request, not_after).await {
            Sent::Answer(answer) => {
                Flown::Kept(Box::new(self.keep(broker, answer, sent_at, spoken).await))
            }
            Sent::NotSent(why) => {
                give_back(broker, self.slot).await;
                Flown::NoAnswer(self.claim, Outcome::not_sent(&why))
            }
            Sent::MaybeSent(why) => {
                give_back(broker, self.slot).await;
                Flown::NoAnswer(self.claim, Outcome::lost(&why))
            }
        }
    }

    async fn fly(&self, broker: &Broker, request: Request, not_after: Option<u64>) -> Sent {
        let until = &self.claim.until_boot_ms;
        let clock = &broker.ports.clock;
        let look = broker.guards().deadline;
        let may_write = || {
            let now = clock.boot_millis();
            // mark: deadline-before-write
            let leased = !look || now + WRITE_MARGIN_MS < until.load(Ordering::SeqCst);
            leased && not_after.is_none_or(|end| now < end)
        };
        let send = pin!(broker.ports.transport.send(request, &may_write));
        let renew = pin!(self.claim.renew(broker));
        match select(send, renew).await {
            Either::Left((sent, _)) => sent,
            Either::Right((never, _)) => match never {},
        }
    }

    async fn keep(
        self,
        broker: &Broker,
        answer: Answer,
        sent_at: Timestamp,
        spoken: Spoken,
    ) -> Kept {
        let Self { claim, old, slot, .. } = self;
        let mut in_journal = false;
        match slot {
            // mark: kept-before-read
            Some(slot) if answer.is_success() && broker.guards().journal_before_parse => {
                let entry = entry(broker, &claim.grant, &answer, sent_at);
                in_journal = match entry {
                    Some(entry) => broker.ports.journal.keep(slot, entry).await.is_ok(),
                    None => false,
                };
            }
            slot => give_back(broker, slot).await,
        }
        let version = claim.grant.version;
        Kept { claim, old, answer, sent_at, version, in_journal, spoken }
    }
}

fn entry(
    broker: &Broker,
    grant: &GrantRow,
    answer: &Answer,
    sent_at: Timestamp,
) -> Option<JournalEntry> {
    let of = grant.id.as_str();
    let field = Field::Answer { of, version: grant.version };
    Some(JournalEntry {
        of: of.to_owned(),
        version: grant.version,
        fingerprint: grant.facts.refresh?,
        sent_at,
        answer: broker.vault.seal(field, &answer.to_bytes()),
    })
}

impl Claim {
    /// Prolongs the lease until it is lost; never returns. A lost lease can't call back what is in
    /// flight: its late answer is judged by the version.
    async fn renew(&self, broker: &Broker) -> std::convert::Infallible {
        loop {
            let until = self.until_boot_ms.load(Ordering::SeqCst);
            let left = until.saturating_sub(broker.ports.clock.boot_millis());
            let third = Duration::from_millis(left / 3).max(RENEW_PAUSE_MIN);
            tokio::time::sleep(third.min(RENEW_EVERY)).await;
            match broker.ports.store.renew(&self.grant.id, self.lease_no, LEASE).await {
                Ok(Some(until)) => self.until_boot_ms.store(until, Ordering::SeqCst),
                Ok(None) => std::future::pending::<()>().await,
                Err(_) => {}
            }
        }
    }
}

/// An answer that is as durable as it needs to be before it is read.
pub(crate) struct Kept {
    claim: Box<Claim>,
    old: TokenSet,
    answer: Answer,
    sent_at: Timestamp,
    /// The version that was spent from: the claim's, or higher, where a journal knows of more than
    /// the store does.
    version: u64,
    in_journal: bool,
    spoken: Spoken,
}

impl Kept {
    /// From a journal entry whose answer was never stored; the lease is held.
    pub(crate) fn from_journal(
        broker: &Broker,
        claim: Box<Claim>,
        entry: &JournalEntry,
    ) -> Result<Self, (Box<Claim>, Error)> {
        let opened = (|| {
            let old = open_tokens(&broker.vault, &claim.grant)?;
            let field = Field::Answer { of: &entry.of, version: entry.version };
            let bytes = broker.vault.unseal(field, &entry.answer)?;
            let answer = Answer::from_bytes(&bytes).ok_or(VaultError::Damaged)?;
            Ok((old, answer))
        })();
        match opened {
            Ok((old, answer)) => {
                let (sent_at, version) = (entry.sent_at, entry.version);
                let token =
                    old.refresh_token.as_ref().map(|t| Zeroizing::new(t.expose().to_owned()));
                let spoken = Spoken::from_texts(token);
                Ok(Self { claim, old, answer, sent_at, version, in_journal: true, spoken })
            }
            Err::<_, VaultError>(error) => Err((claim, error.into())),
        }
    }

    /// Reads the answer.
    pub(crate) fn outcome(&self, dialect: &Dialect) -> Outcome {
        outcome::classify(&self.answer, dialect, self.sent_at, &self.spoken)
    }

    pub(crate) fn grant(&self) -> &GrantRow {
        &self.claim.grant
    }

    /// When the request was sent that it answers.
    pub(crate) const fn sent_at(&self) -> Timestamp {
        self.sent_at
    }

    /// Back to the claim: nothing to store.
    pub(crate) fn into_claim(self) -> Box<Claim> {
        self.claim
    }

    /// Stores the token set, fenced by the version that was spent from. `plan` says what else
    /// changes; the refresh token before is kept where no new one came.
    ///
    /// What neither store nor journal takes is held and tried on: it may be the only copy of a
    /// refresh token that has replaced the one in the store.
    pub(crate) async fn commit(
        self,
        broker: &Broker,
        tokens: TokenSet,
        plan: &Plan,
        events: Vec<Event>,
    ) -> Stored {
        let Self { claim, old, sent_at, version, mut in_journal, answer, .. } = self;
        let grant = &claim.grant;
        let mut tokens = token_facts::merge(old, tokens);
        let spent = grant.intent.is_some() || in_journal;
        for pause in HOLD_PAUSES {
            let writing = Writing {
                grant,
                lease_no: Some(claim.lease_no),
                sent_at,
                before: Some(&grant.facts),
                version: version + 1,
                in_journal,
            };
            match store_tokens(broker, writing, tokens, plan, &events).await {
                Stored::Failed(kept, error) if spent && !in_journal => {
                    tracing::error!(grant = %grant.id, %error, "an answer is held in memory only");
                    tokio::time::sleep(pause).await;
                    in_journal = keep_late(broker, grant, &answer, sent_at).await;
                    tokens = *kept;
                }
                stored => return stored,
            }
        }
        Stored::Failed(
            Box::new(tokens),
            StoreError::unavailable("store and journal can't be written"),
        )
    }
}

/// A second chance for an answer that the journal refused.
async fn keep_late(broker: &Broker, grant: &GrantRow, answer: &Answer, sent_at: Timestamp) -> bool {
    let journal = &broker.ports.journal;
    match (journal.reserve().await, entry(broker, grant, answer, sent_at)) {
        (Ok(slot), Some(entry)) => journal.keep(slot, entry).await.is_ok(),
        (Ok(slot), None) => {
            journal.give_back(slot).await;
            false
        }
        (Err(_), _) => false,
    }
}
