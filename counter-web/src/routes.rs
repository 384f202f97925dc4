//! The addresses of the front: which path and method goes to which handler, and what is read and
//! judged before it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use hyper::upgrade::OnUpgrade;
use warp::http::header::{HeaderMap, HeaderName, HeaderValue};
use warp::http::{Method, StatusCode};
use warp::reply::{Reply, Response};
use warp::{Filter, Rejection};

use crate::access::cors::Sharing;
use crate::access::origin::Site;
use crate::access::{Caller, cors};
use crate::answer::Answer;
use crate::app::App;
use crate::assets;
use crate::badge;
use crate::code::Code;
use crate::events;
use crate::handlers;
use crate::handshake;
use crate::model::{add_id, form_value, read_name};
use crate::rejection::{ApiError, recover};
use crate::socket;

/// The longest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 4 * 1024;

/// What of a body that is too long is read and thrown away, so that its sender gets to read the
/// answer. One that announces more is answered at once.
const BODY_BYTES_DRAINED: usize = 64 * 1024 * 1024;

/// A body must be there after this.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// Everything that the front answers. Never rejects.
pub(crate) fn routes(
    app: Arc<App>,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    page(&app)
        .or(socket(&app))
        .unify()
        .or(counters(&app))
        .unify()
        .or(operations(&app))
        .unify()
        .or(badge(&app))
        .unify()
        .or(assets())
        .unify()
        .recover(recover)
        .map(Reply::into_response)
}

fn page(app: &Arc<App>) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    const METHODS: &str = "GET, HEAD, POST";
    const FORM: &str = "application/x-www-form-urlencoded";
    let first = warp::path::end().map(|| None);
    let of_counter =
        warp::path("c").and(warp::path::param::<String>()).and(warp::path::end()).map(Some);
    let base = first.or(of_counter).unify();
    let show = base.and(only(Method::GET, METHODS)).and(with(app)).and(caller()).then(
        async |name: Option<String>, app: Arc<App>, caller: Caller| {
            respond(handlers::show_page(&app, &caller, name.as_deref()).await)
        },
    );
    let add = base
        .and(only(Method::POST, METHODS))
        .and(with(app))
        .and(caller())
        .and(body(FORM, Caller::check_site))
        .then(
            |name: Option<String>,
             app: Arc<App>,
             caller: Caller,
             _headers,
             body: Result<Bytes, ApiError>| async move {
                respond(match body {
                    Ok(body) => handlers::add_by_form(&app, &caller, name.as_deref(), &body).await,
                    Err(error) => Err(error),
                })
            },
        );
    let switch = warp::path("partition")
        .and(warp::path::end())
        .and(only(Method::POST, "POST"))
        .and(with(app))
        .and(caller())
        .and(body(FORM, Caller::check_own_site))
        .map(|app: Arc<App>, caller: Caller, _headers, body: Result<Bytes, ApiError>| {
            respond(body.and_then(|body| handlers::switch_partition(&app, &caller, &body)))
        });
    show.or(add).unify().or(switch).unify()
}

fn counters(
    app: &Arc<App>,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    let base = warp::path("api").and(warp::path("counters")).and(warp::path::param::<String>());
    let show = base
        .and(warp::path::end())
        .and(only(Method::GET, "GET, HEAD"))
        .and(judged(Caller::check_site))
        .and(with(app))
        .and(warp::header::headers_cloned())
        .then(async |name: String, app: Arc<App>, headers: HeaderMap| {
            respond(handlers::show_counter(&app, &name, &headers).await)
        });
    let add = base
        .and(warp::path("add"))
        .and(warp::path::end())
        .and(only(Method::POST, "POST"))
        .and(with(app))
        .and(caller())
        .and(body("application/json", Caller::check_site))
        .then(
            |name: String,
             app: Arc<App>,
             caller: Caller,
             headers: HeaderMap,
             body: Result<Bytes, ApiError>| async move {
                respond(match body {
                    Ok(body) => handlers::add_by_api(&app, &caller, &name, &headers, &body).await,
                    Err(error) => Err(error),
                })
            },
        );
    let events = base
        .and(warp::path("events"))
        .and(warp::path::end())
        .and(only(Method::GET, "GET, HEAD"))
        .and(judged(Caller::check_site))
        .and(with(app))
        .and(caller())
        .and(query())
        .map(|name: String, app: Arc<App>, caller: Caller, query: String| {
            open_events(&app, caller, &name, &query).unwrap_or_else(|error| respond(Err(error)))
        });
    let reset = base
        .and(warp::path("reset"))
        .and(warp::path::end())
        .and(only(Method::POST, "POST"))
        .and(with(app))
        .and(caller())
        .and(body("application/json", Caller::check_own_site))
        .then(
            |name: String,
             app: Arc<App>,
             caller: Caller,
             _headers,
             body: Result<Bytes, ApiError>| async move {
                respond(match body {
                    Ok(_ignored) => handlers::reset(&app, &caller, &name).await,
                    Err(error) => Err(error),
                })
            },
        );
    show.or(add).unify().or(events).unify().or(reset).unify()
}

fn socket(app: &Arc<App>) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    warp::path("ws")
        .and(warp::path::end())
        .and(only(Method::GET, "GET"))
        .and(judged(Caller::check_site))
        .and(with(app))
        .and(caller())
        .and(warp::header::headers_cloned())
        .and(query())
        .and(warp::ext::optional::<OnUpgrade>())
        .map(|app: Arc<App>, caller: Caller, headers: HeaderMap, query: String, upgrade| {
            respond(open_socket(app, caller, &headers, &query, upgrade))
        })
}

fn operations(
    app: &Arc<App>,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    let get = |filter: warp::filters::BoxedFilter<()>, handler: fn(&App) -> Answer| {
        filter
            .and(warp::path::end())
            .and(only(Method::GET, "GET, HEAD"))
            .and(judged(Caller::check_own_site))
            .and(with(app))
            .map(move |app: Arc<App>| respond(handler(&app)))
    };
    get(warp::path("api").and(warp::path("status")).boxed(), handlers::show_status)
        .or(get(warp::path("api").and(warp::path("openapi.json")).boxed(), |_| {
            handlers::show_openapi()
        }))
        .unify()
        .or(get(warp::path("healthz").boxed(), |_| handlers::show_health()))
        .unify()
        .or(get(warp::path("readyz").boxed(), handlers::show_readiness))
        .unify()
        .or(warp::path("metrics")
            .and(warp::path::end())
            .and(only(Method::GET, "GET, HEAD"))
            .and(judged(Caller::check_own_site))
            .and(warp::header::headers_cloned())
            .and(with(app))
            .map(|headers: HeaderMap, app: Arc<App>| {
                respond(handlers::show_metrics(&app, &headers))
            }))
        .unify()
}

fn badge(app: &Arc<App>) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    warp::path("badge")
        .and(warp::path::param::<String>())
        .and(warp::path::end())
        .and(only(Method::GET, "GET, HEAD"))
        .and(with(app))
        .map(|file: String, app: Arc<App>| respond(badge::answer(&app, &file)))
}

fn assets() -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    warp::path("assets")
        .and(warp::path::param::<String>())
        .and(warp::path::param::<String>())
        .and(warp::path::end())
        .and(only(Method::GET, "GET, HEAD"))
        .and(warp::header::headers_cloned())
        .map(|version: String, name: String, headers: HeaderMap| {
            respond(assets::answer(&version, &name, &headers))
        })
}

/// Answers OPTIONS at an address that other sites may use: the preflight of a browser, and the
/// page's question why its socket does not open.
///
/// # Errors
///
/// What would be refused.
pub(crate) fn answer_options(app: &App, caller: Caller, path: &str) -> Answer {
    if Sharing::of(path) == Sharing::Listed {
        caller.check_site()?;
    }
    if path == "/ws" {
        if app.stop.is_said() {
            return Err(ApiError::stopping());
        }
        let _place = caller.peer.clone().stream(&app.limits)?;
    }
    let mut response = warp::http::Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if !matches!(caller.site(), Site::Own) {
        cors::allow(response.headers_mut());
    }
    Ok(response)
}

fn open_socket(
    app: Arc<App>,
    caller: Caller,
    headers: &HeaderMap,
    query: &str,
    upgrade: Option<OnUpgrade>,
) -> Answer {
    let answer = handshake::answer(headers)?;
    caller.check_token()?;
    if app.stop.is_said() {
        return Err(ApiError::stopping());
    }
    let counter = match form_value(query, "counter") {
        Some(name) => read_checked(name)?,
        None => app.counter.clone(),
    };
    let page = page_id(query)?;
    let upgrade = upgrade.ok_or_else(|| {
        ApiError::bad_request(
            Code::NotAWebSocket,
            "this connection cannot change its protocol: use HTTP/1.1",
        )
    })?;
    let caller = caller.stream(&app.limits)?;
    tokio::spawn(async move {
        if let Some((stream, early)) = handshake::stream(upgrade).await {
            let watching = app.viewers.arrive(&app.node, page);
            socket::serve(app, caller, watching, counter, stream, early).await;
        }
    });
    Ok(answer)
}

fn open_events(
    app: &Arc<App>,
    caller: Caller,
    name: &str,
    query: &str,
) -> Result<Response, ApiError> {
    let name = read_name(name)?;
    if app.stop.is_said() {
        return Err(ApiError::stopping());
    }
    let (page, caller) = (page_id(query)?, caller.stream(&app.limits)?);
    let watching = app.viewers.arrive(&app.node, page);
    let events = events::follow(app, caller, watching, &name);
    let mut response =
        warp::sse::reply(warp::sse::keep_alive().interval(events::KEEP_ALIVE).stream(events))
            .into_response();
    // nginx would hold events back until its buffer is full.
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// The id that a page gives itself, so that it is one viewer over all of its connections.
fn page_id(query: &str) -> Result<Option<String>, ApiError> {
    let id = form_value(query, "page").transpose().map_err(|()| ApiError::bad_id())?;
    id.map(|id| add_id(&id).map(|()| id)).transpose()
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
fn only(
    method: Method,
    allow: &'static str,
) -> impl Filter<Extract = (), Error = Rejection> + Clone {
    warp::method()
        .and_then(move |asked: Method| {
            let judged = if asked == method {
                Ok(())
            } else {
                Err(warp::reject::custom(ApiError::wrong_method(allow)))
            };
            std::future::ready(judged)
        })
        .untuple_one()
}

/// Lets the request through where its caller passes this check.
fn judged(
    check: fn(&Caller) -> Result<(), ApiError>,
) -> impl Filter<Extract = (), Error = Rejection> + Clone {
    caller()
        .and_then(move |caller: Caller| {
            std::future::ready(check(&caller).map_err(warp::reject::custom))
        })
        .untuple_one()
}

/// Who sent the request. The server has judged that before.
fn caller() -> impl Filter<Extract = (Caller,), Error = Rejection> + Clone {
    warp::ext::get::<Caller>()
}

fn query() -> impl Filter<Extract = (String,), Error = Infallible> + Clone {
    warp::query::raw().or(warp::any().map(String::new)).unify()
}

/// The headers and the whole body of a POST, or why it is refused.
fn body(
    content_type: &'static str,
    check: fn(&Caller) -> Result<(), ApiError>,
) -> impl Filter<Extract = (HeaderMap, Result<Bytes, ApiError>), Error = Rejection> + Clone {
    caller()
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |caller: Caller, headers: HeaderMap, body| {
            let judged = check_type(&headers, content_type).and_then(|()| check(&caller));
            async move {
                let read = if announces_too_much(&headers) {
                    Err(ApiError::too_large(BODY_BYTES_MAX))
                } else {
                    read_in_time(body).await
                };
                (headers, judged.and(read))
            }
        })
        .untuple_one()
}

async fn read_in_time(
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Result<Bytes, ApiError> {
    let late = || {
        ApiError::bad_request(
            Code::BadBody,
            format!("the body was not there within {} s", BODY_TIMEOUT.as_secs()),
        )
    };
    tokio::time::timeout(BODY_TIMEOUT, read_body(body)).await.unwrap_or_else(|_| Err(late()))
}

/// Whether reading the body that is announced would take longer than its sender's answer is worth.
fn announces_too_much(headers: &HeaderMap) -> bool {
    let length =
        headers.get("content-length").and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length > BODY_BYTES_DRAINED as u64)
}

/// A body without a type is taken for the expected one; one of another type is refused.
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
) -> Result<Bytes, ApiError> {
    let mut body = std::pin::pin!(body);
    let (mut kept, mut read) = (Vec::new(), 0);
    while let Some(piece) = body.next().await {
        let mut piece =
            piece.map_err(|_| ApiError::bad_request(Code::BadBody, "the body broke off"))?;
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
