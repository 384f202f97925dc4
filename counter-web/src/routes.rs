//! The addresses of the front: which path and method goes to which handler, and what is read and judged before it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use hyper::upgrade::OnUpgrade;
use warp::http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};
use warp::http::{Method, StatusCode};
use warp::reply::{Reply, Response};
use warp::{Filter, Rejection};

use crate::answer::Answer;
use crate::app::App;
use crate::assets;
use crate::code::Code;
use crate::events;
use crate::handlers;
use crate::handshake;
use crate::model::{add_id, form_value, read_name};
use crate::peer::Peer;
use crate::rejection::{ApiError, recover};
use crate::socket;

/// The longest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 4 * 1024;

/// What of a body that is too long is read and thrown away, so that its sender gets to read the answer. One that announces more is answered at once.
const BODY_BYTES_DRAINED: usize = 64 * 1024 * 1024;

/// A body must be there after this.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// Everything that the front answers. Never rejects.
pub(crate) fn routes(app: Arc<App>) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    page(&app)
        .or(socket(&app))
        .unify()
        .or(counters(&app))
        .unify()
        .or(operations(&app))
        .unify()
        .or(assets())
        .unify()
        .recover(recover)
        .map(|reply| secured(Reply::into_response(reply)))
}

fn page(app: &Arc<App>) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    let show = warp::path::end()
        .and(only(Method::GET, "GET, HEAD, POST"))
        .and(with(app))
        .then(async |app| respond(handlers::show_page(app).await));
    let add = warp::path::end()
        .and(only(Method::POST, "GET, HEAD, POST"))
        .and(with(app))
        .and(peer(app))
        .and(body("application/x-www-form-urlencoded"))
        .then(|app: Arc<App>, peer: Peer, _headers, body: Result<Bytes, ApiError>| async move {
            respond(match body {
                Ok(body) => handlers::add_by_form(&app, &peer, &body).await,
                Err(error) => Err(error),
            })
        });
    let switch = warp::path("partition")
        .and(warp::path::end())
        .and(only(Method::POST, "POST"))
        .and(with(app))
        .and(peer(app))
        .and(body("application/x-www-form-urlencoded"))
        .map(|app: Arc<App>, peer: Peer, _headers, body: Result<Bytes, ApiError>| {
            respond(body.and_then(|body| handlers::switch_partition(&app, &peer, &body)))
        });
    show.or(add).unify().or(switch).unify()
}

fn counters(app: &Arc<App>) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    let base = warp::path("api").and(warp::path("counters")).and(warp::path::param::<String>());
    let show = base
        .and(warp::path::end())
        .and(only(Method::GET, "GET, HEAD"))
        .and(own_origin())
        .and(with(app))
        .and(warp::header::headers_cloned())
        .then(async |name: String, app: Arc<App>, headers: HeaderMap| respond(handlers::show_counter(&app, &name, &headers).await));
    let add = base
        .and(warp::path("add"))
        .and(warp::path::end())
        .and(only(Method::POST, "POST"))
        .and(with(app))
        .and(peer(app))
        .and(body("application/json"))
        .then(|name: String, app: Arc<App>, peer: Peer, headers: HeaderMap, body: Result<Bytes, ApiError>| async move {
            respond(match body {
                Ok(body) => handlers::add_by_api(&app, &peer, &name, &headers, &body).await,
                Err(error) => Err(error),
            })
        });
    let events = base
        .and(warp::path("events"))
        .and(warp::path::end())
        .and(only(Method::GET, "GET, HEAD"))
        .and(own_origin())
        .and(with(app))
        .and(peer(app))
        .map(|name: String, app: Arc<App>, peer: Peer| match open_events(&app, peer, &name) {
            Ok(events) => events,
            Err(error) => respond(Err(error)),
        });
    show.or(add).unify().or(events).unify()
}

fn socket(app: &Arc<App>) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    warp::path("ws")
        .and(warp::path::end())
        .and(only(Method::GET, "GET"))
        .and(with(app))
        .and(peer(app))
        .and(warp::header::headers_cloned())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::ext::optional::<OnUpgrade>())
        .map(|app: Arc<App>, peer: Peer, headers: HeaderMap, query: String, upgrade| {
            respond(open_socket(app, peer, &headers, &query, upgrade))
        })
}

fn operations(app: &Arc<App>) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    let get = |filter: warp::filters::BoxedFilter<()>, handler: fn(&App) -> Answer| {
        filter
            .and(warp::path::end())
            .and(only(Method::GET, "GET, HEAD"))
            .and(own_origin())
            .and(with(app))
            .map(move |app: Arc<App>| respond(handler(&app)))
    };
    get(warp::path("api").and(warp::path("status")).boxed(), handlers::show_status)
        .or(get(warp::path("api").and(warp::path("openapi.json")).boxed(), |_| handlers::show_openapi()))
        .unify()
        .or(get(warp::path("healthz").boxed(), |_| handlers::show_health()))
        .unify()
        .or(get(warp::path("readyz").boxed(), handlers::show_readiness))
        .unify()
        .or(get(warp::path("metrics").boxed(), handlers::show_metrics))
        .unify()
}

fn assets() -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    warp::path("assets")
        .and(warp::path::param::<String>())
        .and(warp::path::param::<String>())
        .and(warp::path::end())
        .and(only(Method::GET, "GET, HEAD"))
        .and(warp::header::headers_cloned())
        .map(|version: String, name: String, headers: HeaderMap| respond(assets::answer(&version, &name, &headers)))
}

fn open_socket(app: Arc<App>, peer: Peer, headers: &HeaderMap, query: &str, upgrade: Option<OnUpgrade>) -> Answer {
    let answer = handshake::answer(headers)?;
    handshake::check_origin(headers)?;
    if app.stop.is_said() {
        return Err(ApiError::stopping());
    }
    let counter = match form_value(query, "counter") {
        Some(name) => read_checked(name)?,
        None => app.counter.clone(),
    };
    let page = match form_value(query, "page") {
        Some(id) => Some(id.map_err(|()| ApiError::bad_id()).and_then(|id| add_id(&id).map(|()| id))?),
        None => None,
    };
    let upgrade =
        upgrade.ok_or_else(|| ApiError::bad_request(Code::NotAWebSocket, "this connection cannot change its protocol: use HTTP/1.1"))?;
    let peer = peer.stream(&app.limits)?;
    tokio::spawn(async move {
        if let Some((stream, early)) = handshake::stream(upgrade).await {
            let watching = app.viewers.arrive(&app.node, page);
            socket::serve(app, peer, watching, counter, stream, early).await;
        }
    });
    Ok(answer)
}

fn open_events(app: &Arc<App>, peer: Peer, name: &str) -> Result<Response, ApiError> {
    let name = read_name(name)?;
    if app.stop.is_said() {
        return Err(ApiError::stopping());
    }
    let events = events::follow(app, peer.stream(&app.limits)?, &name);
    Ok(warp::sse::reply(warp::sse::keep_alive().interval(events::KEEP_ALIVE).stream(events)).into_response())
}

fn read_checked(name: Result<String, ()>) -> Result<String, ApiError> {
    let name = name.map_err(|()| ApiError::bad_name())?;
    crate::model::check_name(&name).map(|()| name)
}

fn with(app: &Arc<App>) -> impl Filter<Extract = (Arc<App>,), Error = Infallible> + Clone + use<> {
    let app = Arc::clone(app);
    warp::any().map(move || Arc::clone(&app))
}

/// Lets the method through, and refuses the others with 405 and what is allowed here.
fn only(method: Method, allow: &'static str) -> impl Filter<Extract = (), Error = Rejection> + Clone {
    warp::method()
        .and_then(move |asked: Method| {
            let judged = if asked == method { Ok(()) } else { Err(warp::reject::custom(ApiError::wrong_method(allow))) };
            std::future::ready(judged)
        })
        .untuple_one()
}

/// Refuses what a script of another site asks for. The page itself and its files are open to links and previews, which may name any origin.
fn own_origin() -> impl Filter<Extract = (), Error = Rejection> + Clone {
    warp::header::headers_cloned()
        .and_then(|headers: HeaderMap| std::future::ready(handshake::check_origin(&headers).map_err(warp::reject::custom)))
        .untuple_one()
}

/// The far end of the connection, or the client that a trusted proxy speaks for.
fn peer(app: &Arc<App>) -> impl Filter<Extract = (Peer,), Error = Rejection> + Clone + use<> {
    let trust_proxy = app.trust_proxy;
    warp::ext::get::<Peer>()
        .and(warp::header::headers_cloned())
        .map(move |peer: Peer, headers: HeaderMap| if trust_proxy { peer.behind_proxy(&headers) } else { peer })
}

/// The headers and the whole body of a POST, or why it is refused.
fn body(content_type: &'static str) -> impl Filter<Extract = (HeaderMap, Result<Bytes, ApiError>), Error = Rejection> + Clone {
    warp::header::headers_cloned()
        .and(warp::body::stream())
        .then(async move |headers: HeaderMap, body| {
            let read = if announces_too_much(&headers) {
                Err(ApiError::too_large(BODY_BYTES_MAX))
            } else {
                let late = || ApiError::bad_request(Code::BadBody, format!("the body was not there within {} s", BODY_TIMEOUT.as_secs()));
                tokio::time::timeout(BODY_TIMEOUT, read_body(body)).await.unwrap_or_else(|_| Err(late()))
            };
            let judged = check_type(&headers, content_type).and_then(|()| handshake::check_origin(&headers)).and(read);
            (headers, judged)
        })
        .untuple_one()
}

/// Whether reading the body that is announced would take longer than its sender's answer is worth.
fn announces_too_much(headers: &HeaderMap) -> bool {
    let length = headers.get("content-length").and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length > BODY_BYTES_DRAINED as u64)
}

/// A body without a type is taken for the expected one; one of another type is refused.
fn check_type(headers: &HeaderMap, expected: &str) -> Result<(), ApiError> {
    let Some(given) = headers.get("content-type") else { return Ok(()) };
    let essence = given.to_str().ok().and_then(|given| given.split(';').next()).unwrap_or_default();
    if essence.trim().eq_ignore_ascii_case(expected) { Ok(()) } else { Err(ApiError::wrong_type(expected)) }
}

async fn read_body(body: impl Stream<Item = Result<impl Buf, warp::Error>>) -> Result<Bytes, ApiError> {
    let mut body = std::pin::pin!(body);
    let (mut kept, mut read) = (Vec::new(), 0);
    while let Some(piece) = body.next().await {
        let mut piece = piece.map_err(|_| ApiError::bad_request(Code::BadBody, "the body broke off"))?;
        read += piece.remaining();
        while read <= BODY_BYTES_MAX && piece.has_remaining() {
            let chunk = piece.chunk();
            kept.extend_from_slice(chunk);
            piece.advance(chunk.len());
        }
        if read > BODY_BYTES_DRAINED {
            break;
        }
    }
    if read > BODY_BYTES_MAX { Err(ApiError::too_large(BODY_BYTES_MAX)) } else { Ok(kept.into()) }
}

fn respond(answer: Answer) -> Response {
    answer.unwrap_or_else(ApiError::into_response).into_response()
}

const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Headers of every answer. Nothing is cached unless it says otherwise itself.
pub(crate) fn secured(mut response: Response) -> Response {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    let headers = response.headers_mut();
    for (name, value) in [
        ("content-security-policy", CONTENT_POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        // Not no-referrer: browsers would then send the page's own forms with `Origin: null`.
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
