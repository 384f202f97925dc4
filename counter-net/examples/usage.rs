//! A usage meter with a quota for each tenant. A request is admitted by the count of all regions,
//! and counted without waiting for any of them. `cargo run -p counter-net --example usage`

use std::collections::HashMap;
use std::time::Duration;

use counter_net::{Counter, Discovery, Interest, Node};
use futures::StreamExt;

/// The requests that a tenant may make. It is a soft limit: the meter never waits, so requests in
/// other regions may exceed it.
const QUOTA: i128 = 100;

/// Handles by tenant, so that each add is one atomic addition.
struct Meter {
    node: Node,
    tenants: HashMap<String, Counter>,
}

impl Meter {
    /// True if the tenant may make this request. Counts it if so.
    fn admit(&mut self, tenant: &str) -> Result<bool, counter_net::AddError> {
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(tenant.to_owned(), self.node.counter(&format!("usage:{tenant}"))?);
        }
        let used = &self.tenants[tenant];
        let admitted = used.total() < QUOTA;
        if admitted {
            used.add(1)?;
        }
        Ok(admitted)
    }
}

/// Waits until every replica is known to hold `wanted` requests or more.
async fn billable(used: &Counter, wanted: i128) -> i128 {
    loop {
        match used.stable_total() {
            Some(stable) if stable.total >= wanted => return stable.total,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn start(
    cluster: &str,
    region: &str,
    peer: Option<&Node>,
) -> Result<Meter, Box<dyn std::error::Error>> {
    let builder = Node::builder().cluster(cluster).region(region).discover(Discovery::None);
    let addresses = peer.map(|peer| peer.info().addresses).unwrap_or_default();
    let node = addresses
        .into_iter()
        .fold(builder, |builder, address| builder.peer(address))
        .start()
        .await?;
    node.synced().await;
    Ok(Meter { node, tenants: HashMap::new() })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cluster = format!("usage-{}", std::process::id());
    let mut ord = start(&cluster, "ord", None).await?;
    let mut fra = start(&cluster, "fra", Some(&ord.node)).await?;
    // Billing learns which tenants' meters moved, and reads only those.
    let mut moved = fra.node.subscribe(Interest::Prefix("usage:".to_owned()));
    for request in 0..70 {
        ord.admit("acme")?;
        if request % 7 == 0 {
            ord.admit("globex")?;
        }
    }
    fra.node.reach(&ord.node.token(), Duration::from_secs(20)).await?;
    while let Some(change) = moved.next().await {
        // Changes are coalesced. Each names every tenant that moved since the last one.
        if let Some((tenant, regions)) = change.counters.first_key_value() {
            println!("moved: {tenant} in {regions:?}");
            break;
        }
    }
    let admitted =
        (0..50).map(|_| fra.admit("acme")).filter(|admitted| *admitted == Ok(true)).count();
    println!(
        "acme: {admitted} of 50 more requests admitted in fra, {} used in all",
        fra.tenants["acme"].total()
    );
    // The invoice covers requests that every replica holds, so no single loss takes them away.
    let bill =
        tokio::time::timeout(Duration::from_secs(20), billable(&fra.tenants["acme"], 100)).await?;
    println!("acme: {bill} may be billed, every replica has them");
    println!("globex: {} used", fra.node.view("usage:globex").total);
    for meter in [&ord, &fra] {
        meter.node.shutdown().await;
    }
    Ok(())
}
