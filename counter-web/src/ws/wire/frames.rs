//! WebSocket frames (RFC 6455), server side. The protocol is tungstenite's. It runs here without
//! I/O: [`SocketProtocol`] takes the bytes that were read and makes the bytes to send.
//!
//! So a client's own task reads its socket, and a topic writes one shared [`TextFrame`] to all
//! sockets.

use std::io::{self, ErrorKind, Read, Write};

use bytes::{BufMut, Bytes, BytesMut};
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message, Utf8Bytes};

pub(crate) use tungstenite::protocol::frame::coding::CloseCode;

/// The longest message a client may send, in bytes. A longer one closes the socket with 1009. A
/// batch of 1,000 adds fits, with the longest names and ids.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// The initial size of tungstenite's buffer for a client, in bytes. It grows to the longest frame
/// that the client sends. A larger one parses no faster, because it is filled from memory.
const READ_BUFFER_BYTES: usize = 256;

/// The protocol state of one client.
///
/// Keeps at most one partial frame and one partial message, each at most [`MESSAGE_BYTES_MAX`] and
/// a header.
pub(crate) struct SocketProtocol(WebSocketContext);

/// The bytes of one read, and the bytes to send in reply.
pub(crate) struct Exchange<'a> {
    input: &'a [u8],
    pub(crate) output: BytesMut,
}

impl<'a> Exchange<'a> {
    pub(crate) fn of(input: &'a [u8]) -> Self {
        Self { input, output: BytesMut::new() }
    }
}

impl Read for Exchange<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // No bytes would mean the end of the stream.
        if self.input.is_empty() {
            Err(ErrorKind::WouldBlock.into())
        } else {
            self.input.read(buffer)
        }
    }
}

impl Write for Exchange<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.put_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SocketProtocol {
    pub(crate) fn new() -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        Self(WebSocketContext::new(Role::Server, Some(config)))
    }

    /// Returns the next text message, or `None` once all of the input is used. Answers pings.
    ///
    /// # Errors
    ///
    /// If the client closes, or breaks a rule or a bound. The error is the Close frame that ends
    /// the socket. Do not call this again.
    pub(crate) fn next_text(
        &mut self,
        exchange: &mut Exchange<'_>,
    ) -> Result<Option<Utf8Bytes>, Bytes> {
        loop {
            match self.0.read(exchange) {
                Ok(Message::Text(text)) => return Ok(Some(text)),
                Ok(Message::Binary(_)) => {
                    return Err(close_frame(CloseCode::Unsupported, "send text, not binary"));
                }
                Ok(Message::Close(_)) => return Err(self.close_echo(exchange)),
                // The pong goes out with the next read.
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Err(Error::Io(_)) => return Ok(None),
                Err(error) => return Err(refusal(&error)),
            }
        }
    }

    /// The reply to the client's Close frame. It is kept apart from the other output, because it is
    /// sent only when the client is no longer counted.
    fn close_echo(&mut self, exchange: &mut Exchange<'_>) -> Bytes {
        let before = exchange.output.len();
        // The error means that the reply was written and the socket is closed.
        let _closed = self.0.flush(exchange);
        exchange.output.split_off(before).freeze()
    }
}

/// The Close frame for a client that breaks the protocol or a bound.
fn refusal(error: &Error) -> Bytes {
    match error {
        Error::Capacity(_) => close_frame(CloseCode::Size, "a message is at most 256 KiB"),
        Error::Utf8(_) => close_frame(CloseCode::Invalid, "text must be valid UTF-8"),
        Error::Protocol(why) => close_frame(CloseCode::Protocol, why.to_string()),
        _ => close_frame(CloseCode::Protocol, ""),
    }
}

/// A Close frame. The reason has at most 123 bytes.
pub(crate) fn close_frame(code: CloseCode, reason: impl Into<Utf8Bytes>) -> Bytes {
    let mut bytes = BytesMut::new();
    put(&mut bytes, Frame::close(Some(CloseFrame { code, reason: reason.into() })));
    bytes.freeze()
}

/// A ping without a payload.
pub(crate) fn ping() -> Bytes {
    let mut bytes = BytesMut::new();
    put(&mut bytes, Frame::ping(Bytes::new()));
    bytes.freeze()
}

/// Appends a text message's frame to `out`.
pub(crate) fn put_text(out: &mut BytesMut, text: String) {
    put(out, Frame::message(text, OpCode::Data(Data::Text), true));
}

fn put(out: &mut BytesMut, frame: Frame) {
    out.reserve(frame.len());
    // Writing to memory does not fail.
    let _always = frame.format(&mut out.writer());
}

/// A text message as one frame. A server's frames are not masked, so the same bytes serve every
/// client.
#[derive(Clone, Debug)]
pub(crate) struct TextFrame {
    /// Header and payload.
    bytes: Bytes,
    payload_at: usize,
}

impl TextFrame {
    pub(crate) fn new(text: String) -> Self {
        let (mut bytes, payload_bytes) = (BytesMut::new(), text.len());
        put_text(&mut bytes, text);
        Self { payload_at: bytes.len() - payload_bytes, bytes: bytes.freeze() }
    }

    /// The whole frame, for a socket.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The text alone, for server-sent events.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes[self.payload_at..]).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's frame, masked with zeros.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
    }

    // tests/live/frames.rs checks the reply to each kind of frame over a real socket.

    #[test]
    fn pong_precedes_the_close_echo() {
        let input = [masked(0x81, b"one"), masked(0x89, b"p"), masked(0x88, b"\x03\xe9")].concat();
        let (mut protocol, mut exchange) = (SocketProtocol::new(), Exchange::of(&input));
        assert_eq!(protocol.next_text(&mut exchange).unwrap().unwrap(), "one");
        put_text(&mut exchange.output, "reply".into());
        let echo = protocol.next_text(&mut exchange).unwrap_err();
        assert_eq!(exchange.output[..], *b"\x81\x05reply\x8a\x01p");
        assert_eq!(echo[..], *b"\x88\x02\x03\xe9");
    }

    #[test]
    fn reasons_fit_into_a_control_frame() {
        use tungstenite::error::{CapacityError, ProtocolError};
        for error in [
            Error::Protocol(ProtocolError::UnexpectedContinueFrame),
            Error::Protocol(ProtocolError::ExpectedFragment(Data::Text)),
            Error::Protocol(ProtocolError::NonZeroReservedBits),
            Error::Protocol(ProtocolError::ControlFrameTooBig),
            Error::Capacity(CapacityError::MessageTooLong { size: usize::MAX, max_size: 1 }),
            Error::Utf8("x".repeat(1_000)),
        ] {
            let frame = refusal(&error);
            assert!(frame[1] <= 125 && frame.len() == usize::from(frame[1]) + 2, "{error}");
        }
    }

    #[test]
    fn text_of_a_frame_is_read_back() {
        for length in [1, 125, 126, 65_535, 65_536] {
            let text = "x".repeat(length);
            assert_eq!(TextFrame::new(text.clone()).text(), text);
        }
    }
}
