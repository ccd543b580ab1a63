//! The implicit flow (RFC 6749 §4.2): the token comes in the fragment of the callback's address,
//! and no request is made for it. Legacy: there is no code that could be bound to who asked, and no
//! refresh token. So it is never chosen by itself, and a token of somebody else's is refused where
//! the service can tell (RFC 9700 §2.1.2).

use std::sync::Arc;

use indicia_oauth::authorization::{self, Expected};
use indicia_oauth::{Answer, introspection};

use crate::Broker;
use crate::call::Bound;
use crate::callback::callback_refused;
use crate::client_gate::Gate;
use crate::commit_code::CodeSpend;
use crate::connect::Frozen;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::ports::Sent;
use crate::spoken::Spoken;
use crate::view::ConnectionView;

impl Broker {
    /// Takes the token set that came in a fragment: checked, kept, then read.
    pub(crate) async fn take_fragment(
        self: &Arc<Self>,
        spend: CodeSpend,
        fragment: &str,
    ) -> Result<ConnectionView, Error> {
        let (answer, bound) = match self.checked_fragment(&spend, fragment).await {
            Ok(checked) => checked,
            Err(error) => {
                spend.give_up(self).await;
                return Err(error);
            }
        };
        let now = self.ports.clock.now();
        let asked = (now, Spoken::from_texts([]));
        let kept = spend.keep(self, answer, bound.inputs.clone(), asked).await;
        match kept.outcome(&bound.service.dialect) {
            Outcome::Granted(tokens) => self.adopt_code(kept, bound, *tokens, None).await,
            other => Err(Error::Refused {
                code: "token_refused",
                field: "callback".into(),
                detail: format!("what came back can't be used as a token ({})", other.name()),
                hint: "start again with `indicia connect`".into(),
            }),
        }
    }

    async fn checked_fragment(
        &self,
        spend: &CodeSpend,
        fragment: &str,
    ) -> Result<(Answer, Bound), Error> {
        let flow = spend.flow();
        let frozen = Frozen::of(flow)?;
        let expected = Expected {
            state: &spend.secrets().state,
            issuer: frozen.issuer.as_deref(),
            issuer_always: frozen.issuer_always,
        };
        // mark: fragment-checked-first
        let answer = authorization::check_fragment(fragment, &expected);
        let answer = answer.map_err(callback_refused)?;
        let client = self.client_row(&flow.client).await?;
        Ok((answer, self.bind(client, &flow.inputs)?))
    }

    /// Somebody could put a token of another client's into the address, and have us work with his
    /// account for the user's (RFC 9700 §4.6): the service is asked whose it is, where it tells.
    pub(crate) async fn must_be_ours(&self, bound: &Bound, token: &str) -> Result<(), Error> {
        let endpoint = bound.service.introspection(bound.cx()).map_err(|e| bound.filled(e))?;
        let Some(endpoint) = endpoint else { return Ok(()) };
        let endpoint = bound.at_environment(endpoint);
        let now = self.ports.clock.now();
        let Gate::Open(secret) = self.gate(&bound.client, bound.secret_input(), now).await? else {
            return Err(unknown(bound, "it refuses this client"));
        };
        let client_id = &bound.client.client_id;
        let proven = self.client_proof(bound, &secret)?;
        let request = introspection::request(&endpoint, &proven.credentials(), token)
            .map_err(|error| Error::Internal(error.to_string()))?;
        let answer = match self.ports.transport.send(request, &|| true).await {
            Sent::Answer(answer) => answer,
            Sent::NotSent(why) | Sent::MaybeSent(why) => return Err(unknown(bound, &why)),
        };
        let of_another = || Error::Refused {
            code: "token_of_another",
            field: "callback".into(),
            detail: format!("{} says that this token isn't this client's", bound.service.name),
            hint: "start again with `indicia connect`, and open no address that somebody sent"
                .into(),
        };
        match (introspection::active(&answer), introspection::client_id(&answer)) {
            (Some(true), Some(of)) if of != *client_id => Err(of_another()),
            (Some(true), _) => Ok(()),
            (Some(false), _) => Err(of_another()),
            (None, _) => Err(unknown(bound, "its answer can't be read")),
        }
    }
}

fn unknown(bound: &Bound, why: &str) -> Error {
    Error::Unavailable {
        code: "token_unchecked",
        detail: format!("{} can't be asked whose this token is: {why}", bound.service.name),
        retry_after: None,
        hint: "start again with `indicia connect`".into(),
    }
}
