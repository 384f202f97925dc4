//! A WebSocket to a node.

use std::io::{Read, Write};

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

use super::http::connect;

pub struct TestSocket(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

impl TestSocket {
    pub async fn open(http: &str) -> Self {
        Self(connect_async(format!("ws://{http}/ws?counter=clicks")).await.unwrap().0)
    }

    /// A socket with a small receive buffer, so that it is full soon if nobody reads it.
    pub async fn open_narrow(http: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let stream = MaybeTlsStream::Plain(socket.connect(http.parse().unwrap()).await.unwrap());
        let opened = client_async(format!("ws://{http}/ws?counter=clicks"), stream).await;
        Self(opened.unwrap().0)
    }

    /// Opens `path` with an Origin. Returns the status of a refusal.
    pub async fn ask(http: &str, path: &str, origin: Option<&str>) -> Result<Self, u16> {
        let mut request = format!("ws://{http}{path}").into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// Queues a message for the next flush.
    pub async fn feed(&mut self, text: &str) {
        self.0.feed(Message::text(text)).await.unwrap();
    }

    pub async fn flush(&mut self) {
        self.0.flush().await.unwrap();
    }

    /// The next JSON message. `None` once the socket is closed or broken.
    pub async fn hear(&mut self) -> Option<Value> {
        loop {
            match tokio::time::timeout(super::PATIENCE, self.0.next())
                .await
                .expect("a message in time")?
            {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Reads and drops a message. Returns false once the socket is closed or broken.
    pub async fn hear_raw(&mut self) -> bool {
        matches!(self.0.next().await, Some(Ok(_)))
    }

    /// The next message of this type.
    pub async fn hear_of(&mut self, kind: &str) -> Value {
        loop {
            let message = self.hear().await.unwrap_or_else(|| panic!("closed before {kind}"));
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Adds one, `count` times, and waits for every ack.
    pub async fn add(&mut self, client: &str, count: usize) {
        for sequence in 1..=count {
            self.say(&format!("{{\"type\":\"add\",\"amount\":1,\"id\":\"{client}:{sequence}\"}}"))
                .await;
        }
        for sequence in 1..=count {
            assert_eq!(self.hear_of("ack").await["id"], format!("{client}:{sequence}"));
        }
    }
}

/// A raw socket that answers nothing automatically.
pub struct RawSocket {
    pub stream: std::net::TcpStream,
    read: Vec<u8>,
}

impl RawSocket {
    pub fn open(http: &str) -> Self {
        let mut stream = connect(http);
        let opening = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: \
            websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(opening.as_bytes()).unwrap();
        let mut socket = Self { stream, read: Vec::new() };
        let head = socket
            .until(|read| read.windows(4).position(|window| window == b"\r\n\r\n"))
            .expect("an answer");
        assert!(
            socket.read.starts_with(b"HTTP/1.1 101"),
            "{}",
            String::from_utf8_lossy(&socket.read)
        );
        socket.read.drain(..head + 4);
        socket
    }

    /// Reads until `found` returns something. `None` at the end.
    fn until(&mut self, found: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
        let mut piece = [0; 4096];
        loop {
            if let Some(at) = found(&self.read) {
                return Some(at);
            }
            let bytes = self.stream.read(&mut piece).expect("a word within the test's patience");
            if bytes == 0 {
                return None;
            }
            self.read.extend_from_slice(&piece[..bytes]);
        }
    }

    /// The next frame: its first byte and its payload. `None` at the end.
    pub fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let whole = |read: &[u8]| {
            let (from, length) = match *read.get(1)? {
                126 => (4, usize::from(u16::from_be_bytes(read.get(2..4)?.try_into().ok()?))),
                short => (2, usize::from(short)),
            };
            (read.len() >= from + length).then_some(from + length)
        };
        let end = self.until(whole)?;
        let frame: Vec<u8> = self.read.drain(..end).collect();
        let from = if frame[1] == 126 { 4 } else { 2 };
        Some((frame[0], frame[from..].to_vec()))
    }
}
