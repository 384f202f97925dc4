//! The accept loop: bounds and times connections, passes requests to the routes, and drains with a
//! deadline.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use warp::http::header::{CONNECTION, HOST, HeaderValue};
use warp::http::uri::Authority;
use warp::http::{Method, Request, Version};
use warp::reply::{Reply, Response};

use crate::access::caller::ClientConnection;
use crate::access::cors::Sharing;
use crate::access::limits::Limits;
use crate::access::origin::Site;
use crate::access::peer::Peer;
use crate::access::{Caller, Ends};
use crate::api::bounds::HEAD_BYTES_MAX;
use crate::api::code::Code;
use crate::api::error::ApiError;
use crate::api::node::health::show_health;
use crate::app::App;
use crate::server::reply::ReplyFormat;
use crate::server::routes::{answer_options, routes};

/// The time limit for a request's head, also for the next one on a kept connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// The time limit for reading and answering a request. A stream must begin within it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// A client that reads none of its output for this long is cut off.
const UNREAD_MAX: Duration = Duration::from_secs(30);

/// The wait before an address at its limit of connections is checked once more. A closed connection
/// frees its slot only a moment after the client has closed it.
const SLOT_GRACE: Duration = Duration::from_millis(50);

/// How long requests and sockets have to end when the server stops.
const DRAIN: Duration = Duration::from_secs(3);

/// The most refusals at a time when all connections are in use. Further clients are cut off.
const REFUSALS_MAX: usize = 64;

/// How long a refused client has to read its response, and the most bytes of its request that are
/// read meanwhile.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
const REFUSED_BYTES_MAX: u64 = 64 * 1024;

/// The beginning of a health probe, and its response when all connections are in use.
const HEALTH_PROBE: &[u8; 13] = b"GET /healthz ";
const HEALTHY: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 3\r\n\r\nok\n";

/// The wait after an accept that failed for lack of a resource, such as files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until the front stops. Then closes the listener, and waits at most [`DRAIN`]
/// for open connections.
pub(crate) async fn run(app: Arc<App>, listener: TcpListener, connections_max: usize) {
    let service = TowerToHyperService::new(warp::service(routes(Arc::clone(&app))));
    let (mut connections, mut refusals) = (JoinSet::new(), JoinSet::new());
    let mut stop = std::pin::pin!(app.stop.wait());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = connections.join_next(), if !connections.is_empty() => continue,
            Some(_answered) = refusals.join_next(), if !refusals.is_empty() => continue,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, from)) if connections.len() + app.stop.streams() < connections_max => {
                connections.spawn(connection(Arc::clone(&app), service.clone(), stream, from));
            }
            Ok((stream, _)) if refusals.len() < REFUSALS_MAX => {
                refusals.spawn(refuse(stream));
            }
            Ok(_) => tracing::debug!("too many refusals at once: cut off a connection"),
            Err(error) => pause_after(&error).await,
        }
    }
    drop(listener);
    let ended = async {
        while connections.join_next().await.is_some() {}
        app.stop.streams_ended().await;
    };
    if tokio::time::timeout(DRAIN, ended).await.is_err() {
        tracing::info!("some connections did not end within {} s and were cut", DRAIN.as_secs());
    }
}

/// Serves one connection until it ends. When the front stops, the connection may finish its current
/// request.
async fn connection<S>(app: Arc<App>, routes: S, stream: TcpStream, from: SocketAddr)
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    // Small frames must not wait for each other. A stream without the option still works.
    let _set = stream.set_nodelay(true);
    let Ok(near) = stream.local_addr() else { return };
    limit_unread_time(&stream);
    let connection = ClientConnection::new(Ends { far: from, near });
    let peer = if app.access.trusts_proxy() {
        Ok(Peer::proxy(from.ip()))
    } else {
        direct_peer(&app.limits, from.ip()).await
    };
    let shared = Arc::clone(&app);
    let service = hyper::service::service_fn(move |request| {
        shared.counts.requests.increment();
        answer(Arc::clone(&shared), routes.clone(), request, peer.clone(), connection.clone())
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .half_close(false);
    let mut connection =
        std::pin::pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let stop = app.stop.wait();
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("the connection from {from} broke: {error}");
    }
}

/// Makes the system end a connection whose far end reads nothing for [`UNREAD_MAX`]. Systems other
/// than Linux apply their own limit.
fn limit_unread_time(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::net::sockopt::set_tcp_user_timeout(stream, UNREAD_MAX.as_millis() as u32)
    {
        tracing::debug!("cannot set the TCP user timeout: {error}");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, UNREAD_MAX);
}

/// The peer of a direct connection.
///
/// # Errors
///
/// If its address already has the most connections that it may have.
async fn direct_peer(limits: &Arc<Limits>, from: IpAddr) -> Result<Peer, ApiError> {
    let slot = match limits.connect(from) {
        Ok(slot) => slot,
        Err(_) => {
            tokio::time::sleep(SLOT_GRACE).await;
            limits.connect(from)?
        }
    };
    Ok(Peer::direct(from, limits, slot))
}

/// Answers one request, or cuts the connection if that takes too long.
async fn answer<S>(
    app: Arc<App>,
    routes: S,
    mut request: Request<Incoming>,
    peer: Result<Peer, ApiError>,
    connection: ClientConnection,
) -> Result<Response, io::Error>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let (format, access) = (ReplyFormat::of(&request), &app.access);
    let site = access.site(request.headers());
    let determined = peer.and_then(|peer| {
        check_host(&request)?;
        check_path(request.uri().path())?;
        Ok(Caller::of(&request, site.clone(), peer, &connection, access))
    });
    let caller = match determined {
        Ok(caller) => caller,
        Err(error) => {
            // A health probe is answered even from an address with too many connections.
            let is_probe =
                error.code == Code::TooManyConnections && request.uri().path() == "/healthz";
            let answer = if is_probe { show_health() } else { Err(error) };
            let mut refused = format.finish(
                answer.unwrap_or_else(ApiError::into_response).into_response(),
                &site,
                access,
            );
            // The next request may find room on a new connection.
            refused.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return Ok(refused);
        }
    };
    let path = request.uri().path();
    let asks = path == "/ws" || !matches!(site, Site::Own);
    let response = if request.method() == Method::OPTIONS
        && format.sharing != Sharing::Private
        && asks
    {
        answer_options(&app, caller, path).unwrap_or_else(ApiError::into_response).into_response()
    } else {
        request.extensions_mut().insert(caller);
        // A handshake is a GET and nothing else.
        if request.method() == Method::HEAD && request.uri().path() != "/ws" {
            // hyper leaves out the body of the response.
            *request.method_mut() = Method::GET;
        }
        let answered = tokio::time::timeout(REQUEST_TIMEOUT, routes.call(request)).await;
        let Ok(response) = answered.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        response
    };
    Ok(format.finish(response, &site, access))
}

/// Refuses a request with a bad Host header (RFC 9112, 3.2). HTTP/1.1 needs exactly one, earlier
/// versions at most one. It may be empty.
fn check_host<B>(request: &Request<B>) -> Result<(), ApiError> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let is_valid = match (hosts.next(), hosts.next()) {
        (None, _) => request.version() < Version::HTTP_11,
        (Some(host), None) => host.is_empty() || Authority::try_from(host.as_bytes()).is_ok(),
        (Some(_), Some(_)) => false,
    };
    if is_valid { Ok(()) } else { Err(ApiError::bad_host()) }
}

/// Refuses a path with a slash at its end. The routes would ignore the slash, and the page's
/// relative addresses would lead elsewhere.
fn check_path(path: &str) -> Result<(), ApiError> {
    if path.len() > 1 && path.ends_with('/') { Err(ApiError::not_found()) } else { Ok(()) }
}

/// Refuses a connection because all are in use, unless it is a health probe.
async fn refuse(mut stream: TcpStream) {
    let exchange = async {
        let mut head = [0; HEALTH_PROBE.len()];
        let probes = stream.read_exact(&mut head).await.is_ok() && head == *HEALTH_PROBE;
        let answer = if probes {
            Bytes::from_static(HEALTHY)
        } else {
            ApiError::no_room().into_closing_bytes()
        };
        stream.write_all(&answer).await?;
        stream.shutdown().await?;
        // Closing with unread input sends RST, and the client loses the response.
        tokio::io::copy(&mut stream.take(REFUSED_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // If this fails, the client did not read its response.
    let _answered = tokio::time::timeout(REFUSAL_TIMEOUT, exchange).await;
}

/// Pauses if the system lacks files or memory. A connection that broke before it was accepted needs
/// no pause.
async fn pause_after(error: &io::Error) {
    if !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    ) {
        tracing::warn!("a connection could not be accepted: {error}");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}
