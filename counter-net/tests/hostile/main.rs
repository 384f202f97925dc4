//! Peers that speak real libp2p and mean harm: refused, counted, cut off; the totals of the honest
//! stay exact.

#[path = "../cluster/mod.rs"]
mod cluster;
mod crowd;
mod payloads;
mod peer;

use std::time::{Duration, Instant};

use cluster::{
    address, alone, cluster, eventually, metric, start, start_all, until, until_all_show,
};
use counter_core::{Replica, ReplicaId};
use counter_net::{Counter, Interest, Node};
use futures::StreamExt;
use libp2p::Multiaddr;
use payloads::{ask_with_digest, gossip_all, gossip_of, pull_all};
use peer::Hostile;

/// Two honest nodes that agree on 2, after whatever `harm` did to the first.
async fn honest() -> Vec<Node> {
    let nodes = start_all(&cluster(), &["ord", "fra"]).await;
    for node in &nodes {
        node.counter("clicks").expect("a counter").add(1).expect("added");
    }
    until_all_show(&nodes, "clicks", 2).await;
    nodes
}

async fn still_exact(nodes: &[Node]) {
    nodes[0].counter("clicks").expect("a counter").add(1).expect("added");
    until_all_show(nodes, "clicks", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_in_another_writers_name_are_refused_and_their_sender_is_cut_off() {
    let nodes = honest().await;
    let mut hostile = Hostile::connect(&nodes[0]).await;
    let victim = nodes[1].info().replica;
    hostile.publish(gossip_of(ReplicaId { incarnation: victim.incarnation, ..victim }));
    hostile.until_cut_off().await;
    assert!(metric(&nodes[0], "counter_rejected_input_total", "forged_writer") > 0.0);
    assert!(metric(&nodes[0], "counter_peers_cut_total", "") > 0.0);
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_gossip_is_counted_and_its_sender_is_cut_off() {
    let nodes = honest().await;
    let mut hostile = Hostile::connect(&nodes[0]).await;
    hostile.publish(vec![0xa5; 1_000]);
    hostile.until_cut_off().await;
    assert!(metric(&nodes[0], "counter_rejected_input_total", "malformed") > 0.0);
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_for_a_pull_is_counted_and_its_sender_is_cut_off() {
    let nodes = honest().await;
    let mut hostile = Hostile::connect(&nodes[0]).await;
    hostile.ask(&nodes[0], vec![0xa5; 1_000]);
    hostile.until_cut_off().await;
    assert!(metric(&nodes[0], "counter_rejected_input_total", "malformed") > 0.0);
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_pull_is_not_read_to_its_end_and_its_sender_is_cut_off() {
    let nodes = honest().await;
    let mut hostile = Hostile::connect(&nodes[0]).await;
    hostile.ask(&nodes[0], vec![0; 16 * 1024 * 1024]);
    hostile.until_cut_off().await;
    assert!(metric(&nodes[0], "counter_rejected_connections_total", "oversized_pull") > 0.0);
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_gossip_and_the_poison_window_do_not_disturb_the_honest() {
    let nodes = honest().await;
    for size in [64 * 1024 - 1, 64 * 1024 - 100, 64 * 1024 + 1, 4 * 1024 * 1024] {
        let mut hostile = Hostile::connect(&nodes[0]).await;
        hostile.publish(vec![0; size]);
        let talking = tokio::spawn(hostile.live());
        nodes[0].counter("noise").expect("a counter").add(1).expect("added");
        until(&nodes[1], "an add made meanwhile", |node| {
            node.view("noise").total == nodes[0].view("noise").total
        })
        .await;
        talking.abort();
    }
    still_exact(&nodes).await;
}

/// From the add to the moment when a subscriber at the other node reads it.
async fn seen_after(adding: &Counter, other: &Node) -> Duration {
    let goal = adding.total() + 1;
    let mut changes = other.subscribe(Interest::Counter(adding.name().to_owned()));
    let began = Instant::now();
    adding.add(1).expect("added");
    let seeing = async {
        while other.view(adding.name()).total < goal {
            changes.next().await.expect("the node runs");
        }
    };
    tokio::time::timeout(cluster::PATIENCE, seeing).await.expect("it is seen");
    began.elapsed()
}

/// It asks for two megabytes a hundred times, and from then on reads nothing at all from its
/// socket.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_reads_slows_nobody_and_is_given_up() {
    let nodes = honest().await;
    for at in 0..20_000 {
        nodes[0]
            .counter(&format!("{at:05}-{:016x}", fastrand::u64(..)))
            .expect("a counter")
            .add(1)
            .expect("added");
    }
    let all = |node: &Node| metric(node, "counter_counters", "") == 20_001.0;
    eventually("both hold 20,001 counters", || nodes.iter().all(all)).await;
    let mut deaf = Hostile::connect(&nodes[0]).await;
    deaf.until_pinged().await;
    deaf.ask(&nodes[0], ask_with_digest(deaf.node(), 0));
    deaf.until_answered(&nodes[0]).await;
    deaf.stop_reading();
    (0..100).for_each(|_| deaf.ask(&nodes[0], pull_all(deaf.node())));
    let deaf = tokio::spawn(deaf.live());
    let clicks = nodes[0].counter("clicks").expect("a counter");
    let mut times = Vec::new();
    // It answers no ping any more, and is connected for some five seconds.
    let began = Instant::now();
    while nodes[0].info().peers > 1 {
        times.push(seen_after(&clicks, &nodes[1]).await);
        assert!(began.elapsed() < Duration::from_secs(60), "it is never given up");
    }
    times.sort();
    let (count, median, greatest) = (times.len(), times[times.len() / 2], times[times.len() - 1]);
    println!(
        "beside a peer that does not read, {count} adds were seen by the other after {median:?} (median) to {greatest:?}"
    );
    assert!(
        median < Duration::from_millis(500) && greatest < Duration::from_secs(5),
        "{median:?}, {greatest:?}"
    );
    until_all_show(&nodes, "clicks", 2 + count as i128).await;
    deaf.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_cut_off_cannot_come_back_at_once() {
    let nodes = honest().await;
    let mut hostile = Hostile::connect(&nodes[0]).await;
    hostile.publish(vec![0xa5; 1_000]);
    hostile.until_cut_off().await;
    hostile
        .swarm
        .dial(address(&nodes[0]).parse::<Multiaddr>().expect("an address"))
        .expect("dialled");
    hostile.until_cut_off().await;
    eventually("it is refused", || {
        metric(&nodes[0], "counter_rejected_connections_total", "cut_off") > 0.0
    })
    .await;
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_nodes_delta_cannot_be_replayed() {
    let nodes = honest().await;
    let third = start(&nodes[0].info().cluster, "sin", &[&nodes[0], &nodes[1]]).await;
    third.counter("clicks").expect("a counter").add(5).expect("added");
    until_all_show(&nodes, "clicks", 7).await;
    let mut listener = Hostile::connect(&nodes[0]).await;
    third.counter("clicks").expect("a counter").add(1).expect("added");
    let heard = listener.next_gossip().await;
    until_all_show(&nodes, "clicks", 8).await;
    // Under its own signature it is a forgery; the author's signature it cannot make.
    listener.publish(heard);
    listener.until_cut_off().await;
    until_all_show(&nodes, "clicks", 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_delta_sent_again_by_its_own_writer_changes_nothing() {
    let nodes = honest().await;
    let mut peer = Hostile::connect(&nodes[0]).await;
    let mut replica = Replica::new(ReplicaId::new(peer.node(), 1), "sin").expect("a replica");
    let mut say = |amount: u64| {
        replica.counter("clicks").expect("a counter").add(amount).expect("added");
        replica.flush();
        gossip_all(&replica)
    };
    let (old, new) = (say(10), say(100));
    for (payload, total) in [(&old, 12), (&new, 112)] {
        peer.publish(payload.clone());
        peer.until_answered(&nodes[0]).await;
        until_all_show(&nodes, "clicks", total).await;
    }
    peer.publish([old.as_slice(), &[]].concat());
    peer.until_answered(&nodes[0]).await;
    assert_eq!(
        metric(&nodes[0], "counter_peers_cut_total", ""),
        0.0,
        "what comes late is nobody's fault"
    );
    nodes[1].counter("clicks").expect("a counter").add(1).expect("added");
    until_all_show(&nodes, "clicks", 113).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_counter_too_many_is_refused_whole_raises_an_alarm_and_closes_readiness() {
    let name = cluster();
    let mut nodes: Vec<Node> = Vec::new();
    for region in ["ord", "fra"] {
        let builder = nodes.iter().fold(alone(&name, region).counters_max(100), |builder, node| {
            builder.peer(address(node))
        });
        nodes.push(builder.start().await.expect("starts"));
    }
    for node in &nodes {
        tokio::time::timeout(cluster::PATIENCE, node.synced()).await.expect("synced");
        node.counter("clicks").expect("a counter").add(1).expect("added");
    }
    until_all_show(&nodes, "clicks", 2).await;
    assert!(nodes[0].is_ready());
    let mut hostile = Hostile::connect(&nodes[0]).await;
    let mut replica = Replica::new(ReplicaId::new(hostile.node(), 1), "sin").expect("a replica");
    // More than twice as many as may be made.
    for at in 0..201 {
        replica.counter(&format!("counter-{at}")).expect("a counter").add(1).expect("added");
    }
    replica.flush();
    hostile.publish(gossip_all(&replica));
    eventually("the join is refused", || {
        metric(&nodes[0], "counter_rejected_input_total", "join_refused") > 0.0
    })
    .await;
    // The alarm and readiness follow the count within the same turn of the driver.
    eventually("the alarm is raised", || metric(&nodes[0], "counter_alarms_total", "") > 0.0).await;
    eventually("readiness closes", || !nodes[0].is_ready()).await;
    assert_eq!(metric(&nodes[0], "counter_counters", ""), 1.0, "no part of it is taken");
    assert!(nodes[1].is_ready(), "it was not passed on");
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_of_too_many_replicas_is_refused_and_its_sender_is_cut_off() {
    let nodes = honest().await;
    let mut hostile = Hostile::connect(&nodes[0]).await;
    // As many as fit a message.
    hostile.ask(&nodes[0], ask_with_digest(hostile.node(), 120_000));
    hostile.until_cut_off().await;
    assert!(metric(&nodes[0], "counter_rejected_input_total", "digest_too_long") > 0.0);
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_of_a_million_replicas_is_not_read_to_its_end_and_its_sender_is_cut_off() {
    let nodes = honest().await;
    let mut hostile = Hostile::connect(&nodes[0]).await;
    hostile.ask(&nodes[0], ask_with_digest(hostile.node(), 1_000_000));
    hostile.until_cut_off().await;
    assert!(metric(&nodes[0], "counter_rejected_connections_total", "oversized_pull") > 0.0);
    assert!(metric(&nodes[0], "counter_replicas", "") < 10.0);
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sockets_that_say_nothing_keep_nobody_out_for_long() {
    if let Err(why) = crowd::allow_open_files(8_000) {
        return println!("SKIPPED: {why}");
    }
    let nodes = honest().await;
    let sockets = crowd::sockets(&address(&nodes[0]), 1_000).await;
    nodes[0].counter("clicks").expect("a counter").add(1).expect("added");
    until_all_show(&nodes, "clicks", 3).await;
    let refused = || metric(&nodes[0], "counter_rejected_connections_total", "");
    eventually("all of them are refused", || refused() >= 1_000.0).await;
    println!("1,000 sockets: {} refused", refused());
    let late = start(&nodes[0].info().cluster, "sin", &[&nodes[0]]).await;
    tokio::time::timeout(cluster::PATIENCE, late.synced()).await.expect("synced");
    drop(sockets);
    late.counter("clicks").expect("a counter").add(1).expect("added");
    until_all_show(&nodes, "clicks", 4).await;
}

/// Each completes its handshake under an identity of its own, and then says nothing of the
/// protocol.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_strangers_take_a_bounded_number_of_places_and_lose_them() {
    if let Err(why) = crowd::allow_open_files(8_000) {
        return println!("SKIPPED: {why}");
    }
    let nodes = honest().await;
    let crowd = crowd::strangers(&address(&nodes[0]), 1_000);
    let count = |reason| metric(&nodes[0], "counter_rejected_connections_total", reason);
    eventually("those beyond the limit are refused", || count("connection_limit") > 0.0).await;
    nodes[0].counter("clicks").expect("a counter").add(1).expect("added");
    until_all_show(&nodes, "clicks", 3).await;
    eventually("those within it are sent away", || count("silent_stranger") > 0.0).await;
    println!(
        "1,000 strangers: {} beyond the limit, {} sent away so far",
        count("connection_limit"),
        count("silent_stranger")
    );
    crowd.abort();
    let late = start(&nodes[0].info().cluster, "sin", &[&nodes[0]]).await;
    tokio::time::timeout(cluster::PATIENCE, late.synced()).await.expect("synced");
    late.counter("clicks").expect("a counter").add(1).expect("added");
    until_all_show(&nodes, "clicks", 4).await;
}
