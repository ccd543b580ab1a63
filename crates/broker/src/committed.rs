//! The last step of every way to a token (refresh, recovery, reconnect): the token set goes to the
//! store, fenced by the version that it started from; what is handed out is a [`Committed`].

use std::collections::BTreeMap;
use std::time::Duration;

use indicia_oauth::{Timestamp, TokenSet};

use crate::Broker;
use crate::model::{Account, Event, GrantRow, GrantState, TokenFacts};
use crate::ports::{CommitOutcome, NewTokens, StoreError};
use crate::token_facts;
use crate::vault::{Field, Vault, VaultError};

/// Tries to store a token set before it is served from the journal.
const STORE_TRIES: u32 = 3;

/// Pause between them, doubled each time.
const STORE_PAUSE: Duration = Duration::from_millis(50);

/// When a token set with these facts is due.
type DueAt = dyn Fn(&TokenFacts) -> Option<Timestamp> + Send + Sync;

/// What a commit changes besides the token set.
pub(crate) struct Plan {
    /// What the outcome leaves behind.
    pub(crate) state: GrantState,
    /// When it is due; computed from the facts.
    pub(crate) next_at: Box<DueAt>,
    /// Inputs from now on.
    pub(crate) inputs: BTreeMap<String, String>,
    /// Account from now on.
    pub(crate) account: Option<Account>,
    /// Scopes asked for, where they change.
    pub(crate) asked: Option<Vec<String>>,
    /// The flow that a new consent comes from.
    pub(crate) flow: Option<String>,
}

/// What is written from, and to.
pub(crate) struct Writing<'a> {
    pub(crate) grant: &'a GrantRow,
    pub(crate) lease_no: Option<u64>,
    pub(crate) sent_at: Timestamp,
    /// Facts of the token set that this one replaces by a refresh; `None` for a new consent.
    pub(crate) before: Option<&'a TokenFacts>,
    /// The version that it becomes.
    pub(crate) version: u64,
    pub(crate) in_journal: bool,
}

/// What storing a token set did.
pub(crate) enum Stored {
    /// It is in the store.
    Committed(Box<Committed>),
    /// It is in the journal; the store couldn't take it yet.
    Behind(Box<Committed>, StoreError),
    /// Somebody stored another token set meanwhile: this is how the grant stands.
    Superseded(Box<GrantRow>),
    /// The grant was revoked meanwhile: this must be taken back too.
    Revoked(Box<TokenSet>),
    /// The grant was forgotten meanwhile.
    Forgotten(Box<TokenSet>),
    /// Its consent was stored before, or a newer one was.
    FlowEnded,
    /// Its connection was taken back after the consent: what was given must be taken back too.
    FlowRevoked,
    /// Neither store nor journal took it, so it isn't handed out.
    Failed(Box<TokenSet>, StoreError),
}

/// Stores a token set as the next version of a grant that is there.
pub(crate) async fn store_tokens(
    broker: &Broker,
    writing: Writing<'_>,
    tokens: TokenSet,
    plan: &Plan,
    events: &[Event],
) -> Stored {
    let Writing { grant, lease_no, sent_at, before, version, in_journal } = writing;
    let facts = token_facts::facts(&broker.vault, before, &tokens, sent_at);
    let mut from = grant.version;
    let mut version = version.max(from + 1);
    let mut pause = STORE_PAUSE;
    let mut tries = 0;
    loop {
        tries += 1;
        let field = Field::Tokens { grant: grant.id.as_str(), version };
        let new = NewTokens {
            version,
            tokens: broker.vault.seal(field, &tokens.to_bytes()),
            facts: facts.clone(),
            state: plan.state.clone(),
            next_at: (plan.next_at)(&facts),
            inputs: plan.inputs.clone(),
            account: plan.account.clone(),
            asked: plan.asked.clone(),
            flow: plan.flow.clone(),
        };
        let store = &broker.ports.store;
        match store.commit(&grant.id, from, lease_no, new.clone(), events.to_vec()).await {
            Ok(CommitOutcome::Done) => {
                return finish(broker, version, as_stored(grant, new), tokens).await;
            }
            // Our own commit, whose answer was lost on the way back.
            Ok(CommitOutcome::Superseded(row)) if row.facts.access == facts.access => {
                return finish(broker, row.version, *row, tokens).await;
            }
            Ok(CommitOutcome::Superseded(row)) if !broker.guards().fence => {
                (from, version) = (row.version, row.version + 1);
            }
            // mark: stale-commit-refused
            Ok(CommitOutcome::Superseded(row)) => return Stored::Superseded(row),
            Ok(CommitOutcome::Revoked) => return Stored::Revoked(Box::new(tokens)),
            Ok(CommitOutcome::Missing) => return Stored::Forgotten(Box::new(tokens)),
            Ok(CommitOutcome::FlowEnded) => return Stored::FlowEnded,
            Ok(CommitOutcome::FlowRevoked) => return Stored::FlowRevoked,
            Err(_) if tries < STORE_TRIES => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Err(error) if in_journal => {
                let row = as_stored(grant, new);
                return Stored::Behind(Box::new(Committed { row, tokens }), error);
            }
            Err(error) => return Stored::Failed(Box::new(tokens), error),
        }
    }
}

async fn finish(broker: &Broker, version: u64, row: GrantRow, tokens: TokenSet) -> Stored {
    let now = broker.ports.clock.now();
    // A failure here only means that the entry is looked at once more.
    let _ = broker.ports.journal.committed(row.id.as_str(), version - 1, now).await;
    Stored::Committed(Box::new(Committed { row, tokens }))
}

/// What a commit makes of a grant.
fn as_stored(grant: &GrantRow, new: NewTokens) -> GrantRow {
    GrantRow {
        version: new.version,
        tokens: new.tokens,
        facts: new.facts,
        state: new.state,
        next_at: new.next_at,
        inputs: new.inputs,
        account: new.account,
        asked: new.asked.unwrap_or_else(|| grant.asked.clone()),
        lease: None,
        intent: None,
        ..grant.clone()
    }
}

/// A token set that is durable: in the store, or in the journal on its way there. What is handed
/// out comes from here alone.
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

/// Opens the token set of a row.
pub(crate) fn open_tokens(vault: &Vault, grant: &GrantRow) -> Result<TokenSet, VaultError> {
    let field = Field::Tokens { grant: grant.id.as_str(), version: grant.version };
    let bytes = vault.unseal(field, &grant.tokens)?;
    TokenSet::from_bytes(&bytes).ok_or(VaultError::Damaged)
}
