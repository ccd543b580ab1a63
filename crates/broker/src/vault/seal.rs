//! Sealed bytes: an AEAD whose associated data binds record, field, version and key.
//!
//! The AEAD is AES-256-GCM-SIV (RFC 8452) with a random nonce of 96 bits. Under plain GCM one key
//! may seal at most 2^32 texts with such nonces (NIST SP 800-38D §8.3), and one nonce used twice
//! gives the authentication key away: a restored snapshot of a running machine does just that. SIV
//! derives keys of its own for each nonce, and a repeated one tells only whether two texts are
//! equal. The other way, GCM with a key of its own for each text by HKDF, costs more time and more
//! code.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::keys::{KeyId, VaultError};
use crate::ports::Random;

/// Ciphertext with the id of the data key that sealed it. The store keeps it and can't open it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Which data key.
    pub key: KeyId,
    /// Format, nonce, ciphertext, tag.
    #[serde(with = "hex::serde")]
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({}, {} bytes)", self.key.0, self.bytes.len())
    }
}

/// What a sealed text is: bound into its associated data, so that no ciphertext can be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// A grant's token set at a version.
    Tokens {
        /// Grant id.
        grant: &'a str,
        /// Version that it belongs to.
        version: u64,
    },
    /// A client secret.
    ClientSecret {
        /// Client id (ours).
        client: &'a str,
        /// Its number.
        n: u32,
    },
    /// A pending flow's state and verifier.
    Flow {
        /// Hash of the state.
        state_hash: &'a str,
    },
    /// A raw answer in the journal.
    Answer {
        /// Grant id, or state hash of a flow.
        of: &'a str,
        /// Version that was spent from (0 for a flow).
        version: u64,
    },
    /// A token in the revocation queue.
    Revocation {
        /// Revocation id.
        id: &'a str,
        /// Which of its items.
        item: u32,
    },
}

impl<'a> Field<'a> {
    /// Which variant, which record, which of its numbers. The tags are stored, in effect: a changed
    /// one makes every text of that field unreadable.
    fn place(self) -> (u8, &'a str, u64) {
        match self {
            Self::Tokens { grant, version } => (1, grant, version),
            Self::ClientSecret { client, n } => (2, client, n.into()),
            Self::Flow { state_hash } => (3, state_hash, 0),
            Self::Answer { of, version } => (4, of, version),
            Self::Revocation { id, item } => (5, id, item.into()),
        }
    }

    /// The associated data: format, key, tag, length of the record's name, the name, its number;
    /// integers big-endian. All but the name have a fixed length, and the name's is told, so no two
    /// places have one encoding.
    // mark: sealed-to-its-place
    fn binding(self, key: KeyId) -> Vec<u8> {
        let (tag, record, number) = self.place();
        let mut bytes = Vec::with_capacity(BINDING_FIXED_LEN + record.len());
        bytes.push(FORMAT);
        bytes.extend(key.0.to_be_bytes());
        bytes.push(tag);
        bytes.extend((record.len() as u64).to_be_bytes());
        bytes.extend(record.as_bytes());
        bytes.extend(number.to_be_bytes());
        bytes
    }
}

/// One data key, ready to seal and open. Its bytes stay in the cryptographic library, which wipes
/// them when this is dropped.
pub(super) struct SealingKey {
    id: KeyId,
    key: LessSafeKey,
}

impl SealingKey {
    /// From its bytes, which must be 32.
    pub(super) fn new(id: KeyId, bytes: &[u8]) -> Result<Self, VaultError> {
        let key = UnboundKey::new(&AES_256_GCM_SIV, bytes).map_err(|_| VaultError::Damaged)?;
        let key = LessSafeKey::new(key);
        Ok(Self { id, key })
    }

    /// Its number.
    pub(super) fn id(&self) -> KeyId {
        self.id
    }

    /// Seals `plain` as `field`.
    #[expect(clippy::expect_used, reason = "fails for texts beyond 2^36 bytes only (RFC 8452 §6)")]
    pub(super) fn seal(&self, random: &dyn Random, field: Field<'_>, plain: &[u8]) -> Sealed {
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce);
        // Made at its last size: growing would leave a copy of the plain text behind.
        let mut bytes = Vec::with_capacity(HEAD_LEN + plain.len() + TAG_LEN);
        bytes.push(FORMAT);
        bytes.extend(nonce);
        bytes.extend(plain);
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(field.binding(self.id)),
                &mut bytes[HEAD_LEN..],
            )
            .expect("the text is short");
        bytes.extend(tag.as_ref());
        Sealed { key: self.id, bytes }
    }

    /// Opens what this key sealed as `field`; any other bytes are [`VaultError::Damaged`].
    pub(super) fn unseal(
        &self,
        field: Field<'_>,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let (nonce, text, tag) = parts(&sealed.bytes).ok_or(VaultError::Damaged)?;
        let mut plain = Zeroizing::new(text.to_vec());
        self.key
            .open_in_place_separate_tag(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(field.binding(self.id)),
                tag,
                &mut plain,
            )
            .map_err(|_| VaultError::Damaged)?;
        Ok(plain)
    }
}

/// Nonce, ciphertext, tag; `None` when it is of another format or too short.
fn parts(bytes: &[u8]) -> Option<(&[u8; NONCE_LEN], &[u8], &[u8; TAG_LEN])> {
    let bytes = bytes.strip_prefix(&[FORMAT])?;
    let (nonce, bytes) = bytes.split_first_chunk()?;
    let (text, tag) = bytes.split_last_chunk()?;
    Some((nonce, text, tag))
}

/// First byte of what is sealed in this way; another way takes another number.
const FORMAT: u8 = 1;

/// Length of the tag, bytes. RFC 8452 §4.
const TAG_LEN: usize = 16;

/// What stands before the ciphertext, bytes.
const HEAD_LEN: usize = 1 + NONCE_LEN;

/// A binding without the record's name, bytes.
const BINDING_FIXED_LEN: usize = 1 + 4 + 1 + 8 + 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Fills with what it was given, then counts on from there.
    struct Counting(std::sync::atomic::AtomicU8);

    impl Counting {
        fn from(first: u8) -> Self {
            Self(first.into())
        }
    }

    impl Random for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            for byte in bytes {
                *byte = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }

    const CANARY: &str = "canary-8c1f";

    fn key(id: u32, byte: u8) -> SealingKey {
        SealingKey::new(KeyId(id), &[byte; 32]).unwrap()
    }

    fn tokens(grant: &str, version: u64) -> Field<'_> {
        Field::Tokens { grant, version }
    }

    /// Every field, and beside each the same with a changed record and a changed number.
    fn fields() -> Vec<Field<'static>> {
        let mut all = Vec::new();
        for record in ["a", "b", "a\0", ""] {
            for n in [0, 1, 2] {
                let version = u64::from(n);
                all.push(Field::Tokens { grant: record, version });
                all.push(Field::ClientSecret { client: record, n });
                all.push(Field::Answer { of: record, version });
                all.push(Field::Revocation { id: record, item: n });
            }
            all.push(Field::Flow { state_hash: record });
        }
        all
    }

    #[track_caller]
    fn refused(key: &SealingKey, field: Field<'_>, sealed: &Sealed) {
        let result = key.unseal(field, sealed);
        assert!(matches!(result, Err(VaultError::Damaged)), "{field:?} opened {sealed:?}");
    }

    #[test]
    fn what_was_sealed_opens_as_the_same_field() {
        for plain in ["", "t", CANARY, &"x".repeat(300_000)] {
            for field in fields() {
                let sealed = key(1, 7).seal(&Counting::from(0), field, plain.as_bytes());
                let opened = key(1, 7).unseal(field, &sealed).unwrap();
                assert_eq!(*opened, plain.as_bytes());
            }
        }
    }

    // proves: sealed-to-its-place
    #[test]
    fn a_text_moved_to_another_field_record_or_number_is_refused() {
        for (i, of) in fields().into_iter().enumerate() {
            let sealed = key(1, 7).seal(&Counting::from(0), of, CANARY.as_bytes());
            for (j, to) in fields().into_iter().enumerate() {
                if i != j {
                    refused(&key(1, 7), to, &sealed);
                }
            }
        }
    }

    #[test]
    fn a_text_moved_to_another_key_is_refused() {
        let sealed = key(1, 7).seal(&Counting::from(0), tokens("a", 1), CANARY.as_bytes());
        refused(&key(1, 8), tokens("a", 1), &sealed);
        // The same bytes under another number: the number is bound too.
        refused(&key(2, 7), tokens("a", 1), &sealed);
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_refused() {
        let sealed = key(1, 7).seal(&Counting::from(0), tokens("a", 1), CANARY.as_bytes());
        for bit in 0..sealed.bytes.len() * 8 {
            let mut changed = sealed.clone();
            changed.bytes[bit / 8] ^= 1 << (bit % 8);
            refused(&key(1, 7), tokens("a", 1), &changed);
        }
        for len in 0..sealed.bytes.len() {
            let mut cut = sealed.clone();
            cut.bytes.truncate(len);
            refused(&key(1, 7), tokens("a", 1), &cut);
        }
    }

    #[test]
    fn the_same_text_sealed_twice_differs() {
        let random = Counting::from(0);
        let [one, two] = [(); 2].map(|()| key(1, 7).seal(&random, tokens("a", 1), b"same"));
        assert_ne!(one.bytes, two.bytes);
    }

    /// A repeated nonce (a restored snapshot of a machine) must not be the end of secrecy: texts
    /// that differ share no stream. Plain GCM fails here.
    #[test]
    fn a_repeated_nonce_gives_no_stream_away() {
        let [one, two] = [[0; 32], [1; 32]]
            .map(|plain| key(1, 7).seal(&Counting::from(0), tokens("a", 1), &plain).bytes);
        assert_eq!(one[..HEAD_LEN], two[..HEAD_LEN]);
        let apart: Vec<u8> =
            one[HEAD_LEN..].iter().zip(&two[HEAD_LEN..]).map(|(a, b)| a ^ b).collect();
        assert_ne!(apart[..32], [1; 32]);
    }

    /// RFC 8452 appendix C.2: the algorithm is the one that it says.
    #[test]
    fn the_aead_is_that_of_rfc_8452() {
        let (mut key, mut nonce) = ([0; 32], [0; NONCE_LEN]);
        (key[0], nonce[0]) = (1, 3);
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &key).unwrap());
        let mut bytes = hex::decode("0100000000000000").unwrap();
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut bytes).unwrap();
        assert_eq!(hex::encode(bytes), "c2ef328e5c71c83b843122130f7364b761e0b97427e3df28");
    }

    /// What is stored can be read by all later versions. The expected bytes were computed with
    /// OpenSSL from the description of [`Field::binding`].
    #[test]
    fn the_stored_form_stays() {
        let key = SealingKey::new(KeyId(3), &[7; 32]).unwrap();
        let sealed = key.seal(&Counting::from(0), tokens("g1", 5), b"token-a");
        assert_eq!(
            serde_json::to_string(&sealed).unwrap(),
            "{\"key\":3,\"bytes\":\"01000102030405060708090a0b\
             06fc3eaf91655e318f5d4d54d7c06a34f8fcb1c070374a\"}",
        );
    }

    #[test]
    fn debug_shows_neither_text_nor_bytes() {
        let sealed = key(1, 7).seal(&Counting::from(0), tokens("a", 1), CANARY.as_bytes());
        assert_eq!(format!("{sealed:?}"), "Sealed(1, 40 bytes)");
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        for len in [0, 16, 31, 33, 64] {
            assert!(SealingKey::new(KeyId(1), &vec![7; len]).is_err(), "{len}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), format: bool) {
            let mut sealed = Sealed { key: KeyId(1), bytes };
            if format {
                sealed.bytes.insert(0, FORMAT);
            }
            refused(&key(1, 7), tokens("a", 1), &sealed);
        }

        #[test]
        fn two_places_never_share_a_binding(
            a in (0..5_u8, "[ab]{0,2}", 0..3_u32, 0..3_u32),
            b in (0..5_u8, "[ab]{0,2}", 0..3_u32, 0..3_u32),
        ) {
            fn field((which, record, n, _): &(u8, String, u32, u32)) -> Field<'_> {
                let (n, version) = (*n, u64::from(*n));
                match which {
                    0 => Field::Tokens { grant: record, version },
                    1 => Field::ClientSecret { client: record, n },
                    2 => Field::Flow { state_hash: record },
                    3 => Field::Answer { of: record, version },
                    _ => Field::Revocation { id: record, item: n },
                }
            }
            let same = field(&a) == field(&b) && a.3 == b.3;
            prop_assert_eq!(field(&a).binding(KeyId(a.3)) == field(&b).binding(KeyId(b.3)), same);
        }
    }
}
