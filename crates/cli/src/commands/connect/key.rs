//! The flow `api-key`: a key that somebody made at the service is handed over, by prompt or on
//! standard input.

use std::sync::Arc;

use indicia_broker::api_key::KeyStep;
use indicia_broker::clients::NewClient;
use indicia_broker::{Broker, Error};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::home::{Cx, beside};
use crate::prompt;
use crate::words::shown;

/// Asks for its parts, and joins them.
pub(super) async fn read(cx: &Cx, step: &KeyStep) -> Result<Zeroizing<String>, Failure> {
    cx.out.remark(&shown(&step.help));
    let parts = step.parts.clone();
    beside(move || asked(&parts)).await
}

fn asked(parts: &[String]) -> Result<Zeroizing<String>, Failure> {
    if !prompt::somebody_is_there() {
        return prompt::from_stdin(&parts.join(":"));
    }
    let mut key = Zeroizing::new(String::new());
    for part in parts {
        let typed = prompt::from_stdin(part)?;
        if !key.is_empty() {
            key.push(':');
        }
        key.push_str(typed.trim());
    }
    Ok(key)
}

/// Where there are API keys alone, nothing is registered: the client of the service's name is made
/// when it is first connected.
pub(super) async fn client_of_its_own(broker: &Arc<Broker>, name: &str) -> Result<(), Failure> {
    let missing = match broker.client(name).await {
        Ok(_) => return Ok(()),
        Err(error @ Error::NotFound { .. }) => error,
        Err(error) => return Err(error.into()),
    };
    let service = broker.catalogue().service(name).filter(|service| !service.registers());
    let service = service.ok_or(missing)?;
    let new = NewClient {
        service: service.id.clone(),
        id: Some(service.id.clone()),
        ..NewClient::default()
    };
    broker.add_client(new).await?;
    Ok(())
}
