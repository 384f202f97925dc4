//! Every error that a client can get. All have one shape,
//! `{"error":"<code>","message":"<sentence>"}`, with its HTTP status.

use std::convert::Infallible;
use std::time::SystemTime;

use counter_net::{AddError, Node, NotDurable, WriteError};
use httpdate::fmt_http_date;
use serde::Serialize;
use warp::http::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE,
    WWW_AUTHENTICATE,
};
use warp::http::{Response, StatusCode};
use warp::hyper::body::Bytes;
use warp::reject::{Reject, Rejection};

use crate::api::bounds::{AMOUNT_MAX, BATCH_ADDS_MAX, ID_BYTES_MAX};
use crate::api::code::Code;

/// Why a request or a message was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    /// For programs.
    pub(crate) code: Code,
    /// For people.
    pub(crate) message: String,
    allow: Option<&'static str>,
    /// When to try again, in seconds; sent with 429 and 503.
    retry_after: u64,
    /// The index of the add in its batch that was refused.
    pub(crate) index: Option<usize>,
}

impl Reject for ApiError {}

impl ApiError {
    fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), allow: None, retry_after: 1, index: None }
    }

    /// The same error, of the add at this index of a batch.
    pub(crate) fn at(self, index: usize) -> Self {
        Self { index: Some(index), ..self }
    }

    /// 400: the request itself is wrong. The message says how.
    pub(crate) fn bad_request(code: Code, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn bad_amount(what: &str) -> Self {
        Self::bad_request(
            Code::BadAmount,
            format!(
                "{what}: write an integer that is not 0, from -{AMOUNT_MAX} to {AMOUNT_MAX}, such \
                 as 1"
            ),
        )
    }

    pub(crate) fn bad_name() -> Self {
        Self::bad_request(
            Code::BadName,
            "a counter's name is 1 to 128 bytes of UTF-8 without control characters, \
             percent-encoded in a path",
        )
    }

    pub(crate) fn bad_id() -> Self {
        Self::bad_request(
            Code::BadId,
            format!(
                "an id is 1 to {ID_BYTES_MAX} bytes without control characters: unique to its \
                 add, or to its page"
            ),
        )
    }

    pub(crate) fn bad_token() -> Self {
        Self::bad_request(
            Code::BadToken,
            "Counter-Token is not a read token of this release: send the token of an earlier \
             response, or an empty one to get the first",
        )
    }

    /// 400: the body is not JSON, or has an unknown field.
    pub(crate) fn bad_json(why: &serde_json::Error) -> Self {
        let why = if why.is_data() { shortened(why) } else { "it cannot be parsed".to_owned() };
        Self::bad_request(
            Code::BadJson,
            format!("the body is not the expected JSON: {why}. Write {{\"amount\":1}}"),
        )
    }

    /// 400: a page of another site sent the request.
    pub(crate) fn wrong_origin(why: String) -> Self {
        Self::bad_request(Code::WrongOrigin, why)
    }

    /// 401: the caller must authenticate.
    pub(crate) fn unauthorized(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, message)
    }

    /// 401: this node does not know the Bearer token.
    pub(crate) fn unknown_token() -> Self {
        Self::unauthorized(
            "the Bearer token is neither this node's service token nor its operator token: \
             nothing was done",
        )
    }

    /// 403: the caller may not do this.
    pub(crate) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, Code::Forbidden, message)
    }

    /// 403: the counter does not exist, and this caller may not create it.
    pub(crate) fn name_not_allowed() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            Code::NameNotAllowed,
            "there is no counter of this name, and this caller may not make it: list the name in \
             --create, send the service token, or make it from the node's own machine. Nothing \
             was added",
        )
    }

    /// 404: the page of a counter that does not exist.
    pub(crate) fn no_counter() -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::NotFound, "there is no counter of this name")
    }

    /// 400: the request does not open a WebSocket.
    pub(crate) fn not_a_websocket() -> Self {
        Self::bad_request(
            Code::NotAWebSocket,
            "this address speaks WebSocket (RFC 6455, version 13) over HTTP/1.1: open it with a \
             WebSocket client",
        )
    }

    /// 426: the client asks for another version of WebSocket.
    pub(crate) fn wrong_socket_version() -> Self {
        Self::new(
            StatusCode::UPGRADE_REQUIRED,
            Code::NotAWebSocket,
            "this address speaks only version 13 of WebSocket (RFC 6455): send \
             Sec-WebSocket-Version: 13",
        )
    }

    pub(crate) fn bad_host() -> Self {
        Self::bad_request(
            Code::BadHost,
            "a request of HTTP/1.1 has one Host header with the name of this server (RFC 9112, \
             3.2): write it once",
        )
    }

    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            Code::NotFound,
            "there is nothing at this address; the page is at /, counters are at \
             /api/counters/{name}",
        )
    }

    pub(crate) fn no_switch() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            Code::NoSwitch,
            "this node has no partition switch: it was started without --allow-partition",
        )
    }

    pub(crate) fn wrong_method(allow: &'static str) -> Self {
        let error = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            Code::MethodNotAllowed,
            format!("this address answers {allow}"),
        );
        Self { allow: Some(allow), ..error }
    }

    pub(crate) fn too_large(bytes_max: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            Code::TooLarge,
            format!("the body is over {bytes_max} bytes"),
        )
    }

    /// 413: a batch with too many adds.
    pub(crate) fn too_many_adds() -> Self {
        let error = Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            Code::TooLarge,
            format!("a batch has at most {BATCH_ADDS_MAX} adds; nothing was added: send several"),
        );
        error.at(BATCH_ADDS_MAX)
    }

    /// 413: a socket would watch too many counters.
    pub(crate) fn too_many_watched(counters_max: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            Code::TooLarge,
            format!(
                "a socket watches at most {counters_max} counters; nothing changed: open another \
                 socket"
            ),
        )
    }

    pub(crate) fn wrong_type(expected: &str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::UnsupportedMediaType,
            format!("send the body as Content-Type: {expected}"),
        )
    }

    /// 429: the next add is allowed after `retry_after` seconds.
    pub(crate) fn rate_limited(retry_after: u64) -> Self {
        let error = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            Code::RateLimited,
            "too many adds in a short time: wait a moment and send it again with the same id",
        );
        Self { retry_after, ..error }
    }

    pub(crate) fn too_many_connections() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            Code::TooManyConnections,
            "too many connections from this address: close one first",
        )
    }

    /// 503: all connections are in use. The request was not read.
    pub(crate) fn no_room() -> Self {
        let error = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::TooManyConnections,
            "this node is full: try another one",
        );
        Self { retry_after: 5, ..error }
    }

    pub(crate) fn stopping() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::Stopping,
            "this node is stopping: try again, or another node",
        )
    }

    /// 503: this node may not serve yet.
    pub(crate) fn not_ready(why: String) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::NotReady, why)
    }

    /// 503: this node is behind the state that the client has seen.
    pub(crate) fn behind(message: String) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::Behind,
            format!("{message}; ask again, or another node, or without Counter-Token"),
        )
    }

    /// 503: the cluster has the most counters that `--counters-max` allows.
    fn too_many_counters() -> Self {
        let message = "the cluster has as many counters as --counters-max allows: nothing was \
                       added and no counter was made. Existing ones go on counting. The operator \
                       can restart every node with a greater --counters-max";
        // Only an operator can change this, so a client need not ask again soon.
        Self {
            retry_after: 60,
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::CounterFull, message)
        }
    }

    /// 409: the counter has expired, and is still being removed.
    pub(crate) fn counter_expired(expired_at: Option<SystemTime>) -> Self {
        // A later time belongs to a counter that was created anew. `fmt_http_date` panics on a
        // time after the year 9999.
        let at = expired_at
            .filter(|at| *at <= SystemTime::now())
            .map_or(String::new(), |at| format!(" at {}", fmt_http_date(at)));
        Self::new(
            StatusCode::CONFLICT,
            Code::CounterExpired,
            format!(
                "the counter expired{at} and is being removed: nothing was added. Add to another \
                 counter, or to this one once it is gone"
            ),
        )
    }

    /// Converts an error of the node about a counter. Nothing was added.
    pub(crate) fn of_add_to(node: &Node, counter: &str, error: AddError) -> Self {
        match error {
            AddError::Refused(WriteError::Expired) => {
                Self::counter_expired(node.expires_at(counter))
            }
            error => Self::of_add(error),
        }
    }

    /// Converts an error of the node. Nothing was added or reset, except as the message says.
    pub(crate) fn of_add(error: AddError) -> Self {
        let unavailable =
            |code| Self::new(StatusCode::SERVICE_UNAVAILABLE, code, error.to_string());
        match error {
            AddError::Stopped => Self::stopping(),
            AddError::MaybeAdded => unavailable(Code::Stopping),
            AddError::StoreFailing { .. } => unavailable(Code::NotDurable),
            AddError::NotCaughtUp => unavailable(Code::NotReady),
            AddError::Refused(WriteError::NameOutOfRange) => Self::bad_name(),
            AddError::Refused(WriteError::IdOutOfRange) => Self::bad_id(),
            AddError::Refused(WriteError::TooManyCounters) => Self::too_many_counters(),
            AddError::Refused(WriteError::Expired) => Self::counter_expired(None),
            _ => unavailable(Code::CounterFull),
        }
    }

    /// 409: the add is older than the dedup entries of its client.
    pub(crate) fn cannot_tell() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            Code::CannotTell,
            "this add is older than the ids that are remembered of its client, so this node \
             cannot tell whether it was applied: nothing was added now. Count it as done, and do \
             not send it again",
        )
    }

    /// 503: the add or the reset is applied, but not known to be on the disk.
    pub(crate) fn not_durable(error: &NotDurable) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::NotDurable, error.to_string())
    }

    /// The response as raw bytes, for a connection that hyper does not answer. It closes the
    /// connection.
    pub(crate) fn into_closing_bytes(self) -> Bytes {
        let response = self.into_response();
        let mut bytes = format!(
            "HTTP/1.1 {}\r\nconnection: close\r\ncontent-length: {}\r\n",
            response.status(),
            response.body().len()
        )
        .into_bytes();
        for (name, value) in response.headers() {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(response.body());
        bytes.into()
    }

    /// The HTTP response.
    pub(crate) fn into_response(self) -> Response<Bytes> {
        #[derive(Serialize)]
        struct Body<'a> {
            error: Code,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            index: Option<usize>,
        }
        let body = Body { error: self.code, message: &self.message, index: self.index };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS
            || self.status == StatusCode::SERVICE_UNAVAILABLE
        {
            headers.insert(RETRY_AFTER, HeaderValue::from(self.retry_after));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        // The last step turns it into a page for people.
        response.extensions_mut().insert(self);
        response
    }
}

/// Answers a request that no route accepted: with the route's own error, or else with 404.
pub(crate) async fn recover(rejection: Rejection) -> Result<Response<Bytes>, Infallible> {
    let error = rejection.find::<ApiError>().cloned().unwrap_or_else(ApiError::not_found);
    Ok(error.into_response())
}

/// The message of a JSON error, shortened, because it repeats names from the input.
pub(crate) fn shortened(error: &serde_json::Error) -> String {
    error.to_string().chars().take(200).collect()
}
