//! Client credentials (RFC 6749 §4.4): a connection that needs no person.

use std::sync::Arc;

use indicia_catalog::{Flow, GrantType};
use indicia_oauth::grant::client_credentials;

use crate::Broker;
use crate::adopt::Adoption;
use crate::call::Bound;
use crate::callback::client_refused;
use crate::client_gate::Gate;
use crate::connect::{Asked, ConnectRequest, misbuilt};
use crate::error::Error;
use crate::model::{ConnectionId, RotationOwner};
use crate::outcome::{self, Outcome};
use crate::ports::Sent;
use crate::spoken::Spoken;
use crate::view::ConnectionView;

impl Broker {
    pub(crate) async fn connect_credentials(
        self: &Arc<Self>,
        bound: Bound,
        connection: ConnectionId,
        asked: Asked,
        request: ConnectRequest,
    ) -> Result<ConnectionView, Error> {
        let _open = self.flights.count();
        let endpoint = bound.token_endpoint(GrantType::ClientCredentials)?;
        let now = self.ports.clock.now();
        let secret = match self.gate(&bound.client, bound.secret_input(), now).await? {
            Gate::Open(secret) => secret,
            Gate::Closed(refused) => return Err(client_refused(&bound, &refused.said)),
        };
        let proven = self.client_proof(&bound, &secret)?;
        let separator = &bound.service.scopes.separator;
        let credentials = proven.credentials();
        let call = client_credentials::request(&endpoint, &credentials, &asked.scopes, separator)
            .map_err(|e| misbuilt(&e.to_string()))?;
        drop(proven);
        let spoken = Spoken::of(&call);
        let outcome = match self.ports.transport.send(call, &|| true).await {
            Sent::Answer(answer) => {
                outcome::classify(&answer, &bound.service.dialect, now, &spoken)
            }
            Sent::NotSent(why) => Outcome::not_sent(&why),
            Sent::MaybeSent(why) => Outcome::lost(&why),
        };
        match outcome {
            Outcome::Granted(tokens) => {
                self.client_was_accepted(&bound.client, secret.n, now).await.ok();
                let adoption = Adoption {
                    bound,
                    connection,
                    flow: Flow::ClientCredentials,
                    consent: None,
                    asked: asked.scopes,
                    labels: request.labels,
                    other_account: request.other_account,
                    tokens: without_refresh(*tokens),
                    sent_at: now,
                    in_journal: false,
                    secret_n: Some(secret.n),
                    owner: RotationOwner::Indicia,
                    learn_account: true,
                };
                self.adopt(adoption).await
            }
            other => Err(self.exchange_failed(&bound, &secret, other, now).await),
        }
    }
}

/// A refresh token that comes with client credentials is ignored (RFC 6749 §4.4.3).
fn without_refresh(mut tokens: indicia_oauth::TokenSet) -> indicia_oauth::TokenSet {
    tokens.refresh_token = None;
    tokens
}
