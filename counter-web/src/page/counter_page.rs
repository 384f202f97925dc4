//! `GET /` and `GET /c/{name}`: the page of a counter.

use std::time::Duration;

use warp::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue};

use crate::access::Caller;
use crate::api::error::ApiError;
use crate::api::fields::read_name;
use crate::api::response::{ApiResult, typed};
use crate::app::App;
use crate::page::policy::content_policy;
use crate::page::render::render;

/// How long the page waits for this node to be ready.
const READY_WAIT: Duration = Duration::from_secs(5);

/// `GET /` and `GET /c/{name}`: the page of a counter, by default that of `--counter`.
///
/// # Errors
///
/// 404 if the counter does not exist and the caller may not make it.
pub(crate) async fn show_page(app: &App, caller: &Caller, name: Option<&str>) -> ApiResult {
    // A node that has not caught up in time serves the numbers it has, and the page says so.
    let _ready = tokio::time::timeout(READY_WAIT, app.node.ready()).await;
    let named = name.map(read_name).transpose()?;
    if let Some(name) = &named
        && !app.node.exists(name)
        && !caller.may_create(name)
    {
        return Err(ApiError::no_counter());
    }
    let html = match &named {
        Some(name) => render(app, name, "../"),
        None => render(app, &app.counter, ""),
    };
    let mut page = typed("text/html; charset=utf-8", html);
    // Not no-store, which keeps a page out of the back-forward cache.
    page.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if let Some(policy) = content_policy(app) {
        page.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    Ok(page)
}
