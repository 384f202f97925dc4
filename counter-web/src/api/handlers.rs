//! The handlers of the page, a counter's state, the partition switch, and the addresses for
//! operators. Adds are in `adds`, resets in `clearing`, `/api/status` is in `status`.

use std::time::Duration;

use counter_net::MetricsFormat;
use warp::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderValue, VARY,
};

use crate::access::Caller;
use crate::api::code::Code;
use crate::api::error::ApiError;
use crate::api::fields::{form_value, read_name};
use crate::api::json::CounterJson;
use crate::api::response::{ApiResult, json, see_other, typed};
use crate::api::session;
use crate::app::App;
use crate::{metrics, page};

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
        Some(name) => page::render(app, name, "../"),
        None => page::render(app, &app.counter, ""),
    };
    let mut page = typed("text/html; charset=utf-8", html);
    // Not no-store, which keeps a page out of the back-forward cache.
    page.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if let Some(policy) = page::content_policy(app) {
        page.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    Ok(page)
}

/// `GET /api/counters/{name}`.
pub(crate) async fn show_counter(app: &App, name: &str, headers: &HeaderMap) -> ApiResult {
    let name = read_name(name)?;
    let seen = session::read(headers)?;
    if let Some(seen) = &seen {
        session::catch_up(app, seen).await?;
    }
    let mut response = json(&CounterJson::from(&app.node.view(&name)));
    session::attach_token(app, seen, &name, &mut response);
    Ok(response)
}

/// `POST /partition`, the page's switch: cuts this node off from all others (`cut=1`), or heals
/// (`cut=0`).
pub(crate) fn switch_partition(app: &App, caller: &Caller, body: &[u8]) -> ApiResult {
    if !app.partition_switch {
        return Err(ApiError::no_switch());
    }
    caller.take_add(&app.limits)?;
    let isolated = match std::str::from_utf8(body).ok().and_then(|form| form_value(form, "cut")) {
        Some(Ok(cut)) if cut == "1" => true,
        Some(Ok(cut)) if cut == "0" => false,
        _ => {
            return Err(ApiError::bad_request(
                Code::BadForm,
                "the form says neither cut=1, to cut this node off, nor cut=0, to heal",
            ));
        }
    };
    app.node.set_isolated(isolated);
    Ok(see_other(""))
}

/// `GET /api/openapi.json`: the API for programs.
pub(crate) fn show_openapi() -> ApiResult {
    Ok(typed(
        "application/json",
        include_str!("../../assets/openapi.json").replacen("VERSION", env!("CARGO_PKG_VERSION"), 1),
    ))
}

/// `GET /healthz`: 200 while this process runs.
pub(crate) fn show_health() -> ApiResult {
    Ok(typed("text/plain; charset=utf-8", "ok\n".to_owned()))
}

/// `GET /readyz`: 200 if this node may serve and is not stopping.
pub(crate) fn show_readiness(app: &App) -> ApiResult {
    if app.stop.is_stopping() {
        return Err(ApiError::stopping());
    }
    app.node.readiness().map_err(|why| ApiError::not_ready(why.to_string()))?;
    Ok(typed("text/plain; charset=utf-8", "ready\n".to_owned()))
}

/// `GET /metrics`.
pub(crate) fn show_metrics(app: &App, headers: &HeaderMap) -> ApiResult {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = MetricsFormat::negotiate(accept);
    let mut answer = typed(format.content_type(), metrics::text(app, format));
    answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    Ok(answer)
}
