//! The routes. Each combines a path and a method with its checks and its handler. An address that
//! pages of other sites may use is also listed in `access/cors.rs`.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use warp::http::header::HeaderMap;
use warp::http::{Method, StatusCode};
use warp::reply::{Reply, Response};
use warp::{Filter, Rejection};

use crate::access::cors::Sharing;
use crate::access::origin::Site;
use crate::access::{Caller, cors};
use crate::api::counters::{adds, batch, clearing, limit_check, listing, state};
use crate::api::error::{ApiError, recover};
use crate::api::node::{health, status};
use crate::api::openapi;
use crate::api::response::ApiResult;
use crate::app::App;
use crate::metrics;
use crate::page::{assets, badge, counter_page, partition};
use crate::server::body::{BATCH_BYTES_MAX, BODY_BYTES_MAX, body, caller};
use crate::ws::open;

/// All routes. Never rejects a request.
pub(crate) fn routes(
    app: Arc<App>,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    page(&app)
        .or(socket(&app))
        .unify()
        .or(counters(&app))
        .unify()
        .or(batches(&app))
        .unify()
        .or(limit_checks(&app))
        .unify()
        .or(operations(&app))
        .unify()
        .or(badge(&app))
        .unify()
        .or(assets())
        .unify()
        .or(library())
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
    let show = base
        .and(only_method(Method::GET, METHODS))
        .and(checked(Caller::check_site))
        .and(with_app(app))
        .and(caller())
        .then(async |name: Option<String>, app: Arc<App>, caller: Caller| {
            respond(counter_page::show_page(&app, &caller, name.as_deref()).await)
        });
    let add = base
        .and(only_method(Method::POST, METHODS))
        .and(with_app(app))
        .and(caller())
        .and(body(FORM, BODY_BYTES_MAX, Caller::check_site))
        .then(
            |name: Option<String>,
             app: Arc<App>,
             caller: Caller,
             _headers,
             body: Result<Bytes, ApiError>| async move {
                respond(match body {
                    Ok(body) => adds::add_by_form(&app, &caller, name.as_deref(), &body).await,
                    Err(error) => Err(error),
                })
            },
        );
    let switch = warp::path("partition")
        .and(warp::path::end())
        .and(only_method(Method::POST, "POST"))
        .and(with_app(app))
        .and(caller())
        .and(body(FORM, BODY_BYTES_MAX, Caller::check_own_site))
        .map(|app: Arc<App>, caller: Caller, _headers, body: Result<Bytes, ApiError>| {
            respond(body.and_then(|body| partition::switch_partition(&app, &caller, &body)))
        });
    // The last rejection is answered, and that of `show` may name the true cause.
    add.or(show).unify().or(switch).unify()
}

fn counters(
    app: &Arc<App>,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    const COUNTER_METHODS: &str = "GET, HEAD, DELETE";
    let all = warp::path("api").and(warp::path("counters"));
    let list = all
        .and(warp::path::end())
        .and(only_method(Method::GET, "GET, HEAD"))
        .and(checked(Caller::check_own_site))
        .and(with_app(app))
        .and(caller())
        .and(query())
        .then(async |app: Arc<App>, caller: Caller, query: String| {
            respond(listing::list_counters(&app, &caller, &query).await)
        });
    let base = all.and(warp::path::param::<String>());
    let show = base
        .and(warp::path::end())
        .and(only_method(Method::GET, COUNTER_METHODS))
        .and(checked(Caller::check_site))
        .and(with_app(app))
        .and(warp::header::headers_cloned())
        .then(async |name: String, app: Arc<App>, headers: HeaderMap| {
            respond(state::show_counter(&app, &name, &headers).await)
        });
    let add = base
        .and(warp::path("add"))
        .and(warp::path::end())
        .and(only_method(Method::POST, "POST"))
        .and(with_app(app))
        .and(caller())
        .and(body("application/json", BODY_BYTES_MAX, Caller::check_site))
        .then(
            |name: String,
             app: Arc<App>,
             caller: Caller,
             headers: HeaderMap,
             body: Result<Bytes, ApiError>| async move {
                respond(match body {
                    Ok(body) => adds::add_by_api(&app, &caller, &name, &headers, &body).await,
                    Err(error) => Err(error),
                })
            },
        );
    let events = base
        .and(warp::path("events"))
        .and(warp::path::end())
        .and(only_method(Method::GET, "GET, HEAD"))
        .and(checked(Caller::check_site))
        .and(with_app(app))
        .and(caller())
        .and(query())
        .map(|name: String, app: Arc<App>, caller: Caller, query: String| {
            open::open_events(&app, caller, &name, &query)
                .unwrap_or_else(|error| respond(Err(error)))
        });
    let reset = base
        .and(warp::path("reset"))
        .and(warp::path::end())
        .and(only_method(Method::POST, "POST"))
        .and(with_app(app))
        .and(caller())
        .and(body("application/json", BODY_BYTES_MAX, Caller::check_own_site))
        .then(
            |name: String,
             app: Arc<App>,
             caller: Caller,
             _headers,
             body: Result<Bytes, ApiError>| async move {
                respond(match body {
                    Ok(_ignored) => clearing::reset(&app, &caller, &name).await,
                    Err(error) => Err(error),
                })
            },
        );
    let remove = base
        .and(warp::path::end())
        .and(only_method(Method::DELETE, COUNTER_METHODS))
        .and(with_app(app))
        .and(caller())
        .then(async |name: String, app: Arc<App>, caller: Caller| {
            respond(clearing::remove(&app, &caller, &name).await)
        });
    list.or(remove).unify().or(show).unify().or(add).unify().or(events).unify().or(reset).unify()
}

fn batches(
    app: &Arc<App>,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    warp::path("api")
        .and(warp::path("adds"))
        .and(warp::path::end())
        .and(only_method(Method::POST, "POST"))
        .and(with_app(app))
        .and(caller())
        .and(body("application/json", BATCH_BYTES_MAX, Caller::check_service))
        .then(|app: Arc<App>, caller: Caller, _headers, body: Result<Bytes, ApiError>| async move {
            respond(match body {
                Ok(body) => batch::add_batch(&app, &caller, &body).await,
                Err(error) => Err(error),
            })
        })
}

fn limit_checks(
    app: &Arc<App>,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    warp::path("api")
        .and(warp::path("limits"))
        .and(warp::path::param::<String>())
        .and(warp::path("check"))
        .and(warp::path::end())
        .and(only_method(Method::POST, "POST"))
        .and(with_app(app))
        .and(caller())
        .and(body("application/json", BODY_BYTES_MAX, Caller::check_service))
        .map(
            |name: String,
             app: Arc<App>,
             caller: Caller,
             _headers,
             body: Result<Bytes, ApiError>| {
                respond(body.and_then(|body| limit_check::check(&app, &caller, &name, &body)))
            },
        )
}

fn socket(app: &Arc<App>) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    warp::path("ws")
        .and(warp::path::end())
        .and(only_method(Method::GET, "GET"))
        .and(checked(Caller::check_site))
        .and(with_app(app))
        .and(caller())
        .and(warp::header::headers_cloned())
        .and(query())
        .and(warp::ext::optional::<OnUpgrade>())
        .map(|app: Arc<App>, caller: Caller, headers: HeaderMap, query: String, upgrade| {
            respond(open::open_socket(app, caller, headers, &query, upgrade))
        })
}

fn operations(
    app: &Arc<App>,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    let get = |filter: warp::filters::BoxedFilter<()>, handler: fn(&App) -> ApiResult| {
        filter
            .and(warp::path::end())
            .and(only_method(Method::GET, "GET, HEAD"))
            .and(checked(Caller::check_own_site))
            .and(with_app(app))
            .map(move |app: Arc<App>| respond(handler(&app)))
    };
    get(warp::path("api").and(warp::path("status")).boxed(), status::show_status)
        .or(get(warp::path("api").and(warp::path("openapi.json")).boxed(), |_| {
            openapi::show_openapi()
        }))
        .unify()
        .or(get(warp::path("healthz").boxed(), |_| health::show_health()))
        .unify()
        .or(get(warp::path("readyz").boxed(), health::show_readiness))
        .unify()
        .or(warp::path("metrics")
            .and(warp::path::end())
            .and(only_method(Method::GET, "GET, HEAD"))
            .and(checked(Caller::check_own_site))
            .and(warp::header::headers_cloned())
            .and(with_app(app))
            .map(|headers: HeaderMap, app: Arc<App>| {
                respond(metrics::show_metrics(&app, &headers))
            }))
        .unify()
}

fn badge(app: &Arc<App>) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    warp::path("badge")
        .and(warp::path::param::<String>())
        .and(warp::path::end())
        .and(only_method(Method::GET, "GET, HEAD"))
        .and(with_app(app))
        .map(|file: String, app: Arc<App>| respond(badge::show_badge(&app, &file)))
}

fn library() -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    let client = warp::path("counter-client.js").map(|| "counter-client.js");
    let element = warp::path("live-counter.js").map(|| "live-counter.js");
    client
        .or(element)
        .unify()
        .and(warp::path::end())
        .and(only_method(Method::GET, "GET, HEAD"))
        .and(warp::header::headers_cloned())
        .map(|name: &str, headers: HeaderMap| respond(assets::show_library(name, &headers)))
}

fn assets() -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    warp::path("assets")
        .and(warp::path::param::<String>())
        .and(warp::path::param::<String>())
        .and(warp::path::end())
        .and(only_method(Method::GET, "GET, HEAD"))
        .and(warp::header::headers_cloned())
        .map(|version: String, name: String, headers: HeaderMap| {
            respond(assets::show_asset(&version, &name, &headers))
        })
}

/// Answers OPTIONS at an address that other sites may use. It is the preflight of a browser, or the
/// page asking why its socket does not open.
///
/// # Errors
///
/// The error that the request itself would get.
pub(crate) fn answer_options(app: &App, caller: Caller, path: &str) -> ApiResult {
    if Sharing::of(path) == Sharing::Listed {
        caller.check_site()?;
    }
    if path == "/ws" {
        if app.stop.is_stopping() {
            return Err(ApiError::stopping());
        }
        let _slot = caller.peer.clone().stream(&app.limits)?;
    }
    let mut response = warp::http::Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if !matches!(caller.site(), Site::Own) {
        cors::allow(response.headers_mut());
    }
    Ok(response)
}

fn with_app(
    app: &Arc<App>,
) -> impl Filter<Extract = (Arc<App>,), Error = Infallible> + Clone + use<> {
    let app = Arc::clone(app);
    warp::any().map(move || Arc::clone(&app))
}

/// Accepts one method. Refuses others with 405 and the allowed methods.
fn only_method(
    method: Method,
    allow: &'static str,
) -> impl Filter<Extract = (), Error = Rejection> + Clone {
    warp::method()
        .and_then(move |asked: Method| {
            let checked = if asked == method {
                Ok(())
            } else {
                Err(warp::reject::custom(ApiError::wrong_method(allow)))
            };
            std::future::ready(checked)
        })
        .untuple_one()
}

/// Accepts the request if its caller passes this check.
fn checked(
    check: fn(&Caller) -> Result<(), ApiError>,
) -> impl Filter<Extract = (), Error = Rejection> + Clone {
    caller()
        .and_then(move |caller: Caller| {
            std::future::ready(check(&caller).map_err(warp::reject::custom))
        })
        .untuple_one()
}

fn query() -> impl Filter<Extract = (String,), Error = Infallible> + Clone {
    warp::query::raw().or(warp::any().map(String::new)).unify()
}

fn respond(result: ApiResult) -> Response {
    result.unwrap_or_else(ApiError::into_response).into_response()
}
