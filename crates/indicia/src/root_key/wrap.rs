//! Wrapping by AES-256-GCM with the context as associated data, for every source that has the key's
//! bytes at hand.
//!
//! What would surprise: a check value of the key stands before what is wrapped. A wrong key is then
//! told from a damaged store, and the first can be put right by its owner.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use indicia_broker::ports::RootKeyError;
use zeroize::Zeroizing;

/// Bytes of a root key.
pub(super) const KEY_BYTES: usize = 32;

/// A root key's bytes. Does not print.
pub(super) struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl Key {
    /// From its bytes.
    pub(super) fn new(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        Self(bytes)
    }

    /// From text or bytes as a person or a program hands them over: 32 bytes, or their hex or
    /// base64 (also for URLs, with or without padding), a line's end after it.
    pub(super) fn parse(given: &[u8]) -> Option<Self> {
        if let Ok(raw) = <[u8; KEY_BYTES]>::try_from(given) {
            return Some(Self::new(Zeroizing::new(raw)));
        }
        let text = given.strip_suffix(b"\n").unwrap_or(given);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if let Ok(raw) = <[u8; KEY_BYTES]>::try_from(text) {
            return Some(Self::new(Zeroizing::new(raw)));
        }
        let decoded = match text.len() {
            64 => from_digits(text, 4, hex_digit),
            43 | 44 => from_digits(text.strip_suffix(b"=").unwrap_or(text), 6, base64_digit),
            _ => None,
        };
        decoded.map(Self::new)
    }

    /// In hex, as the file has it.
    pub(super) fn to_hex(&self) -> Zeroizing<String> {
        let digit = |value: u8| char::from(HEX[usize::from(value)]);
        let mut hex = Zeroizing::new(String::with_capacity(2 * KEY_BYTES + 1));
        for byte in self.0.iter() {
            hex.push(digit(byte >> 4));
            hex.push(digit(byte & 15));
        }
        hex
    }

    /// Format, check value, nonce, ciphertext and tag.
    pub(super) fn wrap(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, RootKeyError> {
        let mut sealed = Zeroizing::new(plain.to_vec());
        let nonce = self
            .cipher()?
            .seal_in_place_append_tag(Aad::from(context), &mut *sealed)
            .map_err(|_| RootKeyError::Unavailable("a data key can't be wrapped".into()))?;
        Ok([&[FORMAT][..], &self.check(), nonce.as_ref(), &sealed].concat())
    }

    /// What [`Self::wrap`] wrapped.
    pub(super) fn unwrap(
        &self,
        context: &[u8],
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RootKeyError> {
        let damaged = || {
            let why = "a wrapped data key was changed or moved: restore the store from a backup";
            RootKeyError::Unavailable(why.into())
        };
        let rest = wrapped.strip_prefix(&[FORMAT]).ok_or_else(damaged)?;
        let (check, rest) = rest.split_first_chunk::<CHECK_BYTES>().ok_or_else(damaged)?;
        if *check != self.check() {
            return Err(RootKeyError::Wrong);
        }
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.cipher()?.open_in_place(nonce, Aad::from(context), &mut opened);
        let length = plain.map_err(|_| damaged())?.len();
        opened.truncate(length);
        Ok(opened)
    }

    /// Tells keys apart, and nothing about a key.
    fn check(&self) -> [u8; CHECK_BYTES] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.0);
        let tag = hmac::sign(&key, b"indicia root key check");
        let mut check = [0; CHECK_BYTES];
        check.copy_from_slice(&tag.as_ref()[..CHECK_BYTES]);
        check
    }

    fn cipher(&self) -> Result<RandomizedNonceKey, RootKeyError> {
        RandomizedNonceKey::new(&AES_256_GCM, &*self.0)
            .map_err(|_| RootKeyError::Unavailable("the root key can't be used".into()))
    }
}

/// Digits of `bits` bits each, most significant first, to exactly a key's bytes; bits left over
/// must be zero.
fn from_digits(
    text: &[u8],
    bits: u32,
    digit: impl Fn(u8) -> Option<u32>,
) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let (mut held, mut count, mut at) = (0_u32, 0, 0);
    for character in text {
        held = held << bits | digit(*character)?;
        count += bits;
        if count >= 8 {
            count -= 8;
            *key.get_mut(at)? = u8::try_from(held >> count).ok()?;
            held &= (1 << count) - 1;
            at += 1;
        }
    }
    (at == KEY_BYTES && held == 0).then_some(key)
}

fn hex_digit(character: u8) -> Option<u32> {
    char::from(character).to_digit(16)
}

fn base64_digit(character: u8) -> Option<u32> {
    let value = match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

const FORMAT: u8 = 1;
const CHECK_BYTES: usize = 8;
const HEX: &[u8; 16] = b"0123456789abcdef";
