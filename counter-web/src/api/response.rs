//! The result of a handler.

use bytes::Bytes;
use serde::Serialize;
use warp::http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use warp::http::{Response, StatusCode};

use crate::api::error::ApiError;

/// The result of a handler. The routes turn either side into a response.
pub(crate) type ApiResult = Result<Response<Bytes>, ApiError>;

/// 200 with a body of this type.
pub(crate) fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// 200 with this value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Response<Bytes> {
    typed("application/json", serde_json::to_string(value).unwrap_or_default())
}

/// 303 to `name`, relative to the request's path, which a proxy may have moved.
pub(crate) fn see_other(name: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SEE_OTHER;
    // Every character of a path is allowed in a header.
    let location =
        HeaderValue::from_str(&format!("./{name}")).unwrap_or(HeaderValue::from_static("./"));
    response.headers_mut().insert(LOCATION, location);
    response
}
