//! Sessions over HTTP. A client carries a read token from node to node in a header, and no node
//! shows it less than it has seen.

use std::time::Duration;

use bytes::Bytes;
use counter_net::{NotReached, Token};
use warp::http::Response;
use warp::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::api::error::ApiError;
use crate::app::App;

/// The header of a session. In a request it has the state that the client has seen. In a response
/// it has that state joined with the shown one.
pub(crate) const COUNTER_TOKEN: HeaderName = HeaderName::from_static("counter-token");

/// The longest token, in characters. It has room for about 300 writers, and takes at most half of a
/// request's head.
const TOKEN_CHARACTERS_MAX: usize = 8_000;

/// How long a read waits for this node to catch up with the client.
const CATCH_UP_WAIT: Duration = Duration::from_secs(1);

/// Reads the client's token. An empty header starts a session. `None` without the header, because
/// the client then wants no session.
///
/// # Errors
///
/// If the header is not a token, or is too long.
pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Token>, ApiError> {
    let Some(given) = headers.get(COUNTER_TOKEN) else { return Ok(None) };
    let text = given.to_str().ok().map(str::trim).filter(|text| text.len() <= TOKEN_CHARACTERS_MAX);
    match text {
        Some("") => Ok(Some(Token::default())),
        Some(text) => text.parse().map(Some).map_err(|_| ApiError::bad_token()),
        None => Err(ApiError::bad_token()),
    }
}

/// Waits until this node holds the state that the client has seen.
///
/// # Errors
///
/// 503 if that takes longer than a second, or the node is stopping.
pub(crate) async fn catch_up(app: &App, seen: &Token) -> Result<(), ApiError> {
    app.node.reach(seen, CATCH_UP_WAIT).await.map_err(|error| match error {
        NotReached::Stopped => ApiError::stopping(),
        error => ApiError::behind(error.to_string()),
    })
}

/// Adds the token for the next request to a response: the state that the client had seen, joined
/// with the counter `name` in this response. Adds none if the client has no session, or if the
/// token would be too long to send back. The client then keeps its old token.
pub(crate) fn attach_token(
    app: &App,
    seen: Option<Token>,
    name: &str,
    response: &mut Response<Bytes>,
) {
    let Some(mut token) = seen else { return };
    token.join(&app.node.token_of(name));
    let text = token.to_string();
    if text.len() <= TOKEN_CHARACTERS_MAX
        && let Ok(value) = HeaderValue::from_str(&text)
    {
        response.headers_mut().insert(COUNTER_TOKEN, value);
    }
}
