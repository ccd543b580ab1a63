//! A root key that somebody hands over: the command line reads it from an environment variable, a
//! file descriptor or a command.

use async_trait::async_trait;
use indicia_broker::ports::{RootKey, RootKeyError};
use zeroize::Zeroizing;

use super::wrap::Key;

/// A root key in memory. Does not print.
pub struct BytesRootKey(Key);

impl BytesRootKey {
    /// From 32 bytes, or their hex or base64; a line's end after them is cut. `source` names where
    /// they are from in the error.
    pub fn parse(given: &[u8], source: &str) -> Result<Self, RootKeyError> {
        let key = Key::parse(given).ok_or_else(|| {
            RootKeyError::Unavailable(format!(
                "{source} holds {} bytes that are no root key: it must be 32 bytes, or 64 hex \
                 digits, or 44 characters of base64",
                given.len()
            ))
        })?;
        Ok(Self(key))
    }

    /// In hex, as a file of it has it.
    pub fn to_hex(&self) -> Zeroizing<String> {
        self.0.to_hex()
    }
}

#[async_trait]
impl RootKey for BytesRootKey {
    async fn wrap(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, RootKeyError> {
        self.0.wrap(context, plain)
    }

    async fn unwrap(
        &self,
        context: &[u8],
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RootKeyError> {
        self.0.unwrap(context, wrapped)
    }
}
