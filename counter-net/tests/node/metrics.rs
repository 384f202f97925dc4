//! Every metric of a node exists, moves when the counted thing happens, and is valid in both text
//! formats.

use std::collections::BTreeSet;

use counter_core::{Replica, ReplicaId};
use counter_net::prometheus_client::metrics::counter::ConstCounter;
use counter_net::prometheus_client::registry::Registry;
use counter_net::{MetricsFormat, Node};

use crate::cluster::{
    self, address, alone, cluster, eventually, metric, start, start_all, until_all_show,
};
use crate::exposition;
use crate::hostile::payloads::{ask_with_digest, compare_that_diverges, gossip_of, gossip_since};
use crate::hostile::peer::Hostile;

#[tokio::test(flavor = "multi_thread")]
async fn replication_moves_its_metrics() {
    let mut nodes = start_all(&cluster(), &["ord"]).await;
    // More than the first answer to a new peer carries, so the peer has to pull.
    for at in 0..5_000 {
        nodes[0]
            .counter(&format!("{at:05}-{:016x}", fastrand::u64(..)))
            .expect("a counter")
            .add(1)
            .expect("added");
    }
    eventually("the flush", || metric(&nodes[0], "counter_cells", "") == 5_000.0).await;
    let fra = start(&nodes[0].info().cluster, "fra", &[&nodes[0]]).await;
    tokio::time::timeout(cluster::PATIENCE, fra.synced()).await.expect("synced");
    nodes.push(fra);
    nodes[0].counter("clicks").expect("a counter").subtract(1).expect("subtracted");
    until_all_show(&nodes, "clicks", -1).await;
    nodes[1].counter("clicks").expect("a counter").add(3).expect("added");
    until_all_show(&nodes, "clicks", 2).await;

    assert_eq!(metric(&nodes[0], "counter_adds_total", ""), 5_001.0);
    assert_eq!(metric(&nodes[1], "counter_adds_total", ""), 1.0);
    assert_eq!(metric(&nodes[1], "counter_cells_joined_total", ""), 5_001.0);
    assert!(metric(&nodes[1], "counter_pulls_total", "") >= 1.0);
    assert_eq!(metric(&nodes[1], "counter_counters", ""), 5_001.0);
    for (direction, kind) in [
        ("in", "gossip_delta"),
        ("out", "gossip_delta"),
        ("in", "pull"),
        ("out", "pull"),
        ("in", "ask"),
        ("out", "ask"),
    ] {
        let bytes = metric(
            &nodes[0],
            "counter_payload_bytes_total",
            &format!("direction=\"{direction}\",kind=\"{kind}\""),
        );
        assert!(bytes > 0.0, "{kind} {direction}");
    }
    eventually("a round compares", || {
        metric(&nodes[0], "counter_payload_bytes_total", "kind=\"compare\"") > 0.0
    })
    .await;
    assert_eq!(metric(&nodes[0], "counter_peers", ""), 1.0);
    assert_eq!(metric(&nodes[0], "counter_members", "live"), 2.0);
    let lag_of_fra = || {
        let text = nodes[0].metrics_text();
        text.lines()
            .filter(|line| {
                line.starts_with("counter_member_lag_versions{") && line.contains("\"fra\"")
            })
            .map(str::to_owned)
            .next()
    };
    eventually("fra holds all that ord holds", || {
        lag_of_fra().is_some_and(|sample| sample.ends_with(" 0"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_move_their_metrics() {
    let nodes = start_all(&cluster(), &["ord", "fra"]).await;
    nodes[0].counter("clicks").expect("a counter").add(1).expect("added");
    until_all_show(&nodes, "clicks", 1).await;
    let node = &nodes[0];
    let count = |name, label: &str| metric(node, name, label);
    let mut peer = Hostile::connect(node).await;

    let answer = peer.answer_to(node, ask_with_digest(peer.node(), 1)).await;
    let lags = || {
        node.members().iter().any(|member| member.replica.node == peer.node())
            && count("counter_member_lag_versions", "fra") > 0.0
    };
    eventually("a member that holds nothing lags", lags).await;

    peer.answer_to(node, compare_that_diverges(&answer)).await;
    assert!(
        count("counter_divergences_total", "") > 0.0,
        "its versions are ours, and its state hash is not"
    );
    assert!(count("counter_alarms_total", "") > 0.0);

    let mut replica = Replica::new(ReplicaId::new(peer.node(), 1), "fra").expect("a replica");
    for _ in 0..3 {
        replica.counter("clicks").expect("a counter").add(1).expect("added");
        replica.flush();
    }
    peer.publish(gossip_since(&replica, 3));
    eventually("a delta beyond a gap is counted", || count("counter_gaps_total", "") > 0.0).await;
    assert!(
        count("counter_queue_depth", "gap_entries") > 0.0
            && count("counter_queue_depth", "gap_bytes") > 0.0
    );

    peer.publish(gossip_of(nodes[1].info().replica));
    peer.until_cut_off().await;
    assert!(count("counter_rejected_input_total", "forged_writer") > 0.0);
    assert!(count("counter_peers_cut_total", "") > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_formats_are_valid_beside_own_metrics() {
    let nodes = start_all(&cluster(), &["ord", "fra"]).await;
    nodes[0].counter("clicks").expect("a counter").add(1).expect("added");
    until_all_show(&nodes, "clicks", 1).await;
    let mut registry = Registry::default();
    registry.register("jobs", "Jobs done", ConstCounter::new(7_u64));
    nodes[0].register(&mut registry);
    eventually("fra's lag is known", || {
        let text = nodes[0].metrics_text();
        text.contains("counter_member_lag_versions{") && text.contains("counter_payload_bytes")
    })
    .await;

    let parsed = || {
        let prometheus = MetricsFormat::Prometheus.encode(&registry);
        let open_metrics = MetricsFormat::OpenMetrics.encode(&registry);
        let valid = |outcome: Result<_, _>| outcome.unwrap_or_else(|fault| panic!("{fault}"));
        (valid(exposition::prometheus(&prometheus)), valid(exposition::open_metrics(&open_metrics)))
    };
    let series = |families: &exposition::Families| -> BTreeSet<String> {
        families.values().flat_map(|family| family.samples.keys().cloned()).collect()
    };
    // Between two scrapes a series may be added.
    eventually("both formats show the same series", || {
        let (prometheus, open_metrics) = parsed();
        series(&prometheus) == series(&open_metrics)
    })
    .await;
    let (prometheus, open_metrics) = parsed();
    for (name, family) in &prometheus {
        assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name}");
    }
    assert_eq!(prometheus["counter_adds_total"].samples["counter_adds_total"], 1.0);
    assert_eq!(open_metrics["jobs"].samples["jobs_total"], 7.0);
    assert_eq!(prometheus["counter_node_info"].samples.len(), 1);

    drop(nodes);
    eventually("no metric of a node that is gone", || {
        exposition::prometheus(&MetricsFormat::Prometheus.encode(&registry))
            .is_ok_and(|families| families.keys().eq(["jobs_total"]))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_survive_a_restart() {
    let cluster = cluster();
    let ord = start(&cluster, "ord", &[]).await;
    let named = || alone(&cluster, "fra").node_name("fra-1").peer(address(&ord)).start();
    let lags = |of: &Node| -> Vec<String> {
        let page = exposition::prometheus(&of.metrics_text()).expect("valid text");
        let families = page.into_iter().filter(|(name, _)| name.starts_with("counter_member_lag"));
        families.flat_map(|(_, family)| family.samples.into_keys()).collect()
    };
    let info = |of: &Node| -> Vec<String> {
        let page = exposition::prometheus(&of.metrics_text()).expect("valid text");
        page["counter_node_info"].samples.keys().cloned().collect()
    };
    let fra = named().await.expect("the node starts");
    eventually("fra's lag is known", || lags(&ord).len() == 3).await;
    let before = (fra.info().replica, lags(&ord), info(&fra));
    assert!(before.2[0].contains("name=\"fra-1\""), "{:?}", before.2);
    fra.shutdown().await;

    let fra = named().await.expect("the node starts again");
    // A start within a second of the one before gets its final number from the members.
    cluster::until(&ord, "the new incarnation's lag is known", |ord| {
        let after = fra.info().replica;
        after > before.0
            && ord.members().iter().any(|member| member.replica == after && member.lag.is_some())
    })
    .await;
    assert_eq!(fra.info().replica.node, before.0.node);
    assert_eq!((lags(&ord), info(&fra)), (before.1, before.2));
}
