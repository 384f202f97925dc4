//! Nodes find each other through a shared directory or a name server.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cluster::name_server::{Mode, NameServer};
use crate::cluster::{self, cluster, eventually, until, until_all, until_all_show};
use counter_net::{Discovery, Node, NodeBuilder, StartError};

/// A directory that is removed with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(std::env::temp_dir().join(cluster()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn local(cluster: &str, region: &str, directory: &Scratch) -> NodeBuilder {
    Node::builder()
        .cluster(cluster)
        .region(region)
        .discover(Discovery::Local)
        .runtime_dir(&directory.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_one_directory_find_each_other() {
    let (name, directory) = (cluster(), Scratch::new());
    let starts = ["ord", "fra", "sin"].map(|region| local(&name, region, &directory).start());
    let mut nodes: Vec<Node> = futures::future::try_join_all(starts).await.expect("they start");
    for node in &nodes {
        node.synced().await;
        node.counter("clicks").expect("a counter").add(1).expect("added");
    }
    until_all_show(&nodes, "clicks", 3).await;
    let began = Instant::now();
    let fourth = local(&name, "syd", &directory).start().await.expect("starts");
    fourth.synced().await;
    assert_eq!(fourth.view("clicks").total, 3, "everything is there at once");
    assert!(began.elapsed() < Duration::from_secs(1), "it took {:?}", began.elapsed());
    nodes.push(fourth);
    let all: Vec<&Node> = nodes.iter().collect();
    let everybody = || {
        all.iter().all(|node| {
            node.view("clicks").regions.values().filter(|region| region.nodes == 1).count() == 4
        })
    };
    until_all(&all, "all nodes know each other", everybody).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_in_one_directory_do_not_meet() {
    let directory = Scratch::new();
    let nodes = [
        local(&cluster(), "ord", &directory).start().await.expect("starts"),
        local(&cluster(), "ord", &directory).start().await.expect("starts"),
    ];
    for node in &nodes {
        node.synced().await;
        assert_eq!((node.info().peers, node.members().len()), (0, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_node_is_found() {
    let (name, directory) = (cluster(), Scratch::new());
    let first = local(&name, "ord", &directory).start().await.expect("starts");
    let second = local(&name, "fra", &directory).start().await.expect("starts");
    until(&first, "a peer", |node| node.info().peers == 1).await;
    drop(second);
    until(&first, "no peer", |node| node.info().peers == 0).await;
    let third = local(&name, "fra", &directory).start().await.expect("starts");
    third.counter("clicks").expect("a counter").add(1).expect("added");
    until_all_show(&[first, third], "clicks", 1).await;
}

#[tokio::test]
async fn unusable_directory_is_named_in_the_error() {
    let file = Scratch::new();
    std::fs::write(&file.0, b"").expect("writable");
    let error = local(&cluster(), "ord", &file).start().await.expect_err("refused");
    assert!(
        matches!(error, StartError::Discovery(_))
            && error.to_string().contains(&*file.0.to_string_lossy()),
        "{error}"
    );
    std::fs::remove_file(&file.0).expect("removable");
}

#[tokio::test]
async fn impossible_discovery_says_why() {
    let mdns = Node::builder()
        .cluster(cluster())
        .discover(Discovery::Mdns)
        .start()
        .await
        .expect_err("refused");
    assert!(mdns.to_string().contains("cluster key"), "{mdns}");
    let fly = Node::builder()
        .cluster(cluster())
        .discover(Discovery::Fly)
        .start()
        .await
        .expect_err("refused");
    assert!(fly.to_string().contains("FLY_APP_NAME"), "{fly}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_addresses_of_a_name_are_found_even_later_ones() {
    let (name, server) = (cluster(), NameServer::start("127.0.0.1:0").await);
    let at = |ip: &str, port: u16| {
        let version = if ip.contains(':') { "ip6" } else { "ip4" };
        format!("/{version}/{ip}/tcp/{port}")
    };
    let first = Node::builder()
        .cluster(name.clone())
        .region("ord")
        .listen(at("127.0.0.2", 0))
        .discover(Discovery::None)
        .start()
        .await
        .expect("starts");
    let port: u16 = cluster::address(&first)
        .split('/')
        .nth(4)
        .and_then(|port| port.parse().ok())
        .expect("a TCP port");
    let sixth = Node::builder()
        .cluster(name.clone())
        .region("fra")
        .listen(at("::1", port))
        .discover(Discovery::None)
        .start()
        .await;
    let sixth = sixth.expect("IPv6 on loopback, and the port free there");
    for ip in ["127.0.0.2", "::1", "127.0.0.4"] {
        server.show(ip.parse().expect("an address"));
    }
    let way: Discovery = format!("dns:nodes.test:{port}").parse().expect("a way");
    let asking = Node::builder()
        .cluster(name.clone())
        .region("sin")
        .listen(at("127.0.0.4", port))
        .discover(way.clone())
        .name_server(server.address);
    let asking = asking.start().await.expect("starts");
    until(&asking, "both are found by A and AAAA, and it does not count itself", |node| {
        node.info().peers == 2
    })
    .await;
    let late = Node::builder()
        .cluster(name)
        .region("syd")
        .listen(at("127.0.0.3", port))
        .discover(Discovery::None)
        .start()
        .await
        .expect("starts");
    server.show("127.0.0.3".parse().expect("an address"));
    until(&asking, "the one added later", |node| node.info().peers == 3).await;
    late.counter("clicks").expect("a counter").add(1).expect("added");
    until_all_show(&[first, sixth, asking, late], "clicks", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_joins_soon_after_its_name_server_recovers() {
    for mode in [Mode::ServFail, Mode::Silent, Mode::NxDomain] {
        let (name, server) = (cluster(), NameServer::start("127.0.0.1:0").await);
        server.set(mode);
        let first = Node::builder()
            .cluster(name.clone())
            .region("ord")
            .discover(Discovery::None)
            .start()
            .await
            .expect("starts");
        let port = cluster::address(&first).split('/').nth(4).expect("a TCP port").to_owned();
        let way: Discovery = format!("dns:nodes.test:{port}").parse().expect("a way");
        let second =
            Node::builder().cluster(name).region("fra").discover(way).name_server(server.address);
        let second = second.start().await.expect("starts whatever the name server says");
        eventually("it asks on", || server.questions() >= 8).await;
        assert_eq!(second.info().peers, 0, "{mode:?}");
        server.show("127.0.0.1".parse().expect("an address"));
        server.set(Mode::Records);
        let shown = Instant::now();
        until(&second, "it has joined", |node| node.info().peers == 1).await;
        assert!(
            shown.elapsed() < Duration::from_secs(5),
            "{mode:?}: it took {:?}",
            shown.elapsed()
        );
    }
}
