//! Three nodes on hosts of their own: the time of a click until the others show it, with and
//! without packet loss, and the time until all agree after a cable was out.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::latency::clicks_seen;
use crate::system::harness::lab::Lab;
use crate::system::harness::process::NodeProcess;
use crate::system::{MeasureFailure, Measured, Quantiles};

const HOSTS: usize = 3;
const REGIONS: [&str; HOSTS] = ["ord", "fra", "sin"];
/// The share of packets lost between hosts, in the workload under loss.
pub const LOSS: f64 = 0.05;
/// The time that a cable is out.
pub const OUTAGE: Duration = Duration::from_secs(8);
/// The adds on each side meanwhile.
const ADDS: u64 = 50;

/// The results, as the clients saw them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hosts {
    /// From a click until clients of both others show it.
    pub visible: Quantiles,
    /// The same while packets are lost.
    pub lossy: Quantiles,
    /// From putting a cable in again until all three show every click of both sides.
    pub healed: Quantiles,
}

/// Builds the hosts, and measures from a process of this program in the clients' namespace:
/// `clicks` clicks from each host, and `outages` pulled cables.
///
/// # Errors
/// If this machine does not allow namespaces, a line that says what it takes. A node that does not
/// start. A wrong total.
pub fn hosts(clicks: u64, outages: usize) -> Measured<Hosts> {
    let built = Lab::build(HOSTS)?;
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &built.0.switch()]).arg(std::env::current_exe()?);
    command.args(["hosts-inside", built.0.name(), &clicks.to_string(), &outages.to_string()]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let seen: Result<Hosts, String> = serde_json::from_slice(&output.stdout).map_err(|error| {
        MeasureFailure(format!(
            "the clients beside the hosts ended with {}: {error}",
            output.status
        ))
    })?;
    seen.map_err(MeasureFailure)
}

/// The part of [`hosts`] inside the namespaces. Prints the results, or why there are none.
///
/// # Errors
/// Arguments that are not [`hosts`]'s.
pub async fn hosts_inside(arguments: &[String]) -> Measured<()> {
    let [name, clicks, outages] = arguments else {
        return Err(MeasureFailure("this is for `hosts` alone".into()));
    };
    let number =
        |text: &str| text.parse().map_err(|error| MeasureFailure(format!("{text}: {error}")));
    let seen = inside(&Lab::named(name, HOSTS), number(clicks)?, number(outages)?)
        .await
        .map_err(|failure| failure.0);
    println!(
        "{}",
        serde_json::to_string(&seen).map_err(|error| MeasureFailure(error.to_string()))?
    );
    Ok(())
}

async fn inside(lab: &Lab, clicks: u64, outages: u64) -> Measured<Hosts> {
    let nodes = start(lab).await?;
    let visible = clicks_seen(&nodes, "clicks", clicks).await?;
    lab.lose(LOSS)?;
    let lossy = clicks_seen(&nodes, "lossy", clicks).await?;
    lab.lose_none()?;
    let mut healed = Vec::new();
    for outage in 0..outages {
        healed.push(outage_healed(lab, &nodes, outage).await?);
    }
    Ok(Hosts { visible, lossy, healed: Quantiles::new(healed) })
}

/// Starts one node on each host. All know each other's address.
async fn start(lab: &Lab) -> Measured<Vec<NodeProcess>> {
    let address = |host: usize| format!("/ip4/{}/tcp/7000", Lab::gossip(host));
    let mut nodes = Vec::new();
    for (host, region) in REGIONS.iter().enumerate() {
        let peers: Vec<String> = (0..HOSTS).filter(|other| *other != host).map(address).collect();
        let (listen, http) = (address(host), format!("{}:0", Lab::front(host)));
        nodes.push(NodeProcess::spawn_on(&lab.host(host), region, &listen, &peers, &http)?);
    }
    for node in &nodes {
        node.until_ready().await?;
        node.until_members(HOSTS).await?;
    }
    Ok(nodes)
}

/// Cuts the last host off, adds on both sides, and puts the cable in again.
async fn outage_healed(lab: &Lab, nodes: &[NodeProcess], outage: u64) -> Measured<Duration> {
    let (here, there) = (&nodes[0], &nodes[HOSTS - 1]);
    let total = (outage * 2 * ADDS) as i64;
    lab.cable(HOSTS - 1, "down")?;
    let start = Instant::now();
    for node in [here, there] {
        node.add_many("cut", ADDS).await?;
        node.until_total("cut", total + ADDS as i64).await?;
    }
    tokio::time::sleep(OUTAGE.saturating_sub(start.elapsed())).await;
    if there.total("cut").await? != total + ADDS as i64 {
        return Err(MeasureFailure("the cable was pulled, and clicks came through".into()));
    }
    lab.cable(HOSTS - 1, "up")?;
    let start = Instant::now();
    for node in nodes {
        node.until_total("cut", total + 2 * ADDS as i64).await?;
    }
    Ok(start.elapsed())
}
