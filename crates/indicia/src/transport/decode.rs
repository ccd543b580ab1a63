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
