//! The TCP stream under hyper. If hyper cannot read a request's head, it answers with a status and
//! no body. This stream replaces that response with an error of the usual shape.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::api::error::ApiError;

/// One connection as hyper sees it.
pub(crate) struct Stream {
    tcp: TokioIo<TcpStream>,
    /// The unwritten rest of a refusal.
    refusal: Bytes,
    /// After a refusal, input is read and dropped until this time. Closing with unread input sends
    /// RST, and the client loses the response.
    linger_timer: Option<Pin<Box<Sleep>>>,
}

/// How long a refused client has to read the refusal.
const LINGER: Duration = Duration::from_secs(1);

impl Stream {
    pub(crate) fn new(tcp: TcpStream) -> Self {
        Self { tcp: TokioIo::new(tcp), refusal: Bytes::new(), linger_timer: None }
    }

    pub(crate) fn into_tcp(self) -> TcpStream {
        self.tcp.into_inner()
    }

    /// Writes the whole refusal instead of the `bare` bytes of hyper.
    fn poll_refuse(&mut self, cx: &mut Context<'_>, bare: usize) -> Poll<io::Result<usize>> {
        while self.refusal.has_remaining() {
            let written = ready!(Pin::new(&mut self.tcp).poll_write(cx, &self.refusal))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.refusal.advance(written);
        }
        self.linger_timer = Some(Box::pin(tokio::time::sleep(LINGER)));
        Poll::Ready(Ok(bare))
    }

    /// Reads and drops input until the client closes or the time is over.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(end) = &mut self.linger_timer else { return Poll::Ready(()) };
        let mut piece = [0; 1024];
        while end.as_mut().poll(cx).is_pending() {
            let mut dropped = ReadBuf::new(&mut piece);
            let read = ready!(Pin::new(&mut self.tcp).poll_read(cx, dropped.unfilled()));
            if read.is_err() || dropped.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(())
    }
}

/// The replacement for a response that hyper made itself. It is recognised by its status without a
/// body, which no response of ours has.
fn refusal(written: &[u8]) -> Option<Bytes> {
    const EMPTY: &[u8] = b"\r\ncontent-length: 0\r\n";
    let (version, rest) = written.split_at_checked(9)?;
    let bare = version.starts_with(b"HTTP/1.")
        && written.ends_with(b"\r\n\r\n")
        && written.windows(EMPTY.len()).any(|part| part == EMPTY);
    let error = match rest.get(..3)? {
        b"400" => ApiError::unreadable_head(),
        b"414" | b"431" => ApiError::head_too_large(),
        _ => return None,
    };
    bare.then(|| error.into_closing_bytes())
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.refusal.is_empty() {
            match refusal(bytes) {
                Some(refusal) => self.refusal = refusal,
                None => return Pin::new(&mut self.tcp).poll_write(cx, bytes),
            }
        }
        self.poll_refuse(cx, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match parts {
            [whole] => self.poll_write(cx, whole),
            _ => Pin::new(&mut self.tcp).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.tcp).poll_shutdown(cx))?;
        self.poll_linger(cx).map(Ok)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_refusal_is_replaced() {
        let bare = |status: &str| {
            format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n"
            )
        };
        for status in ["400 Bad Request", "414 URI Too Long", "431 Request Header Fields Too Large"]
        {
            let said = refusal(bare(status).as_bytes()).unwrap_or_else(|| panic!("{status}"));
            assert!(said.starts_with(b"HTTP/1.1 4") && said.ends_with(b"\"}"), "{said:?}");
        }
        for other in [
            bare("303 See Other"),
            bare("404 Not Found"),
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}".into(),
        ] {
            assert!(refusal(other.as_bytes()).is_none(), "{other}");
        }
        for short in ["", "HTTP/1.1", "HTTP/1.1 4", "\r\n\r\n"] {
            assert!(refusal(short.as_bytes()).is_none(), "{short}");
        }
    }
}
