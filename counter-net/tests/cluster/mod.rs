//! Shared by the tests on real libp2p: nodes in a cluster of the test's own, and waits for a state.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod name_server;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use counter_net::{Discovery, Interest, Node, NodeBuilder};
use futures::StreamExt;

/// The longest wait: longer than anything here takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

static CLUSTERS: AtomicU64 = AtomicU64::new(0);

/// A cluster name that no other test has, in this process or another.
pub(crate) fn cluster() -> String {
    format!("test-{}-{}", std::process::id(), CLUSTERS.fetch_add(1, Ordering::Relaxed))
}

/// The builder of a node that looks for nobody.
pub(crate) fn alone(cluster: &str, region: &str) -> NodeBuilder {
    Node::builder().cluster(cluster).region(region).discover(Discovery::None)
}

/// The address of `node`.
pub(crate) fn address(node: &Node) -> String {
    node.info().addresses.first().cloned().expect("a started node listens")
}

/// Starts a node that knows the addresses `peers`.
pub(crate) async fn start(cluster: &str, region: &str, peers: &[&Node]) -> Node {
    let builder =
        peers.iter().fold(alone(cluster, region), |builder, peer| builder.peer(address(peer)));
    builder.start().await.expect("the node starts")
}

/// Starts one node in each region, told of those before it. Waits until all are synced and each
/// incarnation is enrolled at all nodes, because copies are counted over the enrolled ones.
pub(crate) async fn start_all(cluster: &str, regions: &[&str]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for region in regions {
        let peers: Vec<&Node> = nodes.iter().collect();
        nodes.push(start(cluster, region, &peers).await);
    }
    for node in &nodes {
        tokio::time::timeout(PATIENCE, node.synced()).await.expect("synced");
    }
    eventually("all know all", || {
        nodes.iter().all(|node| node.incarnations().len() == nodes.len())
    })
    .await;
    nodes
}

/// Waits until `holds` is true. Looks again at every change of any of the nodes.
///
/// # Panics
///
/// With `what`, if it never becomes true.
pub(crate) async fn until_all(nodes: &[&Node], what: &str, holds: impl Fn() -> bool) {
    let mut changes =
        futures::stream::select_all(nodes.iter().map(|node| node.subscribe(Interest::All)));
    let waiting = async {
        while !holds() {
            if changes.next().await.is_none() {
                assert!(holds(), "the nodes stopped before: {what}");
            }
        }
    };
    let outcome = tokio::time::timeout(PATIENCE, waiting).await;
    let seen = || nodes.iter().map(|node| (node.info(), node.members())).collect::<Vec<_>>();
    assert!(outcome.is_ok(), "never: {what} (and now: {}); {:#?}", holds(), seen());
}

/// [`until_all`] for one node.
pub(crate) async fn until(node: &Node, what: &str, holds: impl Fn(&Node) -> bool) {
    until_all(&[node], what, || holds(node)).await;
}

/// Ends the last of `nodes` without a goodbye, as a crash does. Waits until the others have no
/// connection to it.
pub(crate) async fn crash_last(nodes: &mut Vec<Node>) {
    drop(nodes.pop());
    let alone = |node: &Node| metric(node, "counter_peers", "") as usize == nodes.len() - 1;
    eventually("the connections are gone", || nodes.iter().all(alone)).await;
}

/// Waits until every node shows `total` for the counter and all have the same state hash.
pub(crate) async fn until_all_show(nodes: &[Node], counter: &str, total: i128) {
    let all: Vec<&Node> = nodes.iter().collect();
    let agreed = || {
        let views: Vec<_> = nodes.iter().map(|node| node.view(counter)).collect();
        views.iter().all(|view| view.total == total && view.state_hash == views[0].state_hash)
    };
    until_all(&all, &format!("{counter} is {total} everywhere"), agreed).await;
}

/// Waits for something that no subscription announces, such as a metric.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let looking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while !holds() {
            ticks.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, looking).await.is_ok(), "never: {what}");
}

/// The sum of all samples of the metric `name` whose labels contain `label`.
pub(crate) fn metric(node: &Node, name: &str, label: &str) -> f64 {
    let text = node.metrics_text();
    let is_of_it = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && line.contains(label)
    };
    let samples = text.lines().filter(is_of_it);
    samples
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(_, value)| value.parse::<f64>().ok())
        .sum()
}
