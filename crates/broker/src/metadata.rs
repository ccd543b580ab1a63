//! Endpoints from an issuer's metadata, where a service file leaves them to it: fetched once, when
//! the client is added, and pinned in its settings. A server that moves an endpoint later is not
//! followed silently (RFC 9700 §4.4.2).

use std::collections::BTreeMap;

use indicia_catalog::Service;
use indicia_oauth::metadata::{self, MetadataError};
use indicia_oauth::{Method, Request};
use zeroize::Zeroizing;

use crate::Broker;
use crate::call::Bound;
use crate::error::Error;
use crate::ports::Sent;

impl Broker {
    /// The settings that pin what the issuer's metadata says; none where the file names all
    /// endpoints.
    pub(crate) async fn pins(&self, bound: &Bound) -> Result<BTreeMap<String, String>, Error> {
        if !bound.service.needs_metadata(bound.cx()) {
            return Ok(BTreeMap::new());
        }
        let issuer = bound.service.issuer(bound.cx()).map_err(|e| bound.filled(e))?;
        let Some(issuer) = issuer else { return Ok(BTreeMap::new()) };
        let loopback = bound.service.loopback_http;
        let places = metadata::addresses(&issuer, loopback).map_err(|e| unusable(&issuer, &e))?;
        let mut last = None;
        for place in places {
            let request = Request {
                method: Method::Get,
                url: Zeroizing::new(bound.client.environment.address_of(&place)),
                headers: vec![
                    ("accept".into(), Zeroizing::new("application/json".into())),
                    ("accept-encoding".into(), Zeroizing::new("identity".into())),
                ],
                body: Zeroizing::new(Vec::new()),
            };
            match self.ports.transport.send(request, &|| true).await {
                Sent::Answer(answer) => match metadata::read(&answer, &issuer, loopback) {
                    Ok(found) => return Ok(Service::pins(&found)),
                    // Another issuer's document is a lie or a mix-up, not a reason to look further.
                    Err(error @ MetadataError::OtherIssuer(_)) => {
                        return Err(unusable(&issuer, &error));
                    }
                    Err(error) => last = Some(unusable(&issuer, &error)),
                },
                Sent::NotSent(why) | Sent::MaybeSent(why) => {
                    last = Some(Error::Unavailable {
                        code: "service_unavailable",
                        detail: format!("the metadata of {issuer} can't be had: {why}"),
                        retry_after: None,
                        hint: "try again, or name the endpoints in the service file".into(),
                    });
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::Internal("an issuer without addresses".into())))
    }
}

fn unusable(issuer: &str, error: &MetadataError) -> Error {
    Error::Refused {
        code: "metadata_refused",
        field: "issuer".into(),
        detail: format!("the metadata of {issuer} can't be used: {error}"),
        hint: "check the issuer in the service file, or name the endpoints there".into(),
    }
}
