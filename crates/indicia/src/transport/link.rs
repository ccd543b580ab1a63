//! One connection: hyper's HTTP/1.1 on top, a watched stream below.
//!
//! What would surprise: no task runs beside it. The connection's own machinery is polled by whoever
//! uses it, so a request is written in the same poll in which it was handed over, directly after
//! the deadline was looked at; and an idle connection costs nothing until it is looked at again.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Bytes of an answer's head, and headers in it, at most.
pub(super) const HEAD_BYTES_MAX: usize = 32 * 1024;
const HEADERS_MAX: usize = 100;

/// A connection over which one request at a time is sent.
pub(super) struct Link {
    sender: SendRequest<Full<Bytes>>,
    machinery: Option<Connection<TokioIo<Watched>, Full<Bytes>>>,
    touched: Arc<AtomicBool>,
}

impl Link {
    /// Puts HTTP/1.1 on a stream; writes nothing.
    pub(super) async fn new(stream: Stream) -> Result<Self, hyper::Error> {
        let touched = Arc::new(AtomicBool::new(false));
        let watched = Watched { stream, touched: Arc::clone(&touched) };
        // An odd answer must not be lost over its spelling: a token may be in it.
        let (sender, connection) = Builder::new()
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .ignore_invalid_headers_in_responses(true)
            .handshake(TokioIo::new(watched))
            .await?;
        Ok(Self { sender, machinery: Some(connection), touched })
    }

    /// Hands a request over. What is returned must be polled by [`Self::drive`].
    pub(super) fn hand_over(
        &mut self,
        request: http::Request<Full<Bytes>>,
    ) -> impl Future<Output = Result<http::Response<hyper::body::Incoming>, hyper::Error>> + use<>
    {
        self.touched.store(false, Ordering::Relaxed);
        let answer = self.sender.try_send_request(request);
        async { answer.await.map_err(hyper::client::conn::TrySendError::into_error) }
    }

    /// Whether any byte of the request handed over last may have left.
    pub(super) fn is_touched(&self) -> bool {
        self.touched.load(Ordering::Relaxed)
    }

    /// Runs `work` with the connection's machinery beside it.
    pub(super) async fn drive<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            self.poll_machinery(context);
            let polled = work.as_mut().poll(context);
            if polled.is_pending() {
                // The work may just have given the machinery something to do.
                self.poll_machinery(context);
            }
            polled
        })
        .await
    }

    /// Whether it can carry another request, as far as can be seen without writing: not closed by
    /// the other side, and nothing left over from the last answer.
    pub(super) async fn is_open(&mut self) -> bool {
        // Lets the runtime look at the socket, so that a closing that has arrived is seen.
        tokio::task::yield_now().await;
        self.drive(std::future::ready(())).await;
        self.machinery.is_some() && self.sender.is_ready()
    }

    fn poll_machinery(&mut self, context: &mut Context<'_>) {
        if let Some(machinery) = &mut self.machinery
            && Pin::new(machinery).poll(context).is_ready()
        {
            // Whatever it ended with, the work waiting on it is told by hyper.
            self.machinery = None;
        }
    }
}

/// What bytes go over.
pub(super) enum Stream {
    /// Loopback.
    Plain(TcpStream),
    /// Everything else.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Notes whether a write was tried at all: above TLS, so that a handshake doesn't count.
struct Watched {
    stream: Stream,
    touched: Arc<AtomicBool>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !bytes.is_empty() {
            // Before the write, whatever comes of it: TLS may have sent a part of what it refused.
            self.touched.store(true, Ordering::Relaxed);
        }
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
