//! Opens a client's stream: checks the request, counts the viewer, and starts the socket or the
//! events.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use warp::http::header::{HeaderMap, HeaderName, HeaderValue};
use warp::reply::{Reply, Response};

use crate::access::Caller;
use crate::api::error::ApiError;
use crate::api::fields::{check_id, check_name, form_value, read_name};
use crate::api::response::ApiResult;
use crate::app::App;
use crate::ws::wire::handshake;
use crate::ws::{events, socket};

/// `GET /ws`: answers the handshake, and serves the socket in a task of its own.
///
/// # Errors
///
/// If the headers or the query are wrong, the node is stopping, or the client has no connection
/// left.
pub(crate) fn open_socket(
    app: Arc<App>,
    caller: Caller,
    headers: HeaderMap,
    query: &str,
    upgrade: Option<OnUpgrade>,
) -> ApiResult {
    let response = handshake::respond(headers)?;
    caller.check_token()?;
    if app.stop.is_stopping() {
        return Err(ApiError::stopping());
    }
    let counter = match form_value(query, "counter") {
        Some(name) => checked_name(name)?,
        None => app.counter.clone(),
    };
    let page = page_id(query)?;
    let upgrade = upgrade.ok_or_else(ApiError::not_a_websocket)?;
    let caller = caller.stream(&app.limits)?;
    tokio::spawn(async move {
        if let Some((stream, early)) = handshake::stream(upgrade).await {
            let viewer = app.viewers.arrive(&app.node, page);
            socket::serve(app, caller, viewer, counter, stream, early).await;
        }
    });
    Ok(response)
}

/// `GET /api/counters/{name}/events`: the counter's state and changes as server-sent events.
///
/// # Errors
///
/// If the name or the query is wrong, the node is stopping, or the client has no connection left.
pub(crate) fn open_events(
    app: &Arc<App>,
    caller: Caller,
    name: &str,
    query: &str,
) -> Result<Response, ApiError> {
    let name = read_name(name)?;
    if app.stop.is_stopping() {
        return Err(ApiError::stopping());
    }
    let (page, caller) = (page_id(query)?, caller.stream(&app.limits)?);
    let viewer = app.viewers.arrive(&app.node, page);
    let events = events::follow(app, caller, viewer, &name);
    let mut response =
        warp::sse::reply(warp::sse::keep_alive().interval(events::KEEP_ALIVE).stream(events))
            .into_response();
    // nginx would otherwise buffer the events.
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// The id that a page makes up, so that all of its connections count as one viewer.
fn page_id(query: &str) -> Result<Option<String>, ApiError> {
    let id = form_value(query, "page").transpose().map_err(|()| ApiError::bad_id())?;
    id.map(|id| check_id(&id).map(|()| id)).transpose()
}

/// The counter's name in a query.
fn checked_name(name: Result<String, ()>) -> Result<String, ApiError> {
    let name = name.map_err(|()| ApiError::bad_name())?;
    check_name(&name).map(|()| name)
}
