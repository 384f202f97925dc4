//! What a request is answered with.

use bytes::Bytes;
use warp::http::Response;
use warp::http::header::{CONTENT_TYPE, HeaderValue};

use crate::api::error::ApiError;

/// What a handler comes to; routes turn either into a response.
pub(crate) type Answer = Result<Response<Bytes>, ApiError>;

/// 200 with a body of this type.
pub(crate) fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
