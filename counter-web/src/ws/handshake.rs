//! The opening handshake of a WebSocket (RFC 6455, 4.2). It takes the TCP stream over from hyper.

use bytes::Bytes;
use headers::{Connection, HeaderMap, HeaderMapExt, SecWebsocketAccept, SecWebsocketKey, Upgrade};
use hyper::upgrade::OnUpgrade;
use tokio::net::TcpStream;
use warp::http::{Response, StatusCode};

use crate::api::code::Code;
use crate::api::error::ApiError;
use crate::server::stream::Stream;

/// Checks the request's headers, and returns the response that switches protocols.
///
/// # Errors
///
/// If they do not ask for a WebSocket of version 13.
pub(crate) fn respond(headers: &HeaderMap) -> Result<Response<Bytes>, ApiError> {
    let says = |name: &str, expected: &str| {
        headers
            .get(name)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(expected.as_bytes()))
    };
    let connection =
        headers.typed_get::<Connection>().is_some_and(|connection| connection.contains("upgrade"));
    // 16 bytes in base64: 22 characters and two of padding.
    let sound = |key: &[u8]| {
        key.len() == 24
            && key.ends_with(b"==")
            && key[..22].iter().all(|c| c.is_ascii_alphanumeric() || b"+/".contains(c))
    };
    let key = headers
        .get("sec-websocket-key")
        .filter(|key| sound(key.as_bytes()))
        .and_then(|_| headers.typed_get::<SecWebsocketKey>());
    let (true, true, true, Some(key)) =
        (connection, says("upgrade", "websocket"), says("sec-websocket-version", "13"), key)
    else {
        return Err(ApiError::bad_request(
            Code::NotAWebSocket,
            "this address speaks WebSocket (RFC 6455, version 13): open it with a WebSocket client",
        ));
    };
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().typed_insert(Connection::upgrade());
    response.headers_mut().typed_insert(Upgrade::websocket());
    response.headers_mut().typed_insert(SecWebsocketAccept::from(key));
    Ok(response)
}

/// Waits until the response is sent, and takes the stream, with any input that came early. `None`
/// if the connection broke before.
pub(crate) async fn stream(upgrade: OnUpgrade) -> Option<(TcpStream, Bytes)> {
    let upgraded = upgrade.await.ok()?;
    let parts = upgraded.downcast::<Stream>().ok()?;
    Some((parts.io.into_tcp(), parts.read_buf))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn example_of_the_rfc_is_accepted() {
        let asked = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]);
        let response = respond(&asked).unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["sec-websocket-accept"]),
            (101, &"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".parse().unwrap())
        );
        assert!(respond(&headers(&[("upgrade", "websocket")])).is_err());
        let mut short = asked.clone();
        short.insert("sec-websocket-key", "abc".parse().unwrap());
        assert!(respond(&short).is_err());
    }
}
