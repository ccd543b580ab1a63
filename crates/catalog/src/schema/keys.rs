//! Keys of accounts and of clients, in the place of grants and secrets.

use indicia_oauth::client_assertion::Algorithm;

use crate::shape::{Span, section};
use crate::spelling::Audience;

section! {
    /// Keys that an account's owner makes, in place of a grant.
    pub(crate) ApiKeyFile {
        /// What it is called there. More than one: each is asked for, and they are joined by `:`;
        /// the last is the secret one.
        req parts: Vec<String>,
        /// Regular expression that the whole must match.
        req pattern: String,
        /// An example; the simulated service takes it.
        req example: String,
        /// Where to find or make it.
        req help: String,
    }
}

section! {
    /// A short-lived JWT in each call (HS256): the token is `ID:SECRET`, the secret in hex, the id
    /// goes into `kid`.
    pub(crate) JwtFile {
        /// Its `aud`.
        req audience: String,
        /// How long one is good for, `1m` to `5m`. Default: `5m`.
        opt life: Option<Span>,
    }
}

section! {
    /// Keys that clients sign with.
    pub(crate) ClientKeysFile {
        /// How they may sign; keys of ours are made for the first.
        req algorithms: Vec<Algorithm>,
        /// Whom an assertion is for. Default: `issuer`, which there must be then;
        /// `token-endpoint` only where the server wants it so.
        opt audience: Audience,
    }
}
