//! Cause, evidence, next step, in words. Speaks from what [`crate::decide`] wrote down.

use indicia_oauth::Expiry;

use crate::Broker;
use crate::decide::cause_words;
use crate::error::Error;
use crate::model::{ClientRow, ConnectionRow, GrantRow, Life, ReasonCode, SecretState};
use crate::schedule;
use crate::serve;
use crate::view::{ConnectionState, Explanation, rfc3339};

impl Broker {
    /// Why a connection is as it is.
    ///
    /// # Errors
    /// [`Error::NotFound`]; the store's.
    pub async fn explain(&self, id: &str) -> Result<Explanation, Error> {
        let (connection, grant) = self.load(id).await?;
        let client = self.client_row(&grant.client).await?;
        let now = self.ports.clock.now();
        let state = serve::state(&grant, Some(&client));
        let reason = self.reason_in_full(&grant, &client, &connection.id).await?;
        let serving = grant.state.life != Life::Revoked
            && schedule::good_for(&grant.facts, std::time::Duration::from_millis(1), now);
        let serving_until = match grant.facts.expiry {
            Expiry::At(end) if serving => Some(end),
            Expiry::At(_) | Expiry::Never | Expiry::Unknown => None,
        };
        let cause = reason.as_ref().and_then(|r| r.cause);
        let summary = match (&reason, cause) {
            (_, Some(cause)) => cause_words(cause).to_owned(),
            (Some(reason), None) => reason.detail.clone(),
            (None, None) if state == ConnectionState::Revoked => "it was taken back".to_owned(),
            (None, None) => "all is well".to_owned(),
        };
        let next_step = match &reason {
            Some(_) if grant.state.life == Life::Dead => {
                format!("indicia connect {} --id {}", grant.client, connection.id)
            }
            Some(reason) => reason.next_step.clone(),
            None => "nothing".to_owned(),
        };
        Ok(Explanation {
            evidence: self.evidence(&connection, &grant, &client, serving).await,
            connection: connection.id.to_string(),
            state,
            serving,
            serving_until,
            code: reason.as_ref().map(|r: &crate::model::Reason| r.code),
            cause,
            summary,
            next_step,
        })
    }

    async fn evidence(
        &self,
        connection: &ConnectionRow,
        grant: &GrantRow,
        client: &ClientRow,
        serving: bool,
    ) -> Vec<String> {
        let mut lines = vec![format!(
            "version {} of the grant, obtained {}",
            grant.version,
            rfc3339(grant.facts.obtained_at)
        )];
        match grant.facts.expiry {
            Expiry::At(end) if serving => {
                lines.push(format!("the access token is served until {}", rfc3339(end)));
            }
            Expiry::At(end) if end > self.ports.clock.now() => {
                lines.push(format!("the access token, not served, would end {}", rfc3339(end)));
            }
            Expiry::At(end) => lines.push(format!("the access token ended {}", rfc3339(end))),
            Expiry::Never => lines.push("the access token never expires".into()),
            Expiry::Unknown => {
                lines.push("the service doesn't tell when the access token ends".into());
            }
        }
        if grant.facts.rejected {
            lines.push("the API refused the access token".into());
        }
        if let Some(reason) = &grant.state.reason {
            lines.push(format!(
                "{} since {}: {}",
                serve::code(reason.code),
                rfc3339(reason.since),
                reason.detail
            ));
        }
        self.spend_evidence(grant, &mut lines).await;
        if let Some(refused) = &client.refused {
            lines.push(format!(
                "client {} is refused since {}: {}",
                client.id,
                rfc3339(refused.since),
                refused.said
            ));
        }
        if let Some(held) = &client.grants_refused.held {
            lines.push(format!(
                "{} grants of client {} were refused within minutes, the last at {}: {}; one is \
                 tried at {}",
                client.grants_refused.grants.len(),
                client.id,
                rfc3339(held.since),
                held.said,
                rfc3339(held.retry_at)
            ));
        }
        let staged = client.secrets.iter().filter(|s| s.state == SecretState::Staged).count();
        if staged > 0 {
            lines.push(format!("client {} has {staged} staged secret(s)", client.id));
        }
        let filter = crate::ports::ConnectionFilter {
            grant: Some(grant.id.clone()),
            ..crate::ports::ConnectionFilter::default()
        };
        if let Ok(all) = self.all_connections(&filter).await {
            let others: Vec<String> = all
                .iter()
                .filter(|(c, _)| c.id != connection.id)
                .map(|(c, _)| c.id.to_string())
                .collect();
            if !others.is_empty() {
                lines.push(format!("the same grant serves {}", others.join(", ")));
            }
        }
        lines
    }

    async fn spend_evidence(&self, grant: &GrantRow, lines: &mut Vec<String>) {
        if let Some(at) = self
            .taken_over_at()
            .filter(|_| grant.facts.refresh.is_some() && self.is_doubtful(grant))
        {
            lines.push(format!(
                "it comes from a copy of the store that was taken over {}: the original may have \
                 replaced its refresh token since",
                rfc3339(at)
            ));
        }
        if let Some(intent) = &grant.intent {
            lines.push(format!(
                "a refresh from version {} was sent {} time(s), first at {}, and no answer is stored",
                intent.version,
                intent.sends,
                rfc3339(intent.at)
            ));
            let entries = self.ports.journal.entries(Some(grant.id.as_str())).await;
            let kept = entries.is_ok_and(|all| all.iter().any(|e| e.version == grant.version));
            lines.push(if kept {
                "its answer is kept in the journal: `indicia recover` stores it".into()
            } else {
                "no answer to it is kept in this home's journal".into()
            });
        }
        for refused in &grant.state.refusals {
            lines.push(format!(
                "the service refused this refresh token {} time(s), last at {}; it isn't sent again \
                 with client secret {}",
                refused.times,
                rfc3339(refused.at),
                refused.secret_n
            ));
        }
        let lost = grant.state.reason.as_ref().is_some_and(|r| r.code == ReasonCode::AnswerLost);
        match grant.state.retry_at {
            Some(at) if lost => {
                lines.push(format!("nothing is sent before {}, when the token ends", rfc3339(at)));
            }
            Some(at) => lines.push(format!("nothing is sent before {}", rfc3339(at))),
            None => {}
        }
    }
}
