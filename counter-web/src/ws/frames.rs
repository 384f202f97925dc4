//! WebSocket frames (RFC 6455), server side, without I/O: parses the client's bytes into messages,
//! and serialises the server's frames.

use bytes::{BufMut, Bytes, BytesMut};

/// The longest message a client may send, in bytes. A longer one closes the socket with 1009. A
/// full batch of the client library's clicks fits.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// The longest payload of a ping, pong or close frame (RFC 6455, 5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// One message from the client, or a control frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ClientFrame {
    /// A text message.
    Text(String),
    /// The client asks for a pong with these bytes.
    Ping(Vec<u8>),
    /// An answer to our ping.
    Pong,
    /// The client closes, with its code if it sent one. Nothing after it is read.
    Close(Option<u16>),
}

/// Why the server closes a socket: the code and reason of its Close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CloseReason {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

impl CloseReason {
    const fn protocol(reason: &'static str) -> Self {
        Self { code: 1002, reason }
    }
}

/// Parses frames from a byte stream.
///
/// Keeps at most one partial frame and one partial message, each at most [`MESSAGE_BYTES_MAX`] and
/// a header.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    /// The beginning of a frame.
    partial: Vec<u8>,
    /// The fragments of a message so far.
    fragments: Option<Vec<u8>>,
}

/// A frame's header.
struct FrameHeader {
    fin: bool,
    opcode: u8,
    mask: [u8; 4],
    /// The length of the header itself.
    bytes: usize,
    payload_bytes: usize,
}

impl FrameReader {
    /// Parses `bytes`, and passes each complete message to `receive`, in order.
    ///
    /// # Errors
    ///
    /// At the first violation of the protocol or a bound, after passing on the messages before it.
    /// Do not feed the reader again.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        receive: &mut impl FnMut(ClientFrame),
    ) -> Result<(), CloseReason> {
        if self.partial.is_empty() {
            let used = self.take_frames(bytes, receive)?;
            self.partial.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut partial = std::mem::take(&mut self.partial);
        partial.extend_from_slice(bytes);
        let used = self.take_frames(&partial, receive)?;
        partial.drain(..used);
        self.partial = partial;
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
        Ok(())
    }

    fn take_frames(
        &mut self,
        bytes: &[u8],
        receive: &mut impl FnMut(ClientFrame),
    ) -> Result<usize, CloseReason> {
        let mut used = 0;
        while let Some(header) = read_header(&bytes[used..])? {
            let start = used + header.bytes;
            let Some(payload) = bytes.get(start..start + header.payload_bytes) else { break };
            used = start + header.payload_bytes;
            let payload: Vec<u8> = payload
                .iter()
                .zip(header.mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask)
                .collect();
            if let Some(incoming) = self.take_frame(header.fin, header.opcode, payload)? {
                let closes = matches!(incoming, ClientFrame::Close(_));
                receive(incoming);
                if closes {
                    return Ok(bytes.len());
                }
            }
        }
        Ok(used)
    }

    fn take_frame(
        &mut self,
        fin: bool,
        opcode: u8,
        payload: Vec<u8>,
    ) -> Result<Option<ClientFrame>, CloseReason> {
        match (opcode, self.fragments.is_some()) {
            (0x0, false) => Err(CloseReason::protocol("a continuation of nothing")),
            (0x0, true) => self.continue_message(fin, payload),
            (0x1, true) | (0x2, true) => {
                Err(CloseReason::protocol("a new message inside a fragmented one"))
            }
            (0x1, false) if fin => text(payload).map(Some),
            (0x1, false) => {
                self.fragments = Some(payload);
                Ok(None)
            }
            (0x2, false) => Err(CloseReason { code: 1003, reason: "send text, not binary" }),
            (0x8, _) => close(&payload).map(Some),
            (0x9, _) => Ok(Some(ClientFrame::Ping(payload))),
            (0xA, _) => Ok(Some(ClientFrame::Pong)),
            _ => Err(CloseReason::protocol("an unknown opcode")),
        }
    }

    fn continue_message(
        &mut self,
        fin: bool,
        payload: Vec<u8>,
    ) -> Result<Option<ClientFrame>, CloseReason> {
        let mut message = self.fragments.take().unwrap_or_default();
        if message.len() + payload.len() > MESSAGE_BYTES_MAX {
            return Err(TOO_LONG);
        }
        message.extend_from_slice(&payload);
        if fin {
            return text(message).map(Some);
        }
        self.fragments = Some(message);
        Ok(None)
    }
}

const TOO_LONG: CloseReason = CloseReason { code: 1009, reason: "a message is at most 64 KiB" };

fn text(payload: Vec<u8>) -> Result<ClientFrame, CloseReason> {
    String::from_utf8(payload)
        .map(ClientFrame::Text)
        .map_err(|_| CloseReason { code: 1007, reason: "text must be valid UTF-8" })
}

/// Parses a Close frame's payload: empty, or a code that an endpoint may send (RFC 6455, 7.4) and a
/// reason in UTF-8.
fn close(payload: &[u8]) -> Result<ClientFrame, CloseReason> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        let empty = payload.is_empty().then_some(ClientFrame::Close(None));
        return empty.ok_or(CloseReason::protocol("a close code is two bytes"));
    };
    match u16::from_be_bytes(*code) {
        code @ (1000..=1003 | 1007..=1014 | 3000..=4999) => match std::str::from_utf8(reason) {
            Ok(_) => Ok(ClientFrame::Close(Some(code))),
            Err(_) => Err(CloseReason { code: 1007, reason: "a close reason must be valid UTF-8" }),
        },
        _ => Err(CloseReason::protocol("no close code that may be sent")),
    }
}

/// Parses one frame's header. `None` while it is incomplete. Checks the bounds before any payload
/// is kept.
fn read_header(bytes: &[u8]) -> Result<Option<FrameHeader>, CloseReason> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    let (fin, opcode) = (first & 0x80 != 0, first & 0x0F);
    if first & 0x70 != 0 {
        return Err(CloseReason::protocol("a reserved bit is set"));
    }
    if second & 0x80 == 0 {
        return Err(CloseReason::protocol("a client's frame must be masked"));
    }
    let (length_bytes, payload_bytes) = match second & 0x7F {
        126 => (2, bytes.get(2..4).map(|b| u64::from(u16::from_be_bytes([b[0], b[1]])))),
        127 => (8, bytes.get(2..10).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes)),
        short => (0, Some(u64::from(short))),
    };
    let control = opcode & 0x8 != 0;
    if control && (!fin || second & 0x7F > 125) {
        return Err(CloseReason::protocol("a control frame is whole and at most 125 bytes"));
    }
    let Some(payload_bytes) = payload_bytes else { return Ok(None) };
    let payload_bytes = usize::try_from(payload_bytes)
        .ok()
        .filter(|bytes| *bytes <= MESSAGE_BYTES_MAX)
        .ok_or(TOO_LONG)?;
    let mask_at = 2 + length_bytes;
    let Some(mask) = bytes.get(mask_at..mask_at + 4).and_then(|mask| mask.try_into().ok()) else {
        return Ok(None);
    };
    Ok(Some(FrameHeader { fin, opcode, mask, bytes: mask_at + 4, payload_bytes }))
}

/// Appends a text message's frame to `out`.
pub(crate) fn put_text(out: &mut BytesMut, text: &str) {
    put_header(out, 0x81, text.len());
    out.put_slice(text.as_bytes());
}

/// Appends a pong with the ping's payload.
pub(crate) fn put_pong(out: &mut BytesMut, payload: &[u8]) {
    put_header(out, 0x8A, payload.len());
    out.put_slice(payload);
}

/// A ping without a payload.
pub(crate) const PING: &[u8] = &[0x89, 0x00];

/// The reply to a client's Close frame: the client's code, if it sent one (RFC 6455, 5.5.1).
pub(crate) fn close_echo(code: Option<u16>) -> Bytes {
    code.map_or(Bytes::from_static(&[0x88, 0x00]), |code| close_frame(code, ""))
}

/// A Close frame. The reason is cut to the length of a control frame.
pub(crate) fn close_frame(code: u16, reason: &str) -> Bytes {
    let mut end = reason.len().min(CONTROL_BYTES_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut bytes = BytesMut::with_capacity(end + 4);
    put_header(&mut bytes, 0x88, end + 2);
    bytes.put_u16(code);
    bytes.put_slice(&reason.as_bytes()[..end]);
    bytes.freeze()
}

fn put_header(out: &mut BytesMut, first: u8, payload_bytes: usize) {
    out.put_u8(first);
    match payload_bytes {
        0..=125 => out.put_u8(payload_bytes as u8),
        126..=0xFFFF => {
            out.put_u8(126);
            out.put_u16(payload_bytes as u16);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(payload_bytes as u64);
        }
    }
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
    pub(crate) fn new(text: &str) -> Self {
        let mut bytes = BytesMut::with_capacity(text.len() + 10);
        put_text(&mut bytes, text);
        Self { payload_at: bytes.len() - text.len(), bytes: bytes.freeze() }
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

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        put_header(&mut bytes, first, payload.len());
        bytes[1] |= 0x80;
        bytes.put_slice(&[1, 2, 3, 4]);
        bytes.extend(
            payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask),
        );
        bytes.to_vec()
    }

    fn incoming(bytes: &[u8], step: usize) -> Result<Vec<ClientFrame>, CloseReason> {
        let (mut reader, mut all) = (FrameReader::default(), Vec::new());
        for piece in bytes.chunks(step.max(1)) {
            reader.feed(piece, &mut |message| all.push(message))?;
        }
        Ok(all)
    }

    #[test]
    fn messages_survive_any_cut_of_the_bytes() {
        let long = "x".repeat(300);
        let stream = [
            masked(0x81, b"one"),
            masked(0x01, "zw".as_bytes()),
            masked(0x89, b"p"),
            masked(0x80, "ö".as_bytes()),
            masked(0x81, long.as_bytes()),
        ]
        .concat();
        let expected = vec![
            ClientFrame::Text("one".into()),
            ClientFrame::Ping(b"p".to_vec()),
            ClientFrame::Text("zwö".into()),
            ClientFrame::Text(long),
        ];
        for step in [1, 2, 3, 7, stream.len()] {
            assert_eq!(incoming(&stream, step).unwrap(), expected, "cut every {step} bytes");
        }
    }

    #[test]
    fn long_frame_is_refused_by_its_header() {
        let header = masked(0x81, &vec![b'x'; MESSAGE_BYTES_MAX + 1]);
        assert_eq!(incoming(&header[..10], 10).unwrap_err().code, 1009);
        let pieces = [masked(0x01, &vec![b'x'; MESSAGE_BYTES_MAX]), masked(0x80, b"x")].concat();
        assert_eq!(incoming(&pieces, 4096).unwrap_err().code, 1009);
    }

    #[test]
    fn protocol_violations_have_their_codes() {
        let mut unmasked = BytesMut::new();
        put_text(&mut unmasked, "hi");
        assert_eq!(incoming(&unmasked, 9).unwrap_err().code, 1002);
        assert_eq!(incoming(&masked(0x81, &[0xFF, 0xFE]), 99).unwrap_err().code, 1007);
        assert_eq!(incoming(&masked(0x82, b"x"), 99).unwrap_err().code, 1003);
        assert_eq!(incoming(&masked(0xC1, b"x"), 99).unwrap_err().code, 1002);
        assert_eq!(incoming(&masked(0x80, b"x"), 99).unwrap_err().code, 1002);
        assert_eq!(incoming(&masked(0x09, b"x"), 99).unwrap_err().code, 1002);
        assert_eq!(incoming(&masked(0x89, &[0; 126]), 200).unwrap_err().code, 1002);
        assert_eq!(incoming(&masked(0x83, b"x"), 99).unwrap_err().code, 1002);
    }

    #[test]
    fn nothing_after_a_close_is_read() {
        let stream = [masked(0x88, &[]), masked(0x81, b"late")].concat();
        assert_eq!(incoming(&stream, 1000).unwrap(), vec![ClientFrame::Close(None)]);
    }

    #[test]
    fn close_is_echoed_with_its_code() {
        let coded = |code: u16, reason: &[u8]| {
            incoming(&masked(0x88, &[&code.to_be_bytes(), reason].concat()), 200)
        };
        for code in [1000, 1001, 1003, 1007, 1011, 3000, 4999] {
            assert_eq!(coded(code, "ö".as_bytes()).unwrap(), vec![ClientFrame::Close(Some(code))]);
            assert_eq!(close_echo(Some(code))[2..], code.to_be_bytes());
        }
        assert_eq!(close_echo(None)[..], [0x88, 0]);
        for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
            assert_eq!(coded(code, b"").unwrap_err().code, 1002, "{code}");
        }
        assert_eq!(coded(1000, b"\xff").unwrap_err().code, 1007);
        assert_eq!(incoming(&masked(0x88, b"x"), 9).unwrap_err().code, 1002);
    }

    #[test]
    fn close_reason_is_cut_at_a_character() {
        let frame = close_frame(1001, &"ö".repeat(100));
        assert_eq!(frame[1] as usize + 2, frame.len());
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }
}
