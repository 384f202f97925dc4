//! The WebSocket's opening handshake (RFC 6455, 4.2), and the TCP stream that is left of the
//! connection after it.

use bytes::Bytes;
use headers::{Connection, HeaderMap, HeaderMapExt, SecWebsocketAccept, SecWebsocketKey, Upgrade};
use hyper::upgrade::OnUpgrade;
use tokio::net::TcpStream;
use warp::http::{Response, StatusCode};

use crate::api::code::Code;
use crate::api::error::ApiError;
use crate::server::stream::Stream;

/// Judges the request's headers and makes the answer that switches protocols.
///
/// # Errors
///
/// Where they ask for no WebSocket of version 13.
pub(crate) fn answer(headers: &HeaderMap) -> Result<Response<Bytes>, ApiError> {
    let says = |name: &str, expected: &str| {
        headers
            .get(name)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(expected.as_bytes()))
    };
    let connection =
        headers.typed_get::<Connection>().is_some_and(|connection| connection.contains("upgrade"));
    // 16 bytes in base64 end in one whole character's worth of padding.
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

/// Waits until the answer is sent, and takes the stream with what the client sent too early. `None`
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
    fn the_key_of_the_rfc_gets_the_answer_of_the_rfc() {
        let asked = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]);
        let answer = answer(&asked).unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["sec-websocket-accept"]),
            (101, &"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".parse().unwrap())
        );
        assert!(super::answer(&headers(&[("upgrade", "websocket")])).is_err());
        let mut short = asked.clone();
        short.insert("sec-websocket-key", "abc".parse().unwrap());
        assert!(super::answer(&short).is_err());
    }
}
