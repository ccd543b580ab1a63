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
        let given = prompt::from_stdin(&parts.join(":"))?;
        // On a line each, as they are copied.
        return Ok(match parts {
            [_, ..] if parts.len() > 1 && given.lines().count() == parts.len() => {
                joined(given.lines())
            }
            _ => given,
        });
    }
    let typed = parts.iter().map(|part| prompt::from_stdin(part)).collect::<Result<Vec<_>, _>>()?;
    Ok(joined(typed.iter().map(|part| part.as_str())))
}

fn joined<'t>(parts: impl Iterator<Item = &'t str>) -> Zeroizing<String> {
    let mut key = Zeroizing::new(String::with_capacity(KEY_BYTES_USUAL));
    for part in parts {
        if !key.is_empty() {
            key.push(':');
        }
        key.push_str(part.trim());
    }
    key
}

/// Room taken at once, so that a usual key isn't copied while it is put together.
const KEY_BYTES_USUAL: usize = 4096;

/// A client that was made along with the connection.
pub struct MadeAlong(Option<String>);

impl MadeAlong {
    /// Nothing came of it: it goes again.
    pub async fn undo(self, broker: &Arc<Broker>) {
        let Some(id) = self.0 else { return };
        if let Err(error) = broker.remove_client(&id).await {
            tracing::warn!(%error, "a client that was made along could not be removed");
        }
    }
}

/// Where there are API keys alone, nothing is registered: the client of the service's name is made
/// when it is first connected.
pub async fn client_of_its_own(broker: &Arc<Broker>, name: &str) -> Result<MadeAlong, Failure> {
    let missing = match broker.client(name).await {
        Ok(_) => return Ok(MadeAlong(None)),
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
    Ok(MadeAlong(Some(broker.add_client(new).await?.id)))
}
