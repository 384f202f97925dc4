//! A rate limit as an axum middleware, counted over all regions: 429 with `Retry-After` once a
//! user's window is full. Run it with `cargo run -p counter-net --example limit`. With an address,
//! as in `… limit 127.0.0.1:8080`, it serves until Ctrl-C.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use counter_net::{Discovery, Node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Failure = Box<dyn std::error::Error>;

/// Requests that a user may make in any [`WINDOW`].
const LIMIT: u64 = 5;
const WINDOW: Duration = Duration::from_secs(60);
/// Names the user. A real service takes the name from its session, never from a header that the
/// user may choose.
const USER: &str = "x-user";

/// Lets a request pass if its user has room left in the window of all regions.
///
/// The limit is soft: no region waits for another, so a user may exceed it by the requests that are
/// under way between regions.
async fn limit(State(node): State<Node>, request: Request, next: Next) -> Response {
    let user = request.headers().get(USER).and_then(|user| user.to_str().ok());
    let Some(user) = user else { return StatusCode::UNAUTHORIZED.into_response() };
    let Some(window) = node.window(&format!("requests:{user}"), WINDOW) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    match window.check(1, LIMIT) {
        Ok(check) if check.allowed => next.run(request).await,
        Ok(check) => {
            let seconds = check.retry_after.as_secs() + 1;
            let retry_after = [(header::RETRY_AFTER, HeaderValue::from(seconds))];
            (StatusCode::TOO_MANY_REQUESTS, retry_after, "too many requests\n").into_response()
        }
        // For example, the name is too long. Letting such requests pass would be a way around the
        // limit.
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

/// Answers requests in a new task until the program ends. Returns the address.
async fn serve(node: &Node, listener: TcpListener) -> Result<SocketAddr, Failure> {
    let service = Router::new()
        .route("/", get(|| async { "hello\n" }))
        .layer(from_fn_with_state(node.clone(), limit));
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, service).await });
    Ok(address)
}

/// Sends a user's request. Returns the status, and the `Retry-After` header if there is one.
async fn ask(address: SocketAddr, user: &str) -> Result<(String, Option<String>), Failure> {
    let mut stream = TcpStream::connect(address).await?;
    let request =
        format!("GET / HTTP/1.1\r\nhost: limit\r\nconnection: close\r\n{USER}: {user}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).ok_or("an answer without a status")?.to_owned();
    let retry_after = answer.lines().find_map(|line| line.strip_prefix("retry-after: "));
    Ok((status, retry_after.map(str::to_owned)))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    if let Some(address) = std::env::args().nth(1) {
        let node = Node::builder().cluster("limit").discover(Discovery::Local).start().await?;
        let address = serve(&node, TcpListener::bind(address).await?).await?;
        println!("curl -i -H '{USER}: anna' http://{address}/");
        tokio::signal::ctrl_c().await?;
        node.shutdown().await;
        return Ok(());
    }
    let builder = |region: &str| {
        Node::builder()
            .cluster(format!("limit-{}", std::process::id()))
            .region(region)
            .discover(Discovery::None)
    };
    let ord = builder("ord").start().await?;
    let address = ord.info().addresses.into_iter().next().ok_or("ord listens nowhere")?;
    let fra = builder("fra").peer(address).start().await?;
    fra.synced().await;
    let (in_ord, in_fra) = (
        serve(&ord, TcpListener::bind("127.0.0.1:0").await?).await?,
        serve(&fra, TcpListener::bind("127.0.0.1:0").await?).await?,
    );
    for _ in 0..3 {
        let (status, _) = ask(in_ord, "anna").await?;
        println!("anna in ord: {status}");
    }
    // What ord allowed counts in fra as soon as it arrives.
    fra.reach(&ord.token(), Duration::from_secs(5)).await?;
    for _ in 0..3 {
        let (status, retry_after) = ask(in_fra, "anna").await?;
        match retry_after {
            None => println!("anna in fra: {status}"),
            Some(seconds) => println!("anna in fra: {status}, again in {seconds} s"),
        }
    }
    let (status, _) = ask(in_fra, "ben").await?;
    println!("ben in fra: {status}");
    ord.shutdown().await;
    fra.shutdown().await;
    Ok(())
}
