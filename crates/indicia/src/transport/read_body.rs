//! An answer's body, as far as it came: cut by size, by time or by the other side, it is still
//! given, since a token may be in it.

use bytes::Buf as _;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::Limits;
use super::link::Link;

/// Bytes of a body at most, as it comes and as it is decoded. What comes longer is cut there, and
/// counts as incomplete; what would be longer decoded is left in its content coding.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// Reads a body, until `end` at the latest. The flag: all of it came.
pub(super) async fn read_body(
    link: &mut Link,
    mut body: Incoming,
    limits: &Limits,
    end: Instant,
) -> (Zeroizing<Vec<u8>>, bool) {
    let told = usize::try_from(body.size_hint().lower()).unwrap_or(BODY_BYTES_MAX);
    let mut read = Zeroizing::new(Vec::with_capacity(told.clamp(4096, BODY_BYTES_MAX)));
    loop {
        let idle_end = end.min(Instant::now() + limits.idle);
        let frame = match timeout_at(idle_end, link.drive(body.frame())).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return (read, true),
            Ok(Some(Err(_))) | Err(_) => return (read, false),
        };
        // Trailers hold nothing that we read.
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        let room = BODY_BYTES_MAX - read.len();
        let cut = data.remaining() > room;
        push(&mut read, &data.copy_to_bytes(data.remaining().min(room)));
        if cut {
            return (read, false);
        }
    }
}

/// Appends; when it must grow, the old memory is wiped.
fn push(read: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    if read.len() + data.len() > read.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(2 * (read.len() + data.len())));
        larger.extend_from_slice(read);
        *read = larger;
    }
    read.extend_from_slice(data);
}
