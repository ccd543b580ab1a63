//! Where a client's requests go: the service itself, or a simulated one on loopback.

use crate::model::Environment;

impl Environment {
    /// The address to use for an `https` URL whose host patterns were checked: itself, or for a
    /// sandbox `http://ADDRESS/HOST/PATH`. Works for nobody else.
    pub fn address_of(&self, url: &str) -> String {
        match self {
            Self::Live => url.to_owned(),
            Self::Sandbox { address } => match url.strip_prefix("https://") {
                Some(rest) => format!("http://{address}/{rest}"),
                None => url.to_owned(),
            },
        }
    }

    /// Whether an address is one that a sandbox may have: a loopback literal with a port.
    pub fn is_loopback(address: &str) -> bool {
        address.parse::<std::net::SocketAddr>().is_ok_and(|a| a.ip().is_loopback() && a.port() != 0)
    }
}
