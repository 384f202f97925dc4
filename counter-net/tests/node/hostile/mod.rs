//! Hostile peers that speak real libp2p. They are refused, counted and cut off, and the totals of
//! the honest nodes stay exact.

mod crowd;
pub(crate) mod payloads;
pub(crate) mod peer;

use std::time::{Duration, Instant};

use crate::cluster::{
    self, address, alone, cluster, eventually, metric, start, start_all, until, until_all_show,
};
use counter_core::{Replica, ReplicaId};
use counter_net::{Counter, Interest, Node};
use futures::StreamExt;
use libp2p::Multiaddr;
use payloads::{ask_with_digest, gossip_all, gossip_of, pull_all};
use peer::Hostile;

/// Two honest nodes that agree on a total of 2.
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
async fn forged_cells_cut_the_sender_off() {
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
async fn garbage_gossip_cuts_the_sender_off() {
    let nodes = honest().await;
    let mut hostile = Hostile::connect(&nodes[0]).await;
    hostile.publish(vec![0xa5; 1_000]);
    hostile.until_cut_off().await;
    assert!(metric(&nodes[0], "counter_rejected_input_total", "malformed") > 0.0);
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_pull_cuts_the_sender_off() {
    let nodes = honest().await;
    let mut hostile = Hostile::connect(&nodes[0]).await;
    hostile.ask(&nodes[0], vec![0xa5; 1_000]);
    hostile.until_cut_off().await;
    assert!(metric(&nodes[0], "counter_rejected_input_total", "malformed") > 0.0);
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_pull_is_not_read_to_its_end() {
    let nodes = honest().await;
    let mut hostile = Hostile::connect(&nodes[0]).await;
    hostile.ask(&nodes[0], vec![0; 16 * 1024 * 1024]);
    hostile.until_cut_off().await;
    assert!(metric(&nodes[0], "counter_rejected_connections_total", "oversized_pull") > 0.0);
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_gossip_disturbs_nobody() {
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

/// The time from an add until a subscriber at the other node reads it.
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

/// The peer asks for two megabytes a hundred times, and from then on reads nothing from its socket.
#[tokio::test(flavor = "multi_thread")]
async fn deaf_peer_slows_nobody_and_is_given_up() {
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
    // It answers no more pings, and stays connected for about five seconds.
    let began = Instant::now();
    while nodes[0].info().peers > 1 {
        times.push(seen_after(&clicks, &nodes[1]).await);
        assert!(began.elapsed() < Duration::from_secs(60), "it is never given up");
    }
    times.sort();
    let (count, median, greatest) = (times.len(), times[times.len() / 2], times[times.len() - 1]);
    println!(
        "beside a peer that does not read, the other node saw {count} adds after {median:?} (median) to {greatest:?}"
    );
    assert!(
        median < Duration::from_millis(500) && greatest < Duration::from_secs(5),
        "{median:?}, {greatest:?}"
    );
    until_all_show(&nodes, "clicks", 2 + count as i128).await;
    deaf.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_peer_cannot_return_at_once() {
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
async fn foreign_delta_cannot_be_replayed() {
    let nodes = honest().await;
    let third = start(&nodes[0].info().cluster, "sin", &[&nodes[0], &nodes[1]]).await;
    third.counter("clicks").expect("a counter").add(5).expect("added");
    until_all_show(&nodes, "clicks", 7).await;
    let mut listener = Hostile::connect(&nodes[0]).await;
    third.counter("clicks").expect("a counter").add(1).expect("added");
    let heard = listener.next_gossip().await;
    until_all_show(&nodes, "clicks", 8).await;
    // Under its own signature this is a forgery, and it cannot make the author's signature.
    listener.publish(heard);
    listener.until_cut_off().await;
    until_all_show(&nodes, "clicks", 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_delta_of_its_writer_changes_nothing() {
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
        "a late delta is nobody's fault"
    );
    nodes[1].counter("clicks").expect("a counter").add(1).expect("added");
    until_all_show(&nodes, "clicks", 113).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_counters_are_refused_whole_with_an_alarm() {
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
    // A join takes twice as many counters as may be made. This is one more.
    for at in 0..201 {
        replica.counter(&format!("counter-{at}")).expect("a counter").add(1).expect("added");
    }
    replica.flush();
    hostile.publish(gossip_all(&replica));
    eventually("the join is refused", || {
        metric(&nodes[0], "counter_rejected_input_total", "join_refused") > 0.0
    })
    .await;
    // The alarm and the loss of readiness follow within the same turn of the driver.
    eventually("the alarm is raised", || metric(&nodes[0], "counter_alarms_total", "") > 0.0).await;
    eventually("readiness closes", || !nodes[0].is_ready()).await;
    assert_eq!(metric(&nodes[0], "counter_counters", ""), 1.0, "no part of it is taken");
    assert!(nodes[1].is_ready(), "it was not passed on");
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_long_digest_cuts_the_sender_off() {
    let nodes = honest().await;
    let mut hostile = Hostile::connect(&nodes[0]).await;
    // As many as fit into a message.
    hostile.ask(&nodes[0], ask_with_digest(hostile.node(), 120_000));
    hostile.until_cut_off().await;
    assert!(metric(&nodes[0], "counter_rejected_input_total", "digest_too_long") > 0.0);
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn digest_of_a_million_replicas_is_not_read_to_its_end() {
    let nodes = honest().await;
    let mut hostile = Hostile::connect(&nodes[0]).await;
    hostile.ask(&nodes[0], ask_with_digest(hostile.node(), 1_000_000));
    hostile.until_cut_off().await;
    assert!(metric(&nodes[0], "counter_rejected_connections_total", "oversized_pull") > 0.0);
    assert!(metric(&nodes[0], "counter_replicas", "") < 10.0);
    still_exact(&nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousand_silent_sockets_keep_nobody_out() {
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

/// Each stranger completes its handshake under its own identity, and then stays silent.
#[tokio::test(flavor = "multi_thread")]
async fn thousand_strangers_take_few_places_and_lose_them() {
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
