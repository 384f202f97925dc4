//! Data directories of real nodes. Durable adds survive, every start is a new writer, and copies of
//! a directory do no harm.

use std::path::{Path, PathBuf};
use std::time::Duration;

use counter_net::{Discovery, Node, NodeBuilder, StartError, StoreError};

/// A directory that is removed with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!(
            "counter-durability-{}-{:016x}",
            std::process::id(),
            fastrand::u64(..)
        ));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn node(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn builder(directory: &Path) -> NodeBuilder {
    Node::builder()
        .region("ord")
        .cluster("durability")
        .discover(Discovery::None)
        .data_dir(directory)
}

async fn start(directory: &Path) -> Node {
    builder(directory).start().await.unwrap()
}

/// Starts a node as soon as the dropped one before it has released the directory.
async fn start_when_free(directory: &Path) -> Node {
    loop {
        match builder(directory).start().await {
            Err(StartError::Store(StoreError::InUse { .. })) => tokio::task::yield_now().await,
            started => return started.unwrap(),
        }
    }
}

async fn converged(nodes: &[&Node], total: i128) {
    let agree = async {
        while nodes.iter().any(|node| node.view("clicks").total != total) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let totals = || nodes.iter().map(|node| node.view("clicks").total).collect::<Vec<_>>();
    tokio::time::timeout(Duration::from_secs(20), agree)
        .await
        .unwrap_or_else(|_| panic!("{total} expected, {:?} shown", totals()));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn durable_adds_survive_an_abrupt_end() {
    let scratch = Scratch::new();
    let directory = scratch.node("a");
    let mut incarnations: Vec<counter_net::ReplicaId> = Vec::new();
    for incarnation in 1..=5 {
        let node = start_when_free(&directory).await;
        incarnations.push(node.info().replica);
        let clicks = node.counter("clicks").unwrap();
        clicks.add_durable(10).unwrap().await.unwrap();
        assert_eq!(clicks.total(), 10 * incarnation);
        drop(node);
    }
    assert!(
        incarnations
            .windows(2)
            .all(|pair| pair[0].node == pair[1].node && pair[0].incarnation < pair[1].incarnation),
        "{incarnations:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_saves_adds_nobody_waited_for() {
    let scratch = Scratch::new();
    let node = start(&scratch.node("a")).await;
    node.counter("clicks").unwrap().add(3).unwrap();
    node.counter("clicks").unwrap().subtract(1).unwrap();
    node.shutdown().await;
    let again = start(&scratch.node("a")).await;
    assert_eq!(again.view("clicks").total, 2);
    assert_eq!(again.view("clicks").regions["ord"].value, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_cluster_returns_from_any_directory() {
    let scratch = Scratch::new();
    let first = start(&scratch.node("a")).await;
    let second = builder(&scratch.node("b"))
        .region("fra")
        .peer(&first.info().addresses[0])
        .start()
        .await
        .unwrap();
    first.counter("clicks").unwrap().add_durable(5).unwrap().await.unwrap();
    second.counter("clicks").unwrap().add_durable(7).unwrap().await.unwrap();
    converged(&[&first, &second], 12).await;
    let hash = first.view("clicks").state_hash;
    first.shutdown().await;
    second.shutdown().await;
    let again = start(&scratch.node("a")).await;
    assert_eq!(again.view("clicks").total, 12);
    assert_eq!(again.view("clicks").regions["fra"].value, 7);
    assert_ne!(again.view("clicks").state_hash, hash, "a new writer has a record of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn directory_opens_in_one_node_at_a_time() {
    let scratch = Scratch::new();
    let node = start(&scratch.node("a")).await;
    let second = builder(&scratch.node("a")).start().await;
    assert!(matches!(second, Err(StartError::Store(StoreError::InUse { .. }))), "{second:?}");
    node.shutdown().await;
    start(&scratch.node("a")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copied_directory_counts_every_add_once() {
    let scratch = Scratch::new();
    let first = start(&scratch.node("a")).await;
    first.counter("clicks").unwrap().add_durable(100).unwrap().await.unwrap();
    first.shutdown().await;
    copy(&scratch.node("a"), &scratch.node("copy"));
    let first = start(&scratch.node("a")).await;
    let copied =
        builder(&scratch.node("copy")).peer(&first.info().addresses[0]).start().await.unwrap();
    assert_ne!(
        first.info().replica.node,
        copied.info().replica.node,
        "the copy takes another identity"
    );
    first.counter("clicks").unwrap().add(1).unwrap();
    copied.counter("clicks").unwrap().add(2).unwrap();
    converged(&[&first, &copied], 103).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_directory_loses_nothing_a_member_has() {
    let scratch = Scratch::new();
    let other = start(&scratch.node("other")).await;
    let first = builder(&scratch.node("a")).peer(&other.info().addresses[0]).start().await.unwrap();
    first.counter("clicks").unwrap().add_durable(100).unwrap().await.unwrap();
    converged(&[&first, &other], 100).await;
    first.shutdown().await;
    copy(&scratch.node("a"), &scratch.node("backup"));
    let first = builder(&scratch.node("a")).peer(&other.info().addresses[0]).start().await.unwrap();
    first.counter("clicks").unwrap().add_durable(11).unwrap().await.unwrap();
    converged(&[&first, &other], 111).await;
    first.shutdown().await;
    copy(&scratch.node("backup"), &scratch.node("a"));
    let restored =
        builder(&scratch.node("a")).peer(&other.info().addresses[0]).start().await.unwrap();
    restored.counter("clicks").unwrap().add(1).unwrap();
    converged(&[&restored, &other], 112).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn durable_add_without_a_directory_resolves_at_once() {
    let node =
        Node::builder().cluster("durability").discover(Discovery::None).start().await.unwrap();
    node.counter("clicks").unwrap().add_durable(1).unwrap().await.unwrap();
}

/// `golden/store-0.1.redb` was written by release 0.1, by a node in ord that had joined one in fra.
#[tokio::test(flavor = "multi_thread")]
async fn store_of_0_1_is_read_and_written() {
    let scratch = Scratch::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store-0.1.redb");
    std::fs::copy(golden, scratch.0.join("counter.redb")).unwrap();
    let start = || builder(&scratch.0).cluster("golden").start();
    let totals = |node: &Node| ["clicks", "likes", "café"].map(|name| node.view(name).total);
    let node = start().await.expect("a store of 0.1 is opened");
    assert_eq!(totals(&node), [3, 1_000_000, 7]);
    let regions = node.view("clicks").regions;
    let value = |region: &str| regions.get(region).map(|region| region.value);
    assert_eq!((value("ord"), value("fra")), (Some(5), Some(-2)));
    node.counter("clicks").unwrap().add_durable(4).unwrap().await.expect("written");
    node.shutdown().await;
    let node = start().await.expect("it is opened again");
    assert_eq!(totals(&node), [7, 1_000_000, 7]);
    node.shutdown().await;
}
