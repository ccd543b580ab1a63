//! The same order of writes for an authorization code or device code: the pending flow is taken
//! (that is the intent) with a journal slot in hand, before state and verifier can be opened; a 2xx
//! answer is kept before it is read. There is no grant yet: `recover` makes it from the entry.

use std::collections::BTreeMap;

use indicia_catalog::Flow;
use indicia_oauth::{Answer, Dialect, Request, Timestamp, Verifier};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::Broker;
use crate::connect::Frozen;
use crate::error::Error;
use crate::model::{FlowRow, TakenFlow};
use crate::outcome::{self, Outcome};
use crate::ports::{JournalEntry, Sent, SlotNo};
use crate::spoken::Spoken;
use crate::vault::{Field, VaultError};

/// What a pending flow keeps sealed.
#[derive(Serialize, Deserialize)]
pub(crate) struct FlowSecrets {
    pub(crate) state: String,
    pub(crate) verifier: Option<String>,
    /// What a device flow polls with.
    #[serde(default)]
    pub(crate) device_code: Option<String>,
}

impl Drop for FlowSecrets {
    fn drop(&mut self) {
        self.state.zeroize();
        self.verifier.zeroize();
        self.device_code.zeroize();
    }
}

impl FlowSecrets {
    pub(crate) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // Strings always serialize.
        Zeroizing::new(serde_json::to_vec(self).unwrap_or_default())
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    pub(crate) fn verifier(&self) -> Option<Verifier> {
        self.verifier.clone().map(Verifier::new)
    }
}

/// The flow is ours, marked used, and a journal slot is taken.
pub(crate) struct CodeSpend {
    flow: FlowRow,
    slot: SlotNo,
    secrets: FlowSecrets,
}

/// What taking a flow gave.
pub(crate) enum TakenCode {
    Spend(Box<CodeSpend>),
    Not(TakenFlow),
}

impl CodeSpend {
    pub(crate) async fn take(broker: &Broker, state_hash: &str) -> Result<TakenCode, Error> {
        let journal = &broker.ports.journal;
        let slot = journal.reserve().await.map_err(|error| Error::Store {
            code: "journal_full",
            detail: format!("no room in the journal, so nothing was sent: {error}"),
            hint: "make room on the disk and open the same address again".into(),
        })?;
        let now = broker.ports.clock.now();
        match broker.ports.store.take_flow(state_hash, &journal.id(), now).await {
            Ok(TakenFlow::Taken(flow)) => {
                let field = Field::Flow { state_hash };
                let opened = broker.vault.unseal(field, &flow.sealed);
                let secrets = opened
                    .and_then(|bytes| FlowSecrets::from_bytes(&bytes).ok_or(VaultError::Damaged));
                match secrets {
                    Ok(secrets) => {
                        Ok(TakenCode::Spend(Box::new(Self { flow: *flow, slot, secrets })))
                    }
                    Err(error) => {
                        journal.give_back(slot).await;
                        Err(error.into())
                    }
                }
            }
            Ok(not) => {
                journal.give_back(slot).await;
                Ok(TakenCode::Not(not))
            }
            Err(error) => {
                journal.give_back(slot).await;
                Err(error.into())
            }
        }
    }

    pub(crate) fn flow(&self) -> &FlowRow {
        &self.flow
    }

    pub(crate) fn secrets(&self) -> &FlowSecrets {
        &self.secrets
    }

    /// Nothing is sent after all.
    pub(crate) async fn give_up(self, broker: &Broker) {
        broker.ports.journal.give_back(self.slot).await;
    }

    /// Sends the exchange once, ever. `inputs`: what is known by now, the callback's included; kept
    /// with the answer.
    pub(crate) async fn send(
        self,
        broker: &Broker,
        request: Request,
        inputs: BTreeMap<String, String>,
    ) -> CodeFlown {
        let sent_at = broker.ports.clock.now();
        let spoken = Spoken::of(&request);
        let journal = &broker.ports.journal;
        let outcome = match broker.ports.transport.send(request, &|| true).await {
            Sent::Answer(answer) => {
                let kept = self.keep(broker, answer, inputs, (sent_at, spoken)).await;
                return CodeFlown::Kept(Box::new(kept));
            }
            Sent::NotSent(why) => Outcome::not_sent(&why),
            Sent::MaybeSent(why) => Outcome::lost(&why),
        };
        journal.give_back(self.slot).await;
        CodeFlown::NoAnswer(outcome)
    }
}

/// What a poll with a device code gave.
pub(crate) enum Polled {
    /// Nothing was granted: it may be asked again.
    Open(Box<CodeSpend>, Outcome),
    /// A 2xx came, and is kept.
    Kept(Box<CodeKept>),
}

impl CodeSpend {
    /// Asks once with a device code. `inputs`: as for [`Self::send`].
    pub(crate) async fn poll(
        self,
        broker: &Broker,
        request: Request,
        (dialect, inputs): (&Dialect, BTreeMap<String, String>),
    ) -> Polled {
        let sent_at = broker.ports.clock.now();
        let spoken = Spoken::of(&request);
        let outcome = match broker.ports.transport.send(request, &|| true).await {
            Sent::Answer(answer) if answer.is_success() => {
                let kept = self.keep(broker, answer, inputs, (sent_at, spoken)).await;
                return Polled::Kept(Box::new(kept));
            }
            Sent::Answer(answer) => outcome::classify(&answer, dialect, sent_at, &spoken),
            Sent::NotSent(why) => Outcome::not_sent(&why),
            Sent::MaybeSent(why) => Outcome::lost(&why),
        };
        Polled::Open(Box::new(self), outcome)
    }

    /// Keeps an answer that grants something before it is read. `sent_at`: when it was asked for,
    /// or, where it came by itself (implicit), now.
    pub(crate) async fn keep(
        self,
        broker: &Broker,
        answer: Answer,
        inputs: BTreeMap<String, String>,
        (sent_at, spoken): (Timestamp, Spoken),
    ) -> CodeKept {
        let Self { mut flow, slot, .. } = self;
        flow.inputs = inputs;
        let mut in_journal = false;
        if answer.is_success() {
            let entry = entry(broker, &flow, &answer, sent_at);
            in_journal = broker.ports.journal.keep(slot, entry).await.is_ok();
        } else {
            broker.ports.journal.give_back(slot).await;
        }
        CodeKept { flow, answer, sent_at, in_journal, spoken }
    }
}

fn entry(broker: &Broker, flow: &FlowRow, answer: &Answer, sent_at: Timestamp) -> JournalEntry {
    let field = Field::Answer { of: &flow.state_hash, version: 0 };
    // A map of texts always serializes.
    let inputs = serde_json::to_vec(&flow.inputs).unwrap_or_default();
    let mut plain = Zeroizing::new(Vec::new());
    plain.extend_from_slice(&u32::try_from(inputs.len()).unwrap_or(0).to_be_bytes());
    plain.extend_from_slice(&inputs);
    plain.extend_from_slice(&answer.to_bytes());
    JournalEntry {
        of: flow.state_hash.clone(),
        version: 0,
        fingerprint: broker.vault.fingerprint(&flow.state_hash),
        sent_at,
        answer: broker.vault.seal(field, &plain),
    }
}

/// Inputs and answer, as [`entry`] wrote them.
pub(crate) fn read_entry(bytes: &[u8]) -> Option<(BTreeMap<String, String>, Answer)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (inputs, answer) = rest.split_at_checked(length)?;
    Some((serde_json::from_slice(inputs).ok()?, Answer::from_bytes(answer)?))
}

/// What became of an exchange.
pub(crate) enum CodeFlown {
    Kept(Box<CodeKept>),
    NoAnswer(Outcome),
}

/// An answer to an exchange, kept before it is read.
pub(crate) struct CodeKept {
    flow: FlowRow,
    answer: Answer,
    sent_at: Timestamp,
    in_journal: bool,
    spoken: Spoken,
}

impl CodeKept {
    /// From the journal, for `recover`.
    pub(crate) fn from_journal(
        broker: &Broker,
        mut flow: FlowRow,
        entry: &JournalEntry,
    ) -> Result<Self, VaultError> {
        let field = Field::Answer { of: &entry.of, version: entry.version };
        let bytes = broker.vault.unseal(field, &entry.answer)?;
        let (inputs, answer) = read_entry(&bytes).ok_or(VaultError::Damaged)?;
        flow.inputs = inputs;
        let spoken = Spoken::from_texts([]);
        Ok(Self { flow, answer, sent_at: entry.sent_at, in_journal: true, spoken })
    }

    /// What it means. A fragment is a form, whatever the service's token endpoint answers with.
    pub(crate) fn outcome(&self, dialect: &Dialect) -> Outcome {
        let implicit = Frozen::of(&self.flow).is_ok_and(|frozen| frozen.flow == Flow::Implicit);
        let accept_form = dialect.accept_form || implicit;
        let dialect = Dialect { accept_form, ..dialect.clone() };
        outcome::classify(&self.answer, &dialect, self.sent_at, &self.spoken)
    }

    pub(crate) fn flow(&self) -> &FlowRow {
        &self.flow
    }

    pub(crate) fn into_flow(self) -> (FlowRow, Timestamp, bool) {
        (self.flow, self.sent_at, self.in_journal)
    }
}
