//! Likes behind axum in two regions. A like never waits, and a client that next goes to the other
//! region sees its own like there. Run it with `cargo run -p counter-net --example likes`. With an
//! address, as in `… likes 127.0.0.1:8080`, it serves until Ctrl-C.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use counter_net::{Discovery, Node, Token};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Failure = Box<dyn std::error::Error>;
type Answer = ([(&'static str, String); 1], Json<Value>);

/// The longest that a read waits for the state that its client has seen elsewhere. A millisecond or
/// two are enough, unless the regions are cut off from each other.
const WITHIN: Duration = Duration::from_secs(5);
/// The header that carries a client's read token from an answer to its next request.
const SEEN: &str = "x-seen";

async fn like(State(node): State<Node>, Path(post): Path<String>) -> Result<Answer, StatusCode> {
    let likes = node.counter(&format!("likes:{post}")).map_err(|_| StatusCode::BAD_REQUEST)?;
    likes.add(1).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(([(SEEN, likes.token().to_string())], Json(json!({ "likes": likes.total() as i64 }))))
}

async fn likes(State(node): State<Node>, Path(post): Path<String>, headers: HeaderMap) -> Answer {
    let seen: Token =
        headers.get(SEEN).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or_default();
    // The local total is shown in any case. The answer says so if it is less than the client has
    // seen.
    let behind = node.reach(&seen, WITHIN).await.is_err();
    let view = node.view(&format!("likes:{post}"));
    let regions: Value = view
        .regions
        .iter()
        .map(|(region, is)| (region.clone(), json!(is.value as i64)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    (
        [(SEEN, seen.to_string())],
        Json(json!({ "likes": view.total as i64, "regions": regions, "behind": behind })),
    )
}

fn service(node: &Node) -> Router {
    Router::new().route("/posts/{post}/likes", get(likes).post(like)).with_state(node.clone())
}

/// Answers requests in a new task until the program ends. Returns the address.
async fn serve(node: &Node, listener: TcpListener) -> Result<SocketAddr, Failure> {
    let (address, service) = (listener.local_addr()?, service(node));
    tokio::spawn(async move { axum::serve(listener, service).await });
    Ok(address)
}

/// Sends a client's request. Returns the new read token, and the body.
async fn ask(address: SocketAddr, method: &str, seen: &str) -> Result<(String, String), Failure> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "{method} /posts/42/likes HTTP/1.1\r\nhost: likes\r\nconnection: close\r\n{SEEN}: {seen}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or("an answer without an end of its head")?;
    let seen =
        head.lines().find_map(|line| line.strip_prefix(&format!("{SEEN}: "))).unwrap_or_default();
    Ok((seen.to_owned(), body.to_owned()))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    if let Some(address) = std::env::args().nth(1) {
        let node = Node::builder()
            .region("local")
            .cluster("likes")
            .discover(Discovery::Local)
            .start()
            .await?;
        let address = serve(&node, TcpListener::bind(address).await?).await?;
        println!("curl -X POST http://{address}/posts/42/likes");
        tokio::signal::ctrl_c().await?;
        node.shutdown().await;
        return Ok(());
    }
    let builder = |region: &str| {
        Node::builder()
            .cluster(format!("likes-{}", std::process::id()))
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
    let mut seen = String::new();
    for _ in 0..3 {
        (seen, _) = ask(in_ord, "POST", &seen).await?;
    }
    let (_, body) = ask(in_fra, "GET", &seen).await?;
    println!("three likes in ord, read in fra: {body}");
    ord.shutdown().await;
    fra.shutdown().await;
    Ok(())
}
