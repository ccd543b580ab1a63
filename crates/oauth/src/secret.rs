//! Secrets as types that do not print.
//!
//! None of them implements `Debug`, `Display` or `Serialize`; the single-use ones ([`Code`],
//! [`RefreshToken`]) are not `Clone` either. All wipe their memory when dropped. The one way to the
//! text is `expose`, which is easy to search for.

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(Zeroizing<String>);

        impl $name {
            /// Takes the text as it came.
            pub fn new(text: impl Into<String>) -> Self {
                Self(Zeroizing::new(text.into()))
            }

            /// The text itself. What it is written to must be as secret.
            pub fn expose(&self) -> &str {
                &self.0
            }

            /// Compares in constant time (for equal lengths).
            pub fn matches(&self, other: &str) -> bool {
                self.0.as_bytes().ct_eq(other.as_bytes()).into()
            }
        }
    };
}

secret! {
    /// An access token. Opaque: never parsed (RFC 9068 §6).
    AccessToken
}
secret! {
    /// A refresh token. Single-use at many services, so it cannot be copied (RFC 6749 §6).
    RefreshToken
}
secret! {
    /// One of a client's secrets (RFC 6749 §2.3.1).
    ClientSecret
}
secret! {
    /// What a client's key signed, to prove who it is (RFC 7523 §2.2). Good for minutes, and once.
    ClientAssertion
}
secret! {
    /// An authorization code. Single-use (RFC 6749 §4.1.2).
    Code
}
secret! {
    /// A device code (RFC 8628 §3.2). Asked with until the person has decided, and then used up.
    DeviceCode
}
secret! {
    /// A PKCE code verifier (RFC 7636 §4.1).
    Verifier
}
