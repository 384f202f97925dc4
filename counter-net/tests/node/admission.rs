//! The nodes that are let in, and the diagnosis that the others get.

use std::time::{Duration, Instant};

use crate::cluster::{
    PATIENCE, address, alone, cluster, eventually, metric, start, until, until_all_show,
};
use counter_net::{ClusterKey, StartError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The time for a diagnosis: the handshake's timeout, and room for a loaded machine.
const SECONDS: Duration = Duration::from_secs(8);

fn key(words: &str) -> ClusterKey {
    words.parse().expect("a key")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_cluster_names_never_mix() {
    let (ours, theirs) = (cluster(), cluster());
    let first = start(&ours, "ord", &[]).await;
    let second = start(&theirs, "fra", &[&first]).await;
    first.counter("clicks").expect("a counter").add(1).expect("added");
    second.counter("clicks").expect("a counter").add(10).expect("added");
    until(&second, "it reports that another cluster answered", |node| {
        node.info().trouble.is_some_and(|trouble| trouble.contains("another cluster"))
    })
    .await;
    eventually("both refuse", || {
        [&first, &second]
            .iter()
            .all(|node| metric(node, "counter_rejected_connections_total", "other_cluster") > 0.0)
    })
    .await;
    assert_eq!((first.view("clicks").total, second.view("clicks").total), (1, 10));
    assert_eq!((first.info().peers, second.info().peers), (0, 0));
    assert!([&first, &second].iter().all(|node| node.members().len() == 1));
    assert!(
        !second.is_synced() && !second.info().in_touch,
        "it does not reach the peer that it was told of"
    );
}

/// The address that this machine uses towards others, if it has one. Nothing is sent.
fn outer_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a port");
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_the_same_key_agree_beyond_loopback() {
    let name = cluster();
    let everywhere =
        alone(&name, "ord").cluster_key(key("correct horse battery")).listen("/ip4/0.0.0.0/tcp/0");
    let first = everywhere.start().await.expect("starts");
    let loopback = first
        .info()
        .addresses
        .into_iter()
        .find(|address| address.contains("/127.0.0.1/"))
        .expect("every interface is listened on");
    let addresses = first.info().addresses;
    assert!(
        addresses.last().is_some_and(|last| last.contains("/127.0.0.1/")),
        "loopback is the last: {addresses:?}"
    );
    if let Some(outer) = outer_address() {
        assert!(
            addresses[0].starts_with(&format!("/ip4/{outer}/")),
            "other machines dial {outer} first: {addresses:?}"
        );
    }
    let second = alone(&name, "fra")
        .cluster_key(key("correct horse battery"))
        .peer(loopback)
        .start()
        .await
        .expect("starts");
    second.counter("clicks").expect("a counter").add(3).expect("added");
    until_all_show(&[first, second], "clicks", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_key_is_diagnosed_within_seconds() {
    let name = cluster();
    let first = alone(&name, "ord")
        .cluster_key(key("correct horse battery"))
        .start()
        .await
        .expect("starts");
    let wrong = key("incorrect horse battery");
    let began = Instant::now();
    let second = alone(&name, "fra")
        .cluster_key(wrong.clone())
        .peer(address(&first))
        .start()
        .await
        .expect("starts");
    let hinted =
        |trouble: String| trouble.contains("cluster key") && trouble.contains(&wrong.fingerprint());
    until(&second, "the hint with the fingerprint", |node| node.info().trouble.is_some_and(hinted))
        .await;
    assert!(began.elapsed() < SECONDS, "it took {:?}", began.elapsed());
    assert_eq!((first.info().peers, second.info().peers), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_key_is_diagnosed_within_seconds() {
    let name = cluster();
    let keyed = alone(&name, "ord")
        .cluster_key(key("correct horse battery"))
        .start()
        .await
        .expect("starts");
    let began = Instant::now();
    let open = start(&name, "fra", &[&keyed]).await;
    until(&open, "the hint", |node| {
        node.info().trouble.is_some_and(|trouble| trouble.contains("cluster key"))
    })
    .await;
    assert!(began.elapsed() < SECONDS, "it took {:?}", began.elapsed());
    assert_eq!((keyed.info().peers, open.info().peers), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn node_with_two_keys_meets_a_node_with_either() {
    let (old, new) = (key("correct horse battery"), key("incorrect horse battery"));
    for one in [&old, &new] {
        let name = cluster();
        let first = alone(&name, "ord").cluster_key(one.clone()).start().await.expect("starts");
        let both = alone(&name, "fra").cluster_key(old.clone()).also_accept_key(new.clone());
        let both = both.peer(address(&first)).start().await.expect("starts");
        both.counter("clicks").expect("a counter").add(4).expect("added");
        let nodes = [first, both];
        until_all_show(&nodes, "clicks", 4).await;
        assert_eq!(nodes[1].info().trouble, None);
        assert_eq!(metric(&nodes[0], "counter_rejected_connections_total", "wrong_key"), 0.0);
    }
}

#[tokio::test]
async fn further_keys_without_a_first_are_refused() {
    let error = alone(&cluster(), "ord")
        .also_accept_key(key("correct horse battery"))
        .start()
        .await
        .expect_err("refused");
    assert!(
        matches!(error, StartError::FirstKeyMissing) && error.to_string().contains("`cluster_key`"),
        "{error}"
    );
}

#[tokio::test]
async fn listening_beyond_loopback_needs_a_key() {
    let error =
        alone(&cluster(), "ord").listen("/ip4/0.0.0.0/tcp/0").start().await.expect_err("refused");
    assert!(matches!(error, StartError::KeyNeeded { .. }));
    assert!(
        error.to_string().contains("COUNTER_CLUSTER_KEY")
            && error.to_string().contains("/ip4/127.0.0.1/tcp/0"),
        "{error}"
    );
}

#[tokio::test]
async fn taken_port_and_bad_settings_say_so() {
    let name = cluster();
    let first = start(&name, "ord", &[]).await;
    let taken = address(&first).split("/p2p/").next().expect("an address").to_owned();
    let error = alone(&name, "fra").listen(taken.clone()).start().await.expect_err("refused");
    assert!(
        matches!(error, StartError::Listen { .. }) && error.to_string().contains(&taken),
        "{error}"
    );
    assert!(matches!(alone(&name, "Ord!").start().await, Err(StartError::Region(_))));
    assert!(matches!(alone("a/b", "ord").start().await, Err(StartError::Cluster(_))));
    assert!(matches!(
        alone(&name, "ord").peer("127.0.0.1:80").start().await,
        Err(StartError::Address { .. })
    ));
    assert!(matches!(
        alone(&name, "ord").listen("/ip4/127.0.0.1/udp/1").start().await,
        Err(StartError::Address { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_on_the_gossip_port_do_no_harm() {
    let name = cluster();
    let first = start(&name, "ord", &[]).await;
    let port: u16 =
        address(&first).split('/').nth(4).and_then(|port| port.parse().ok()).expect("a TCP port");
    for seed in 0..50 {
        let mut random = fastrand::Rng::with_seed(seed);
        let noise: Vec<u8> = (0..1 << (seed % 16)).map(|_| random.u8(..)).collect();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
        // The node may hang up during the write.
        let _hung_up = stream.write_all(&noise).await;
        let _half_open = stream.shutdown().await;
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "it keeps a connection that is not one");
    }
    assert!(metric(&first, "counter_rejected_connections_total", "handshake") > 0.0);
    let second = start(&name, "fra", &[&first]).await;
    second.counter("clicks").expect("a counter").add(1).expect("added");
    until_all_show(&[first, second], "clicks", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_refused() {
    let name = cluster();
    let first = start(&name, "ord", &[]).await;
    let port: u16 =
        address(&first).split('/').nth(4).and_then(|port| port.parse().ok()).expect("a TCP port");
    let mut held = Vec::new();
    for _ in 0..1_000 {
        held.push(TcpStream::connect(("127.0.0.1", port)).await.expect("the system accepts"));
    }
    eventually("strangers are refused", || {
        metric(&first, "counter_rejected_connections_total", "connection_limit") > 0.0
    })
    .await;
    first.counter("clicks").expect("a counter").add(1).expect("added");
    let second = start(&name, "fra", &[&first]).await;
    until_all_show(&[first, second], "clicks", 1).await;
    drop(held);
}
