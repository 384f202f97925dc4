//! Reads the body of a POST. Limits its type, its length and the time that it may take.

use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use warp::http::header::HeaderMap;
use warp::{Filter, Rejection};

use crate::access::Caller;
use crate::api::code::Code;
use crate::api::error::ApiError;

/// The longest body of a request, in bytes.
pub(super) const BODY_BYTES_MAX: usize = 4 * 1024;

/// The longest body of a batch, in bytes. A full batch of the longest names and ids takes about
/// half of this. It is read only if its caller may send batches.
pub(super) const BATCH_BYTES_MAX: usize = 512 * 1024;

/// The most bytes of a refused body that are read and dropped. Many clients read the response only
/// after they have sent the body. A body that announces more is refused at once.
const BODY_BYTES_DRAINED: usize = 64 * 1024 * 1024;

/// The time limit for reading a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// The caller of the request, which the server has put into its extensions.
pub(super) fn caller() -> impl Filter<Extract = (Caller,), Error = Rejection> + Clone {
    warp::ext::get::<Caller>()
}

/// The headers of a POST, and its whole body or the reason for a refusal.
pub(super) fn body(
    content_type: &'static str,
    bytes_max: usize,
    check: fn(&Caller) -> Result<(), ApiError>,
) -> impl Filter<Extract = (HeaderMap, Result<Bytes, ApiError>), Error = Rejection> + Clone {
    caller()
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |caller: Caller, headers: HeaderMap, body| {
            let checked = check_type(&headers, content_type).and_then(|()| check(&caller));
            async move {
                // The body of a refused request is read and dropped.
                let kept_max = if checked.is_ok() { bytes_max } else { 0 };
                let read = if announces_too_much(&headers) {
                    Err(ApiError::too_large(bytes_max))
                } else {
                    read_in_time(body, kept_max).await
                };
                (headers, checked.and(read))
            }
        })
        .untuple_one()
}

async fn read_in_time(
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    bytes_max: usize,
) -> Result<Bytes, ApiError> {
    let late = || {
        ApiError::bad_request(
            Code::BadBody,
            format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs()),
        )
    };
    tokio::time::timeout(BODY_TIMEOUT, read_body(body, bytes_max))
        .await
        .unwrap_or_else(|_| Err(late()))
}

/// True if the announced body is too long to be read and dropped.
fn announces_too_much(headers: &HeaderMap) -> bool {
    let length =
        headers.get("content-length").and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length > BODY_BYTES_DRAINED as u64)
}

/// Refuses a body of another type. A body without a type counts as the expected one.
fn check_type(headers: &HeaderMap, expected: &str) -> Result<(), ApiError> {
    let Some(given) = headers.get("content-type") else { return Ok(()) };
    let essence = given.to_str().ok().and_then(|given| given.split(';').next()).unwrap_or_default();
    if essence.trim().eq_ignore_ascii_case(expected) {
        Ok(())
    } else {
        Err(ApiError::wrong_type(expected))
    }
}

async fn read_body(
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    bytes_max: usize,
) -> Result<Bytes, ApiError> {
    let mut body = std::pin::pin!(body);
    let (mut kept, mut read) = (Vec::new(), 0);
    while let Some(piece) = body.next().await {
        let mut piece = piece.map_err(|_| {
            ApiError::bad_request(Code::BadBody, "the connection broke before the body was whole")
        })?;
        read += piece.remaining();
        while read <= bytes_max && piece.has_remaining() {
            let part = piece.chunk();
            kept.extend_from_slice(part);
            piece.advance(part.len());
        }
        if read > BODY_BYTES_DRAINED {
            break;
        }
    }
    if read > bytes_max { Err(ApiError::too_large(bytes_max)) } else { Ok(kept.into()) }
}
