//! A body that can come byte by byte, and can break off.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// An answer's body with its pace.
pub(crate) struct Paced {
    rest: Bytes,
    pause: Option<Duration>,
    pausing: Option<Pin<Box<Sleep>>>,
    /// Bytes that still come before it breaks off.
    cut: Option<usize>,
}

impl Paced {
    pub fn new(body: Bytes, pause: Option<Duration>, cut: Option<usize>) -> Self {
        Self { rest: body, pause, pausing: None, cut }
    }

    fn step(&self) -> usize {
        let all = if self.pause.is_some() { 1.min(self.rest.len()) } else { self.rest.len() };
        self.cut.map_or(all, |left| left.min(all))
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(pausing) = &mut self.pausing {
            ready!(pausing.as_mut().poll(cx));
            self.pausing = None;
        }
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if self.cut == Some(0) {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        let step = self.step();
        let bytes = self.rest.split_to(step);
        self.cut = self.cut.map(|left| left - step);
        self.pausing = self.pause.map(|pause| Box::pin(sleep(pause)));
        // The part before a break must leave the buffer: the break comes with the next poll.
        if self.cut == Some(0) && self.pausing.is_none() {
            self.pausing = Some(Box::pin(sleep(BREAK_AFTER)));
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.pausing.is_none()
    }

    /// The whole length is promised, also of a body that will break off.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

use std::future::Future as _;

/// How long after its last byte a body breaks off.
const BREAK_AFTER: Duration = Duration::from_millis(5);
