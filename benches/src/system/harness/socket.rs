//! A WebSocket client that costs little, so that a thousand of them fit on the node's own machine.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::system::{MeasureFailure, Measured};

/// One open socket on a counter.
#[derive(Debug)]
pub(in crate::system) struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The start of the next frame in `buffer`.
    at: usize,
    /// The client name of its adds. A node remembers the latest 64 ids of each client, so no two
    /// sockets share a name.
    client: u64,
}

impl Socket {
    pub(in crate::system) async fn open(address: SocketAddr, counter: &str) -> Measured<Self> {
        Self::begin(TcpStream::connect(address).await?, counter).await
    }

    /// Connects from an address of this machine, if wanted with a receive buffer of this many
    /// bytes.
    pub(in crate::system) async fn open_from(
        from: [u8; 4],
        address: SocketAddr,
        counter: &str,
        receive_bytes: Option<u32>,
    ) -> Measured<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind((from, 0).into())?;
        Self::begin(socket.connect(address).await?, counter).await
    }

    async fn begin(mut stream: TcpStream, counter: &str) -> Measured<Self> {
        stream.set_nodelay(true)?;
        let request = format!(
            "GET /ws?counter={counter} HTTP/1.1\r\nhost: bench\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut buffer = Vec::with_capacity(1024);
        let at = loop {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err(MeasureFailure("the node closed the socket at its opening".into()));
            }
            if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
        };
        match buffer.starts_with(b"HTTP/1.1 101") {
            true => Ok(Self { stream, buffer, at, client: fastrand::u64(..) >> 16 }),
            false => Err(MeasureFailure(format!(
                "the node did not open a socket: {}",
                String::from_utf8_lossy(&buffer[..at])
            ))),
        }
    }

    /// Sends an add of 1 with this id.
    pub(in crate::system) async fn add(&mut self, id: u64) -> Measured<()> {
        let mut bytes = Vec::with_capacity(64);
        push_add(&mut bytes, self.client, id);
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// Sends adds of 1 with these ids in one write.
    pub(in crate::system) async fn add_many(&mut self, ids: std::ops::Range<u64>) -> Measured<()> {
        let mut bytes = Vec::new();
        ids.for_each(|id| push_add(&mut bytes, self.client, id));
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// Sends one message with adds of 1 with these ids, each to one of the first `counters`
    /// counters in turn.
    pub(in crate::system) async fn add_batch(
        &mut self,
        ids: std::ops::Range<u64>,
        counters: u64,
    ) -> Measured<()> {
        let client = self.client;
        let add = |id: u64| {
            let counter = counter_name(id % counters);
            format!(r#"{{"counter":"{counter}","amount":1,"id":"{client:012x}:{id}"}}"#)
        };
        let adds: Vec<String> = ids.map(add).collect();
        let mut bytes = Vec::new();
        push_text(&mut bytes, &format!(r#"{{"type":"adds","adds":[{}]}}"#, adds.join(",")));
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// The next text message.
    pub(in crate::system) async fn text(&mut self) -> Measured<&[u8]> {
        loop {
            match self.frame() {
                Some((0x1, from, to)) => return Ok(&self.buffer[from..to]),
                Some((0x9, ..)) => self.stream.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await?,
                Some((0x8, ..)) => return Err(MeasureFailure("the node closed the socket".into())),
                Some(_) => {}
                None => {
                    self.buffer.drain(..self.at);
                    self.at = 0;
                    if self.stream.read_buf(&mut self.buffer).await? == 0 {
                        return Err(MeasureFailure("the node closed the socket".into()));
                    }
                }
            }
        }
    }

    /// The next whole frame of the buffer: its kind, and the range of its payload. Servers do not
    /// mask frames, and this one does not split them.
    fn frame(&mut self) -> Option<(u8, usize, usize)> {
        let bytes = &self.buffer[self.at..];
        let (head, length) = match *bytes.get(1)? {
            126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
            127 => {
                (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?)
            }
            short => (2, usize::from(short)),
        };
        let kind = bytes[0] & 0xf;
        let from = self.at + head;
        (bytes.len() >= head + length).then(|| {
            self.at = from + length;
            (kind, from, from + length)
        })
    }

    /// Waits for a message with this total or more.
    pub(in crate::system) async fn until_total(&mut self, total: i64) -> Measured<()> {
        loop {
            if shown_total(self.text().await?).is_some_and(|shown| shown >= total) {
                return Ok(());
            }
        }
    }

    /// Waits for this many acknowledgements. An error message is a failure.
    pub(in crate::system) async fn until_acks(&mut self, count: u64) -> Measured<()> {
        let mut acks = 0;
        while acks < count {
            let text = self.text().await?;
            if text.starts_with(br#"{"type":"ack""#) {
                acks += 1;
            } else if text.starts_with(br#"{"type":"error""#) {
                return Err(MeasureFailure(format!(
                    "an add was refused: {}",
                    String::from_utf8_lossy(text)
                )));
            }
        }
        Ok(())
    }
}

/// The counters of batches.
pub(in crate::system) fn counter_name(number: u64) -> String {
    format!("counter-{number}")
}

/// An add whose id is as long as the page's.
fn push_add(bytes: &mut Vec<u8>, client: u64, id: u64) {
    push_text(bytes, &format!(r#"{{"type":"add","amount":1,"id":"{client:012x}:{id}"}}"#));
}

/// A text frame masked with key 0, which is valid and needs no computing.
fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(0x81);
    match text.len() {
        short @ ..126 => bytes.push(0x80 | short as u8),
        middle if middle < 1 << 16 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(text.as_bytes());
}

/// The counter's total in a `state` or `change` message. `None` for other messages.
fn shown_total(text: &[u8]) -> Option<i64> {
    let message: Value = serde_json::from_slice(text).ok()?;
    message["total"].as_i64()
}
