//! One node with a million counters: the memory of each, and how soon a fresh process has them all.

use std::process::{Command, Stdio};
use std::time::Duration;

use counter_net::{Counter, Discovery, Node};
use serde::{Deserialize, Serialize};

use super::harness::http::Http;
use super::harness::metrics::Metrics;
use super::harness::process::{NodeProcess, cluster_name};
use super::{MeasureFailure, Measured};

/// The results.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Million {
    /// Resident memory per counter in the process that made them, less its memory before.
    pub made_bytes: f64,
    /// The same for a fresh process that caught up with it, above a fresh process of an empty
    /// cluster.
    pub joined_bytes: f64,
    /// From the start of the fresh process until it is synced.
    pub joined_in: Duration,
    /// The time to make all counters and add to each, by name, one after the other.
    pub made_in: Duration,
}

/// Makes `counters` counters of one writer in a process that has done nothing else, and starts a
/// fresh process that joins it. An older process would reuse memory that it had freed, and that
/// would not be seen.
///
/// # Errors
/// A node that does not start, or that reports itself synced and holds something else.
pub fn million(counters: usize) -> Measured<Million> {
    let output = Command::new(std::env::current_exe()?)
        .args(["million-inside", &counters.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    let seen: Result<Million, String> =
        serde_json::from_slice(&output.stdout).map_err(|error| {
            MeasureFailure(format!("what a process of many counters says: {error}"))
        })?;
    seen.map_err(MeasureFailure)
}

/// The part of [`million`] in the process of its own. Prints the results.
///
/// # Errors
/// As [`million`].
pub async fn million_inside(counters: &str) -> Measured<()> {
    let counters =
        counters.parse().map_err(|error| MeasureFailure(format!("{counters}: {error}")))?;
    let seen = inside(counters).await.map_err(|failure| failure.0);
    println!(
        "{}",
        serde_json::to_string(&seen).map_err(|error| MeasureFailure(error.to_string()))?
    );
    Ok(())
}

async fn inside(counters: usize) -> Measured<Million> {
    let cluster = cluster_name();
    let idle = {
        let empty = NodeProcess::spawn(&cluster_name(), "fra", &[])?;
        empty.until_ready().await?;
        resident(empty.id())?
    };
    let node = Node::builder()
        .region("ord")
        .cluster(&cluster)
        .discover(Discovery::None)
        .start()
        .await
        .map_err(|error| MeasureFailure(error.to_string()))?;
    node.synced().await;
    let (before, begun) = (resident(std::process::id())?, std::time::Instant::now());
    for number in 0..counters {
        let add = |counter: Counter| counter.add(number as u64 + 1);
        node.counter(&name(number))
            .and_then(add)
            .map_err(|error| MeasureFailure(error.to_string()))?;
    }
    let made_in = begun.elapsed();
    // This turns pending adds into cells.
    let _written = node.token();
    let made = resident(std::process::id())?.saturating_sub(before);
    let address = node
        .info()
        .addresses
        .first()
        .cloned()
        .ok_or_else(|| MeasureFailure("the source listens nowhere".into()))?;
    let fresh = NodeProcess::spawn(&cluster, "fra", &[&address])?;
    let joined_in = fresh.until_ready().await?;
    let held =
        Metrics::read(&mut Http::open(fresh.http).await?).await?.sum("counter_counters", &[]);
    let last = fresh.total(&name(counters - 1)).await?;
    if held as usize != counters || last != counters as i64 {
        return Err(MeasureFailure(format!(
            "wrong: synced with {held} counters of {counters}, the last of them {last}"
        )));
    }
    let joined = resident(fresh.id())?.saturating_sub(idle);
    node.shutdown().await;
    let each = |bytes: u64| bytes as f64 / counters as f64;
    Ok(Million { made_bytes: each(made), joined_bytes: each(joined), joined_in, made_in })
}

/// The name of a counter, as an application would choose it.
fn name(number: usize) -> String {
    format!("likes:{number:07}")
}

/// The resident memory of a process, in bytes.
fn resident(process: u32) -> Measured<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"));
    let read = kilobytes
        .and_then(|text| text.trim().parse::<u64>().ok())
        .map(|kilobytes| kilobytes * 1024);
    read.ok_or_else(|| MeasureFailure("this system does not tell a process's memory".into()))
}
