//! `Claim → Spend → Kept → Committed`: the order of writes, so that another order doesn't compile.
//!
//! A refresh token is reachable only through [`Spend`], which exists only once the intent is stored
//! and a journal slot is taken. An answer can be read only from [`Kept`], and a token handed out only
//! from [`Committed`], which `Kept` or the store makes. All fields are private to this file; where
//! the service verifiably keeps its refresh token (or nothing is spent) the proof [`Free`] takes the
//! place of intent and slot.
//!
//! Must never: send anything before the intent, parse before the journal, hand out before either.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use indicia_catalog::Keeps;
use indicia_oauth::{Answer, Dialect, RefreshToken, Request, Timestamp, TokenSet};

use crate::Broker;
use crate::decide::Attempt;
use crate::error::Error;
use crate::model::{Account, Event, GrantId, GrantRow, GrantState, Intent, TokenFacts};
use crate::outcome::{self, Outcome};
use crate::ports::{
    ClaimOutcome, CommitOutcome, JournalEntry, NewTokens, Sent, Settlement, SlotNo, StoreError,
};
use crate::token_facts;
use crate::vault::{Field, Vault, VaultError};

/// How long a lease lasts unless it is renewed.
pub(crate) const LEASE: Duration = Duration::from_secs(15);

/// How often it is renewed while a request flies.
const RENEW_EVERY: Duration = Duration::from_secs(4);

/// A request isn't written when less than this is left of the lease.
const WRITE_MARGIN_MS: u64 = 2_000;

/// Tries to store an answer before it is served from the journal.
const STORE_TRIES: u32 = 3;

/// Pause between them, doubled each time.
const STORE_PAUSE: Duration = Duration::from_millis(50);

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
            ClaimOutcome::Claimed(row) => Taken::Claim(Box::new(Self {
                grant: row.grant,
                lease_no: row.lease_no,
                until_boot_ms: Arc::new(AtomicU64::new(row.until_boot_ms)),
            })),
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

/// Opens the token set of a row.
pub(crate) fn open_tokens(vault: &Vault, grant: &GrantRow) -> Result<TokenSet, VaultError> {
    let field = Field::Tokens { grant: grant.id.as_str(), version: grant.version };
    let bytes = vault.unseal(field, &grant.tokens)?;
    TokenSet::from_bytes(&bytes).ok_or(VaultError::Damaged)
}

/// The intent is durable and a journal slot is ours: the one place where the refresh token is within
/// reach.
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
            secret_n,
            endpoint: endpoint.to_owned(),
            fingerprint: self.claim.grant.facts.refresh.filter(|_| self.spends),
        }
    }

    /// Builds the request from the refresh token, looks at the deadline, sends once while renewing
    /// the lease, and keeps a 2xx answer before anybody reads it.
    pub(crate) async fn send(
        self,
        broker: &Broker,
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
        match self.fly(broker, request).await {
            Sent::Answer(answer) => Flown::Kept(Box::new(self.keep(broker, answer, sent_at).await)),
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

    async fn fly(&self, broker: &Broker, request: Request) -> Sent {
        let until = &self.claim.until_boot_ms;
        let clock = &broker.ports.clock;
        let look = broker.guards().deadline;
        let may_write =
            || !look || clock.boot_millis() + WRITE_MARGIN_MS < until.load(Ordering::SeqCst);
        let send = pin!(broker.ports.transport.send(request, &may_write));
        let renew = pin!(self.claim.renew(broker));
        match select(send, renew).await {
            Either::Left((sent, _)) => sent,
            Either::Right((never, _)) => match never {},
        }
    }

    async fn keep(self, broker: &Broker, answer: Answer, sent_at: Timestamp) -> Kept {
        let Self { claim, old, slot, .. } = self;
        let mut in_journal = false;
        match slot {
            Some(slot) if answer.is_success() && broker.guards().journal_before_parse => {
                let entry = entry(broker, &claim.grant, &answer, sent_at);
                in_journal = match entry {
                    Some(entry) => broker.ports.journal.keep(slot, entry).await.is_ok(),
                    None => false,
                };
            }
            slot => give_back(broker, slot).await,
        }
        Kept { claim, old, answer, sent_at, in_journal }
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
            tokio::time::sleep(RENEW_EVERY).await;
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
    in_journal: bool,
}

/// What storing a token set did.
pub(crate) enum Stored {
    /// It is in the store.
    Committed(Box<Committed>),
    /// It is in the journal; the store couldn't take it yet.
    Behind(Box<Committed>, StoreError),
    /// Somebody stored another token set meanwhile: this is how the grant stands.
    Superseded(Box<GrantRow>),
    /// The connection was revoked meanwhile: this must be taken back too.
    Gone(Box<TokenSet>),
    /// Neither store nor journal took it, so it isn't handed out.
    Failed(StoreError),
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
                Ok(Self { claim, old, answer, sent_at: entry.sent_at, in_journal: true })
            }
            Err::<_, VaultError>(error) => Err((claim, error.into())),
        }
    }

    /// Reads the answer.
    pub(crate) fn outcome(&self, dialect: &Dialect) -> Outcome {
        outcome::classify(&self.answer, dialect, self.sent_at)
    }

    pub(crate) fn grant(&self) -> &GrantRow {
        &self.claim.grant
    }

    /// Back to the claim: nothing to store.
    pub(crate) fn into_claim(self) -> Box<Claim> {
        self.claim
    }

    /// Stores the token set, fenced by the version that was spent from. `plan` says what else
    /// changes; the refresh token before is kept where no new one came.
    pub(crate) async fn commit(
        self,
        broker: &Broker,
        tokens: TokenSet,
        plan: Plan,
        events: Vec<Event>,
    ) -> Stored {
        let Self { claim, old, sent_at, in_journal, .. } = self;
        let tokens = token_facts::merge(old, tokens);
        let writing = Writing { grant: &claim.grant, lease_no: Some(claim.lease_no), sent_at };
        store_tokens(broker, writing, tokens, plan, in_journal, events).await
    }
}

/// When a token set with these facts is due.
type DueAt = dyn Fn(&TokenFacts) -> Option<Timestamp> + Send + Sync;

/// What a commit changes besides the token set.
pub(crate) struct Plan {
    /// What the outcome leaves behind.
    pub(crate) state: GrantState,
    /// When it is due; computed from the facts.
    pub(crate) next_at: Box<DueAt>,
    /// Inputs from now on.
    pub(crate) inputs: std::collections::BTreeMap<String, String>,
    /// Account from now on.
    pub(crate) account: Option<Account>,
    /// Scopes asked for, where they change.
    pub(crate) asked: Option<Vec<String>>,
}

/// Which row is written from.
pub(crate) struct Writing<'a> {
    pub(crate) grant: &'a GrantRow,
    pub(crate) lease_no: Option<u64>,
    pub(crate) sent_at: Timestamp,
}

/// Stores a token set as the next version of a grant that is there. The last step of every way to a
/// token: refresh, recovery, reconnect.
pub(crate) async fn store_tokens(
    broker: &Broker,
    writing: Writing<'_>,
    tokens: TokenSet,
    plan: Plan,
    in_journal: bool,
    events: Vec<Event>,
) -> Stored {
    let Writing { grant, lease_no, sent_at } = writing;
    let facts = token_facts::facts(&broker.vault, Some(&grant.facts), &tokens, sent_at);
    let mut from = grant.version;
    let mut pause = STORE_PAUSE;
    let mut tries = 0;
    loop {
        tries += 1;
        let field = Field::Tokens { grant: grant.id.as_str(), version: from + 1 };
        let new = NewTokens {
            tokens: broker.vault.seal(field, &tokens.to_bytes()),
            facts: facts.clone(),
            state: plan.state.clone(),
            next_at: (plan.next_at)(&facts),
            inputs: plan.inputs.clone(),
            account: plan.account.clone(),
            asked: plan.asked.clone(),
        };
        let kept = new.clone();
        match broker.ports.store.commit(&grant.id, from, lease_no, new, events.clone()).await {
            Ok(CommitOutcome::Done(row)) => return finish(broker, grant, *row, tokens).await,
            // Our own commit, whose answer was lost on the way back.
            Ok(CommitOutcome::Superseded(row)) if row.facts.access == facts.access => {
                return finish(broker, grant, *row, tokens).await;
            }
            Ok(CommitOutcome::Superseded(row)) if !broker.guards().fence => from = row.version,
            Ok(CommitOutcome::Superseded(row)) => return Stored::Superseded(row),
            Ok(CommitOutcome::Gone) => return Stored::Gone(Box::new(tokens)),
            Err(_) if tries < STORE_TRIES => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Err(error) if in_journal => {
                let row = as_if_stored(grant, from + 1, kept);
                return Stored::Behind(Box::new(Committed { row, tokens }), error);
            }
            Err(error) => return Stored::Failed(error),
        }
    }
}

async fn finish(broker: &Broker, from: &GrantRow, row: GrantRow, tokens: TokenSet) -> Stored {
    let now = broker.ports.clock.now();
    // A failure here only means that the entry is looked at once more.
    let _ = broker.ports.journal.committed(from.id.as_str(), from.version, now).await;
    Stored::Committed(Box::new(Committed { row, tokens }))
}

fn as_if_stored(grant: &GrantRow, version: u64, new: NewTokens) -> GrantRow {
    GrantRow {
        version,
        tokens: new.tokens,
        facts: new.facts,
        state: new.state,
        next_at: new.next_at,
        inputs: new.inputs,
        account: new.account,
        lease: None,
        intent: None,
        ..grant.clone()
    }
}

/// A token set that is durable: in the store, or in the journal on its way there. What is handed out
/// comes from here alone.
pub(crate) struct Committed {
    row: GrantRow,
    tokens: TokenSet,
}

impl Committed {
    /// From what is stored already.
    pub(crate) fn load(vault: &Vault, row: GrantRow) -> Result<Self, VaultError> {
        let tokens = open_tokens(vault, &row)?;
        Ok(Self { row, tokens })
    }

    pub(crate) fn row(&self) -> &GrantRow {
        &self.row
    }

    pub(crate) fn tokens(&self) -> &TokenSet {
        &self.tokens
    }
}
