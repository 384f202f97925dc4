//! The first bytes of a connection, which show whether both ends have the same cluster key.
//!
//! The private network encrypts and does not authenticate: with different keys, the received bytes
//! are noise. But every libp2p peer begins with the same twenty bytes. So the accepting end reads
//! twenty bytes and compares them. If none of its keys turns them into the greeting, it answers and
//! hangs up. The dialling end compares bytes as it reads them. So both ends know the cause at once.
//! A good connection carries no byte more than libp2p's own.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::fault::Fault;

/// The header of multistream-select with its length in front.
pub(super) const GREETING: &[u8; 20] = b"\x13/multistream/1.0.0\n";
/// The answer to a stranger is the greeting this many times. If only the dialling end has a key, it
/// takes the first 24 bytes as a nonce, and must find 20 more to compare.
const ANSWER_REPEATS: usize = 3;
/// Closing with unread input sends RST, and the far end loses the answer. So its input is drained
/// for up to this time and this many bytes.
const DRAIN_MAX: Duration = Duration::from_secs(1);
const DRAIN_BYTES_MAX: u64 = 64 * 1024;

/// A stream whose greeting the accepting end has read.
pub(super) fn taken<S>(stream: S) -> Greeted<S> {
    Greeted { stream, ahead: GREETING, due: &[], patience: None, heard: true }
}

/// Answers a stranger, hangs up, and returns the fault.
pub(super) async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> io::Error {
    let _too_late = timeout(DRAIN_MAX, answer(stream)).await;
    Fault::WrongKey.into()
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<()> {
    stream.write_all(&GREETING.repeat(ANSWER_REPEATS)).await?;
    stream.close().await?;
    futures::io::copy(stream.take(DRAIN_BYTES_MAX), &mut futures::io::sink()).await?;
    Ok(())
}

/// Expects the greeting of the dialled node by `deadline`. `heard` is true if it has sent bytes
/// already.
pub(super) fn expected<S>(stream: S, deadline: Instant, heard: bool) -> Greeted<S> {
    Greeted {
        stream,
        ahead: &[],
        due: GREETING,
        patience: Some(Box::pin(sleep_until(deadline))),
        heard,
    }
}

/// A stream whose greeting was read, or is checked while it is read.
pub(super) struct Greeted<S> {
    stream: S,
    /// Bytes that were read already and are returned first.
    ahead: &'static [u8],
    /// Bytes that must come next.
    due: &'static [u8],
    patience: Option<Pin<Box<Sleep>>>,
    heard: bool,
}

impl<S: AsyncRead + Unpin> Greeted<S> {
    fn read_greeting(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(Ok(read)) => {
                self.heard |= read > 0;
                let compared = read.min(self.due.len());
                if buffer[..compared] != self.due[..compared] {
                    return Poll::Ready(Err(Fault::WrongKey.into()));
                }
                self.due = &self.due[compared..];
                Poll::Ready(Ok(read))
            }
            Poll::Pending => {
                let is_over = self
                    .patience
                    .as_mut()
                    .is_some_and(|patience| patience.as_mut().poll(context).is_ready());
                let fault = if self.heard { Fault::Unfinished } else { Fault::Silent };
                if is_over { Poll::Ready(Err(fault.into())) } else { Poll::Pending }
            }
            failed => failed,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !self.ahead.is_empty() {
            let read = self.ahead.len().min(buffer.len());
            buffer[..read].copy_from_slice(&self.ahead[..read]);
            self.ahead = &self.ahead[read..];
            return Poll::Ready(Ok(read));
        }
        if !self.due.is_empty() {
            return self.read_greeting(context, buffer);
        }
        self.patience = None;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}
