//! A store that 0.1 wrote is opened by this release with every number in it.
//! `golden/store-0.1.redb` is of a node in ord that had joined one in fra.

use std::path::PathBuf;

use counter_net::{Discovery, Node};

/// A directory with a copy of the store; it goes with its test.
struct Copied(PathBuf);

impl Copied {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("counter-golden-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store-0.1.redb");
        std::fs::copy(golden, path.join("counter.redb")).unwrap();
        Self(path)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

async fn start(directory: &Copied) -> Node {
    let builder = Node::builder()
        .region("ord")
        .cluster("golden")
        .discover(Discovery::None)
        .data_dir(&directory.0);
    builder.start().await.expect("a store of 0.1 is opened")
}

fn totals(node: &Node) -> [i128; 3] {
    ["clicks", "likes", "café"].map(|name| node.view(name).total)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_0_1_is_read_and_written_on() {
    let directory = Copied::new();
    let node = start(&directory).await;
    assert_eq!(totals(&node), [3, 1_000_000, 7]);
    let regions = node.view("clicks").regions;
    let value = |region: &str| regions.get(region).map(|region| region.value);
    assert_eq!((value("ord"), value("fra")), (Some(5), Some(-2)));
    node.counter("clicks").unwrap().add_durable(4).unwrap().await.expect("written");
    node.shutdown().await;
    let node = start(&directory).await;
    assert_eq!(totals(&node), [7, 1_000_000, 7]);
    node.shutdown().await;
}
