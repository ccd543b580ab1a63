//! Undoes a content coding that nobody asked for: some front servers compress all the same.
//!
//! What would surprise: what can't be undone whole is left as it came, coding and all. A token may
//! be in it, and whoever keeps it can read it again with better tools.

use std::io::Read;

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use indicia_oauth::Answer;
use zeroize::Zeroizing;

use super::read_body::BODY_BYTES_MAX;

/// The answer with its body as it was before it was compressed.
pub(super) fn plain(answer: Answer) -> Answer {
    let coding = answer.header("content-encoding").unwrap_or_default().trim().to_ascii_lowercase();
    let decoded = match coding.as_str() {
        "gzip" | "x-gzip" => read_whole(MultiGzDecoder::new(answer.body.as_slice())),
        "deflate" => read_whole(ZlibDecoder::new(answer.body.as_slice())),
        _ => None,
    };
    match decoded.filter(|_| answer.complete) {
        None => answer,
        Some(body) => {
            let described = |name: &str| matches!(name, "content-encoding" | "content-length");
            let headers = answer.headers.into_iter().filter(|(name, _)| !described(name));
            Answer { headers: headers.collect(), body, ..answer }
        }
    }
}

/// All of it, if it is no more than a body may have. Stops there: a bomb isn't blown up.
fn read_whole(decoder: impl Read) -> Option<Zeroizing<Vec<u8>>> {
    // Room is taken once, so that no half-written copy of a token is left behind.
    let mut body = Zeroizing::new(Vec::with_capacity(BODY_BYTES_MAX + 1));
    decoder.take(BODY_BYTES_MAX as u64 + 1).read_to_end(&mut body).ok()?;
    (body.len() <= BODY_BYTES_MAX).then_some(body)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    fn answer(coding: &str, body: Vec<u8>, complete: bool) -> Answer {
        let headers = [("content-encoding", coding), ("content-length", "7"), ("date", "today")];
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Answer { status: 200, headers, body: Zeroizing::new(body), complete }
    }

    fn packed(coding: &str, body: &[u8]) -> Vec<u8> {
        let level = Compression::fast();
        match coding {
            "deflate" => {
                let mut to = ZlibEncoder::new(Vec::new(), level);
                to.write_all(body).unwrap();
                to.finish().unwrap()
            }
            _ => {
                let mut to = GzEncoder::new(Vec::new(), level);
                to.write_all(body).unwrap();
                to.finish().unwrap()
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_packed_whole_comes_back(
            body in proptest::collection::vec(any::<u8>(), 0..4096),
            coding in prop_oneof![Just("gzip"), Just("X-Gzip"), Just(" deflate ")],
        ) {
            let name = coding.trim().to_ascii_lowercase();
            let back = plain(answer(coding, packed(&name, &body), true));
            prop_assert_eq!(&*back.body, &body);
            prop_assert!(back.header("content-encoding").is_none());
            prop_assert!(back.header("content-length").is_none());
            prop_assert_eq!(back.header("date"), Some("today"));
        }

        #[test]
        fn what_is_cut_or_of_another_coding_stays_as_it_came(
            body in proptest::collection::vec(any::<u8>(), 64..4096),
            cut in 1_usize..20,
        ) {
            let whole = packed("gzip", &body);
            let short = whole[..whole.len() - cut].to_vec();
            for (coding, body, complete) in
                [("gzip", &short, true), ("gzip", &whole, false), ("br", &whole, true)]
            {
                let back = plain(answer(coding, body.clone(), complete));
                prop_assert_eq!(&*back.body, body);
                prop_assert_eq!(back.header("content-encoding"), Some(coding));
            }
        }

        #[test]
        fn no_bytes_at_all_do_harm(
            body in proptest::collection::vec(any::<u8>(), 0..512),
            coding in "[a-z -]{0,12}|gzip|deflate",
        ) {
            let back = plain(answer(&coding, body, true));
            prop_assert!(back.body.len() <= BODY_BYTES_MAX);
        }
    }

    #[test]
    fn a_bomb_is_not_blown_up() {
        let packed = packed("gzip", &vec![0; BODY_BYTES_MAX + 1]);
        let back = plain(answer("gzip", packed.clone(), true));
        assert_eq!(*back.body, packed);
        let packed = self::packed("gzip", &vec![0; BODY_BYTES_MAX]);
        assert_eq!(plain(answer("gzip", packed, true)).body.len(), BODY_BYTES_MAX);
    }
}
