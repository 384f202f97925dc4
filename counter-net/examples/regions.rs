//! Three regions in one process, as the tests of an application start them: adds everywhere, one
//! total, a wait for copies, and a reset. `cargo run -p counter-net --example regions`

use std::time::Duration;

use counter_net::{Copies, Discovery, Node};

const WITHIN: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A cluster name of its own, so that other runs on this machine stay out.
    let cluster = format!("regions-{}", std::process::id());
    let mut nodes: Vec<Node> = Vec::new();
    for region in ["ord", "fra", "sin"] {
        let builder = Node::builder().cluster(&cluster).region(region).discover(Discovery::None);
        let known = nodes.iter().flat_map(|node| node.info().addresses);
        let node = known.fold(builder, |builder, address| builder.peer(address)).start().await?;
        node.synced().await;
        nodes.push(node);
    }
    for (at, node) in nodes.iter().enumerate() {
        // Resolves when every region holds it, about a round trip later.
        node.counter("clicks")?.add_replicated(10 * (at as u64 + 1), Copies::All, WITHIN)?.await?;
    }
    for node in &nodes {
        let clicks = node.counter("clicks")?;
        println!("{} sees {} in all: {:?}", node.info().region, clicks.total(), clicks.by_region());
    }
    let sin = nodes[2].counter("clicks")?;
    sin.reset()?;
    nodes[0].reach(&sin.token(), WITHIN).await?;
    println!("after a reset at sin, ord sees {}", nodes[0].counter("clicks")?.total());
    for node in &nodes {
        node.shutdown().await;
    }
    Ok(())
}
