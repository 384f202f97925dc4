//! The program of the README: a counter inside your own service. `cargo run -p counter-net
//! --example embed`

use counter_net::{Discovery, Node};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::builder().region("fra").discover(Discovery::Local).start().await?;
    let likes = node.counter("likes")?;
    likes.add(1)?; // one atomic addition: never waits for a network
    println!("{} in all", likes.total());
    for (region, value) in likes.by_region() {
        println!("{region}: {value}");
    }
    node.shutdown().await;
    Ok(())
}
