//! A worker without a web front. It counts the lines of its input as finished jobs, and prints the
//! count of the whole cluster.
//!
//! Start it in two terminals, `cargo run -p counter-net --example worker ord` and `… worker fra`,
//! and press Enter in either.

use counter_net::{Discovery, Interest, Node};
use futures::StreamExt;
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let region = std::env::args().nth(1).unwrap_or_else(|| "local".to_owned());
    let node =
        Node::builder().region(region).cluster("worker").discover(Discovery::Local).start().await?;
    node.synced().await;
    let lines = node.counter("lines")?;
    let mut changes = node.subscribe(Interest::Counter("lines".to_owned()));
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    println!("{} lines so far; Enter adds one, end of input leaves", lines.total());
    loop {
        tokio::select! {
            line = input.next_line() => match line? {
                Some(_) => lines.add(1)?,
                None => break,
            },
            Some(change) = changes.next() => {
                if change.counters.contains_key("lines") {
                    println!("{} lines, by region {:?}", lines.total(), lines.by_region());
                }
            }
        }
    }
    node.shutdown().await;
    Ok(())
}
