//! From a name to a connection: resolve, look at each address, connect, shake hands.
//!
//! What would surprise: the name is resolved here and nowhere else, and the address that was judged
//! is the one that is connected to, so a name that resolves differently a moment later gains
//! nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use url::Host;

use super::guard::forbidden;
use super::link::Stream;
use super::target::Target;
use super::tls::Tls;

/// How connections are made.
pub(super) struct Connector {
    /// TLS, for https.
    pub(super) tls: Tls,
    /// Private addresses may be called.
    pub(super) allow_private: bool,
    /// For the name and all its addresses.
    pub(super) connect_max: Duration,
    /// For the TLS handshake.
    pub(super) tls_max: Duration,
}

impl Connector {
    /// Connects, before `end` at the latest. Error: in words; nothing of a request was written.
    pub(super) async fn connect(&self, target: &Target, end: Instant) -> Result<Stream, String> {
        let authority = target.authority();
        let connect_end = end.min(Instant::now() + self.connect_max);
        let addresses = timeout_at(connect_end, self.resolve(target))
            .await
            .map_err(|_| format!("the name {authority} couldn't be resolved in time"))??;
        let tcp = connect_any(&authority, &addresses, connect_end).await?;
        if !target.tls {
            return Ok(Stream::Plain(tcp));
        }
        let tls_end = end.min(Instant::now() + self.tls_max);
        let shaken = timeout_at(tls_end, self.tls.connect(&target.host, tcp))
            .await
            .map_err(|_| format!("{authority} didn't finish the TLS handshake in time"))?;
        shaken.map(|tls| Stream::Tls(Box::new(tls))).map_err(|why| format!("{authority}: {why}"))
    }

    /// The addresses that may be called.
    async fn resolve(&self, target: &Target) -> Result<Vec<SocketAddr>, String> {
        let found = match &target.host {
            Host::Ipv4(v4) => vec![IpAddr::V4(*v4)],
            Host::Ipv6(v6) => vec![IpAddr::V6(*v6)],
            Host::Domain(name) => tokio::net::lookup_host((name.as_str(), target.port))
                .await
                .map_err(|error| format!("the name {name} can't be resolved: {error}"))?
                .map(|address| address.ip())
                .collect(),
        };
        let (allowed, refused): (Vec<IpAddr>, Vec<IpAddr>) =
            found.into_iter().partition(|address| self.allows(*address, target));
        match (allowed.is_empty(), refused.first()) {
            (false, _) => Ok(allowed.into_iter().map(|ip| (ip, target.port).into()).collect()),
            (true, Some(address)) => {
                let kind = forbidden(*address).map_or("not public", |forbidden| forbidden.kind);
                Err(format!("{} is at {address}, {kind}: not called", target.authority()))
            }
            (true, None) => Err(format!("the name {} has no address", target.authority())),
        }
    }

    /// `http` was let through for a literal loopback address alone ([`Target::of`]); `https` is
    /// judged.
    fn allows(&self, address: IpAddr, target: &Target) -> bool {
        match forbidden(address) {
            None => target.tls,
            Some(_) if !target.tls => address.is_loopback(),
            Some(forbidden) => self.allow_private && !forbidden.always,
        }
    }
}

/// The first address that answers. Each but the last gets a share of the time, so that one which
/// swallows everything (a broken IPv6) doesn't use it up.
async fn connect_any(
    authority: &str,
    addresses: &[SocketAddr],
    end: Instant,
) -> Result<TcpStream, String> {
    let mut why = String::new();
    for (i, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - i).unwrap_or(u32::MAX);
        let now = Instant::now();
        let until = now + end.saturating_duration_since(now) / left;
        match timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are small and written at once: waiting to fill a packet only delays.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => why = error.to_string(),
            Err(_) => why = "no answer in time".to_owned(),
        }
    }
    Err(format!("can't connect to {authority}: {why}"))
}
