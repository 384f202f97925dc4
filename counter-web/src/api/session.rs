//! Sessions over HTTP: a client carries what it has seen in a header from node to node, so that
//! none shows it less.

use std::time::Duration;

use bytes::Bytes;
use counter_net::{NotReached, Token};
use warp::http::Response;
use warp::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::api::error::ApiError;
use crate::app::App;

/// In requests what the client has seen, in answers that and what they show.
pub(crate) const COUNTER_TOKEN: HeaderName = HeaderName::from_static("counter-token");

/// The longest token that is read or given, in characters: about 300 writers. Half of what a
/// request's head may have.
const TOKEN_CHARACTERS_MAX: usize = 8_000;

/// How long a read waits for this node to catch up with the client.
const CATCH_UP_WAIT: Duration = Duration::from_secs(1);

/// What the client has seen: nothing yet where the header is empty, and `None` where there is none,
/// and it wants no token.
///
/// # Errors
///
/// A header that is no token, or too long.
pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Token>, ApiError> {
    let Some(given) = headers.get(COUNTER_TOKEN) else { return Ok(None) };
    let text = given.to_str().ok().map(str::trim).filter(|text| text.len() <= TOKEN_CHARACTERS_MAX);
    match text {
        Some("") => Ok(Some(Token::default())),
        Some(text) => text.parse().map(Some).map_err(|_| ApiError::bad_token()),
        None => Err(ApiError::bad_token()),
    }
}

/// Waits until this node holds what the client has seen.
///
/// # Errors
///
/// 503 where it does not within a second, or cannot wait.
pub(crate) async fn catch_up(app: &App, seen: &Token) -> Result<(), ApiError> {
    app.node.reach(seen, CATCH_UP_WAIT).await.map_err(|error| match error {
        NotReached::Stopped => ApiError::stopping(),
        error => ApiError::behind(error.to_string()),
    })
}

/// Gives the client a token for what it had seen and what the answer shows of a counter. None where
/// it asked for none, or where that would be longer than it could send back: then it keeps the one
/// it has.
pub(crate) fn give(app: &App, seen: Option<Token>, name: &str, answer: &mut Response<Bytes>) {
    let Some(mut token) = seen else { return };
    token.join(&app.node.token_of(name));
    let text = token.to_string();
    if text.len() <= TOKEN_CHARACTERS_MAX
        && let Ok(value) = HeaderValue::from_str(&text)
    {
        answer.headers_mut().insert(COUNTER_TOKEN, value);
    }
}
