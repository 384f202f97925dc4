//! An HTTP/1.1 client that costs little: one kept connection, one request at a time.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::system::{MeasureFailure, Measured};

/// The longest answer that is read.
const ANSWER_MAX: usize = 1 << 24;

/// The token of services, which may send batches. Every node of the suite gets it.
pub(in crate::system) const SERVICE_TOKEN: &str = "service-token-of-the-suite";

/// One connection.
#[derive(Debug)]
pub(in crate::system) struct Http {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Http {
    pub(in crate::system) async fn open(address: SocketAddr) -> Measured<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    pub(in crate::system) async fn get(&mut self, path: &str) -> Measured<(u16, Vec<u8>)> {
        self.ask(format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").as_bytes()).await
    }

    pub(in crate::system) async fn post(
        &mut self,
        path: &str,
        body: &str,
    ) -> Measured<(u16, Vec<u8>)> {
        self.ask(request(path, "", body).as_bytes()).await
    }

    /// A request with the token of services.
    pub(in crate::system) async fn post_as_service(
        &mut self,
        path: &str,
        body: &str,
    ) -> Measured<(u16, Vec<u8>)> {
        let token = format!("authorization: Bearer {SERVICE_TOKEN}\r\n");
        self.ask(request(path, &token, body).as_bytes()).await
    }

    pub(in crate::system) async fn json(&mut self, path: &str) -> Measured<Value> {
        let (_, body) = self.get(path).await?;
        serde_json::from_slice(&body)
            .map_err(|error| MeasureFailure(format!("{path} is not JSON: {error}")))
    }

    async fn ask(&mut self, request: &[u8]) -> Measured<(u16, Vec<u8>)> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let (head, length, status) = loop {
            self.more().await?;
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.buffer[..at]).to_ascii_lowercase();
                let status =
                    head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
                let length = head.lines().find_map(|line| {
                    line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok()
                });
                break (
                    at + 4,
                    length
                        .ok_or_else(|| MeasureFailure("the node's answer has no length".into()))?,
                    status,
                );
            }
        };
        while self.buffer.len() < head + length {
            self.more().await?;
        }
        Ok((status, self.buffer[head..head + length].to_vec()))
    }

    async fn more(&mut self) -> Measured<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(MeasureFailure("the node closed the connection".into())),
            _ if self.buffer.len() > ANSWER_MAX => {
                Err(MeasureFailure("the node's answer is too long".into()))
            }
            _ => Ok(()),
        }
    }
}

fn request(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n"
    );
    head + body
}
