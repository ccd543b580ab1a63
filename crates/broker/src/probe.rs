//! Whether the API takes a token: asked by a call that is cheap and harmless, where the service has
//! one.

use crate::Broker;
use crate::call::{Bound, refuses_token};
use crate::error::Error;
use crate::ports::Sent;
use crate::spoken::Spoken;

/// What the API says of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probed {
    /// It takes it.
    Taken,
    /// It refuses it, with this status.
    Refused(u16),
    /// It gave no answer that tells; why.
    Unknown(String),
    /// The service has no such call.
    NoCall,
}

impl Broker {
    /// Asks the API whether it takes a connection's token.
    ///
    /// # Errors
    /// As [`Broker::token`].
    pub async fn probe(self: &std::sync::Arc<Self>, id: &str) -> Result<Probed, Error> {
        self.may_send().await?;
        self.token(id, None).await?;
        let (_, grant) = self.load(id).await?;
        let bound = self.bind(self.client_row(&grant.client).await?, &grant.inputs)?;
        let tokens = crate::committed::open_tokens(&self.vault, &grant)?;
        Ok(self.probe_with(&bound, tokens.access_token.expose()).await)
    }

    pub(crate) async fn probe_with(&self, bound: &Bound, token: &str) -> Probed {
        let call = match bound.service.probe(bound.cx()) {
            Ok(Some(call)) => call,
            Ok(None) => return Probed::NoCall,
            Err(error) => return Probed::Unknown(error.to_string()),
        };
        let request = self.api_request(bound, &call, token);
        let spoken = Spoken::of(&request);
        match self.ports.transport.send(request, &|| true).await {
            Sent::Answer(answer) if answer.is_success() => Probed::Taken,
            Sent::Answer(answer) if refuses_token(&bound.service, &spoken.hidden(&answer)) => {
                Probed::Refused(answer.status)
            }
            Sent::Answer(answer) => Probed::Unknown(format!("status {}", answer.status)),
            Sent::NotSent(why) | Sent::MaybeSent(why) => Probed::Unknown(why),
        }
    }
}
