//! The opening handshake of a WebSocket (RFC 6455, 4.2). It takes the TCP stream over from hyper.

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tungstenite::Error;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::server::create_response_with_body;
use warp::http::{HeaderMap, Request, Response};

use crate::api::error::ApiError;

/// Checks the headers of a GET, and returns the response that switches protocols.
///
/// # Errors
///
/// If they do not ask for a WebSocket of version 13.
pub(crate) fn respond(headers: HeaderMap) -> Result<Response<Bytes>, ApiError> {
    let mut request = Request::new(());
    *request.headers_mut() = headers;
    create_response_with_body(&request, Bytes::new).map_err(|error| match error {
        Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader) => {
            ApiError::wrong_socket_version()
        }
        _ => ApiError::not_a_websocket(),
    })
}

/// Waits until the response is sent, and takes the stream, with any input that came early. `None`
/// if the connection broke before.
pub(crate) async fn stream(upgrade: OnUpgrade) -> Option<(TcpStream, Bytes)> {
    let upgraded = upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}
