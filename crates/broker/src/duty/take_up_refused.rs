//! Grants that were given up by refusals which aren't believed any more: whoever saw that may have
//! been cut off before all were taken up again.

use std::sync::Arc;

use crate::Broker;
use crate::error::Error;
use crate::model::GrantsRefused;

/// Looks at the clients whose list says so: clients are few, and their lists short.
pub(super) async fn run(broker: &Arc<Broker>) -> Result<(), Error> {
    let now = broker.ports.clock.now();
    for client in broker.ports.store.clients().await? {
        let GrantsRefused { revive, held, .. } = &client.grants_refused;
        if !revive.is_empty() || held.is_some() {
            broker.take_up_again(&client.id, None, now).await;
        }
    }
    Ok(())
}
