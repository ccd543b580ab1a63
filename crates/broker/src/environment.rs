//! Where a client's requests go: the service itself, or a simulated one on loopback.

use crate::model::Environment;

impl Environment {
    /// The address to use for an `https` URL whose host patterns were checked: itself, or for a
    /// sandbox `http://ADDRESS/HOST/PATH`, never the service's own. Works for nobody else.
    pub fn address_of(&self, url: &str) -> String {
        match self {
            Self::Live => url.to_owned(),
            Self::Sandbox { address } => {
                let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
                format!("http://{address}/{rest}")
            }
        }
    }

    /// Whether an address is one that a sandbox may have: `127.0.0.1` with a port.
    pub fn is_loopback(address: &str) -> bool {
        let loopback = |a: &std::net::SocketAddrV4| *a.ip() == std::net::Ipv4Addr::LOCALHOST;
        address.parse().is_ok_and(|a| loopback(&a) && a.port() != 0)
    }
}
