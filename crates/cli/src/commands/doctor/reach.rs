//! Whether the services that this home has clients of can be reached: name, connection and TLS, and
//! not a byte of a request, so nothing counts against a limit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use indicia::transport::{HttpsTransport, TransportOptions};
use indicia_broker::Broker;
use indicia_broker::view::ClientView;
use indicia_catalog::{Context, GrantType};

use super::Finding;
use crate::output::Grade;

/// Tries all of them at once.
pub(super) async fn services(broker: &Broker, clients: &[ClientView]) -> Vec<Finding> {
    let mut hosts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for client in clients {
        for url in addresses(broker, client) {
            let place = url.split('/').take(3).collect::<Vec<_>>().join("/");
            hosts.entry(place).or_default().insert(client.service.clone());
        }
    }
    let transport = Arc::new(HttpsTransport::new(TransportOptions::default()));
    let all = hosts.into_iter().map(|(place, services)| {
        let transport = Arc::clone(&transport);
        async move {
            let tried = tokio::time::timeout(PATIENCE, transport.reach(&place)).await;
            let why = match tried {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(why)) => why,
                Err(_) => format!("{place} doesn't answer within {} s", PATIENCE.as_secs()),
            };
            let names = services.into_iter().collect::<Vec<_>>().join(", ");
            let step = "check network, proxy and DNS; tokens that are valid are served meanwhile";
            Err(Finding::bad("reach", Grade::Warn, format!("{names}: {why}"), step))
        }
    });
    let tried = join_all(all).await;
    let count = tried.len();
    let bad: Vec<Finding> = tried.into_iter().filter_map(Result::err).collect();
    match (count, bad.is_empty()) {
        (0, _) => Vec::new(),
        (_, true) => vec![Finding::ok("reach", format!("{count} host(s) of services answer"))],
        _ => bad,
    }
}

/// Where a client's calls go, as far as that is known without a connection.
fn addresses(broker: &Broker, client: &ClientView) -> Vec<String> {
    let Some(service) = broker.catalogue().service(&client.service) else { return Vec::new() };
    let cx = Context { kind: client.kind, inputs: &client.inputs, settings: &client.settings };
    let token =
        [GrantType::RefreshToken, GrantType::AuthorizationCode, GrantType::ClientCredentials]
            .into_iter()
            .filter_map(|grant| Some(service.token_endpoint(grant, cx).ok()??.url));
    let api = service.api_base(cx, &BTreeMap::new()).ok().flatten();
    token.chain(api).map(|url| client.environment.address_of(&url)).collect()
}

/// For one host.
const PATIENCE: Duration = Duration::from_secs(5);
