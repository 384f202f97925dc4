//! Promises to a service that embeds the crate: types that any thread can hold, no foreign types,
//! any tokio runtime, and futures that may be dropped.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::cluster::{
    PATIENCE, address, alone, cluster, crash_last, eventually, metric, start, start_all,
};
use counter_net::*;
use futures::StreamExt;

/// A long wait: longer than anything here takes on a loaded machine.
const LONG: Duration = Duration::from_secs(20);

fn is_shared<T: Send + Sync + 'static>() {}

/// One type on each line, as `public_types_are_send_and_sync` reads it.
fn types_of_the_crate() {
    is_shared::<AddError>();
    is_shared::<AddedBatch>();
    is_shared::<WriteError>();
    is_shared::<Agreement>();
    is_shared::<BatchAdd<'static>>();
    is_shared::<BatchError>();
    is_shared::<BatchResult>();
    is_shared::<Change>();
    is_shared::<Changes>();
    is_shared::<ClusterKey>();
    is_shared::<ClusterKeyError>();
    is_shared::<Copies>();
    is_shared::<Counter>();
    is_shared::<CounterTotal>();
    is_shared::<CounterView>();
    is_shared::<Counters>();
    is_shared::<Discovery>();
    is_shared::<DiscoveryError>();
    is_shared::<Durable>();
    is_shared::<Interest>();
    is_shared::<Lag>();
    is_shared::<LimitCheck>();
    is_shared::<Incarnation>();
    is_shared::<Member>();
    is_shared::<MetricsFormat>();
    is_shared::<Node>();
    is_shared::<NodeBuilder>();
    is_shared::<NodeInfo>();
    is_shared::<NotDurable>();
    is_shared::<NotReached>();
    is_shared::<NotReady>();
    is_shared::<NotReplicated>();
    is_shared::<AddOutcome>();
    is_shared::<RegionView>();
    is_shared::<ReplicaId>();
    is_shared::<Replicated>();
    is_shared::<NodeFailure>();
    is_shared::<RetireError>();
    is_shared::<StableTotal>();
    is_shared::<Standing>();
    is_shared::<StartError>();
    is_shared::<StateHash>();
    is_shared::<StoreError>();
    is_shared::<Token>();
    is_shared::<TokenError>();
    is_shared::<Viewer>();
    is_shared::<Window>();
    use counter_net::protocol::*;
    is_shared::<Alarm>();
    is_shared::<Input>();
    is_shared::<MessageKind>();
    is_shared::<NodeId>();
    is_shared::<Notice>();
    is_shared::<Output>();
    is_shared::<Presence>();
    is_shared::<ProtocolConfig>();
    is_shared::<Refusal>();
    is_shared::<RenewalCause>();
    is_shared::<Replicator>();
    is_shared::<Search>();
    is_shared::<Stable>();
    is_shared::<Stats>();
    is_shared::<Acceptance>();
    is_shared::<Waited>();
}

fn is_task<F: Future + Send>(future: F) -> F {
    future
}

/// Never run. It compiles if every future may be spawned on any runtime.
async fn futures_of_the_crate(node: Node, counter: Counter, token: Token) {
    let _ = is_task(Node::builder().start()).await;
    is_task(node.synced()).await;
    let _ = is_task(node.reach(&token, LONG)).await;
    let _ = is_task(node.replicated(Copies::All, LONG)).await;
    let _ = is_task(counter.total_at(&token, LONG)).await;
    let _ = is_task(counter.durable()).await;
    is_task(node.subscribe(Interest::All).next()).await;
    is_task(node.shutdown()).await;
    is_task(node.leave()).await;
}

/// The names that `pub use` lines export, without constants.
fn exported(door: &str) -> Vec<&str> {
    let uses = door
        .split("pub use ")
        .skip(1)
        .filter_map(|text| text.split_once(';'))
        .map(|(list, _)| list);
    let names = uses.flat_map(|list| {
        list.rsplit("::").next().unwrap_or(list).split([',', '{', '}', ' ', '\n'])
    });
    names
        .filter(|name| name.starts_with(char::is_uppercase) && name.contains(char::is_lowercase))
        .collect()
}

#[test]
fn public_types_are_send_and_sync() {
    types_of_the_crate();
    let _compiles = |node, counter, token| is_task(futures_of_the_crate(node, counter, token));
    let doors = [include_str!("../../src/lib.rs"), include_str!("../../src/protocol/mod.rs")];
    let names: Vec<&str> = doors.into_iter().flat_map(exported).collect();
    assert!(
        names.len() > 40 && names.contains(&"Node") && names.contains(&"Replicator"),
        "{names:?}"
    );
    let list = include_str!("embedding.rs");
    let missing: Vec<_> =
        names.iter().filter(|name| !list.contains(&format!("is_shared::<{name}"))).collect();
    assert!(missing.is_empty(), "not in the list above: {missing:?}");
}

/// Names that no public signature may contain. A service would have to follow the versions of those
/// crates. The one exception is [`REGISTRY`].
const FOREIGN: [&str; 9] = [
    "libp2p",
    "PeerId",
    "Multiaddr",
    "Keypair",
    "Swarm",
    "hickory",
    "redb",
    "prometheus",
    "request_response",
];

/// `Node::register` takes a registry of this crate, so it is exported under its own name.
const REGISTRY: &str = "pub use prometheus_client; ";

/// Every public declaration of a file up to its body, and the head of every `impl`. A lint ensures
/// that everything `pub` can be reached.
fn declarations(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap_or(source);
    let code: Vec<&str> =
        source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let begins = |line: &str| line.trim_start().starts_with("pub ") || line.starts_with("impl");
    let mut found = Vec::new();
    for at in (0..code.len()).filter(|at| begins(code[*at])) {
        let indent = code[at].len() - code[at].trim_start().len();
        let is_enum = code[at].contains("pub enum ");
        let mut text = String::new();
        for line in &code[at..] {
            text += line;
            text.push(' ');
            let ends = if is_enum {
                line.starts_with(&format!("{}}}", " ".repeat(indent)))
            } else {
                line.ends_with(['{', ';', ',', '}'])
            };
            if ends {
                break;
            }
        }
        found.push(text);
    }
    found
}

fn sources(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect()
}

#[test]
fn no_public_signature_names_a_foreign_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let doors = [include_str!("../../src/lib.rs"), include_str!("../../src/protocol/mod.rs")];
    let names: Vec<&str> = doors.into_iter().flat_map(exported).collect();
    let (mut looked_at, mut foreign) = (0, Vec::new());
    for path in sources(&root) {
        for text in declarations(&std::fs::read_to_string(&path).unwrap()) {
            let is_ours = !text.starts_with("impl")
                || text.split(|c: char| !c.is_alphanumeric()).any(|word| names.contains(&word));
            looked_at += usize::from(is_ours);
            if is_ours && text != REGISTRY && FOREIGN.iter().any(|name| text.contains(name)) {
                foreign.push((path.clone(), text));
            }
        }
    }
    assert!(
        looked_at > 300,
        "only {looked_at} declarations: they are not read as they are written"
    );
    assert!(foreign.is_empty(), "{foreign:#?}");
    let planted = "pub fn peer(&self) -> PeerId {\n}\npub enum E {\n    A(libp2p::Multiaddr),\n}\nimpl From<Multiaddr> for Node {\n";
    assert!(
        declarations(planted).iter().all(|text| FOREIGN.iter().any(|name| text.contains(name)))
            && declarations(planted).len() == 3
    );
}

#[test]
fn node_runs_on_a_single_threaded_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = Directory::new();
    runtime.block_on(async {
        let cluster = cluster();
        let one = alone(&cluster, "ord").data_dir(&directory.0).start().await.unwrap();
        let two = start(&cluster, "fra", &[&one]).await;
        two.synced().await;
        let (likes, there) = (one.counter("likes").unwrap(), two.counter("likes").unwrap());
        // Plain threads, without a runtime.
        let threads: Vec<_> = [likes.clone(), there.clone()]
            .map(|counter| {
                std::thread::spawn(move || (0..1_000).for_each(|_| counter.add(1).unwrap()))
            })
            .into();
        let joined = tokio::task::spawn_blocking(|| {
            threads.into_iter().for_each(|thread| thread.join().unwrap())
        });
        joined.await.unwrap();
        likes.durable().await.unwrap();
        assert_eq!(there.total_at(&one.token(), LONG).await.map(|total| total >= 1_000), Ok(true));
        assert_eq!(likes.total_at(&two.token(), LONG).await, Ok(2_000));
        // Both nodes stop at the same time, on one thread.
        tokio::join!(one.shutdown(), two.shutdown());
    });
}

#[test]
fn start_without_a_runtime_fails_and_shutdown_works() {
    let cluster = cluster();
    let error = futures::executor::block_on(alone(&cluster, "ord").start())
        .expect_err("there is no runtime");
    assert!(
        matches!(error, StartError::NoRuntime) && error.to_string().contains("#[tokio::main]"),
        "{error}"
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = Directory::new();
    let node = runtime.block_on(alone(&cluster, "ord").data_dir(&directory.0).start()).unwrap();
    node.counter("likes").unwrap().add(1).unwrap();
    futures::executor::block_on(node.shutdown());
    let again = runtime.block_on(alone(&cluster, "ord").data_dir(&directory.0).start()).unwrap();
    assert_eq!(again.view("likes").total, 1);
}

/// Polls a future a few times and drops it. True if it had not ended.
async fn drop_after<F: Future>(polls: usize, future: F) -> bool {
    let mut left = polls;
    let mut future = pin!(future);
    std::future::poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(false),
        Poll::Pending if left <= 1 => Poll::Ready(true),
        Poll::Pending => {
            left -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// A directory that is removed with its owner.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new() -> Self {
        let path = std::env::temp_dir().join(cluster()).with_extension("data");
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_starts_commits_and_shutdowns_lose_nothing() {
    let (cluster, directory) = (cluster(), Directory::new());
    let builder = || alone(&cluster, "ord").data_dir(&directory.0);
    for polls in 1..=3 {
        drop_after(polls, builder().start()).await;
    }
    for incarnation in 1..=8 {
        let node = loop {
            // A dropped start releases the directory a moment later. A finished shutdown has
            // released it.
            match builder().start().await {
                Ok(node) => break node,
                Err(error) => assert!(
                    incarnation == 1 && error.to_string().contains("another"),
                    "incarnation {incarnation}: {error}"
                ),
            }
            tokio::task::yield_now().await;
        };
        let likes = node.counter("likes").unwrap();
        assert_eq!(likes.total(), 2 * (incarnation - 1));
        drop_after(1, likes.add_durable(1).unwrap()).await;
        likes.add(1).unwrap();
        // From the very beginning to far into the last commit.
        drop_after(1 << (2 * incarnation), node.shutdown()).await;
        tokio::time::timeout(PATIENCE, node.shutdown())
            .await
            .expect("a shutdown is taken up where it was dropped");
        // After that the directory is free and holds everything.
    }
    assert_eq!(builder().start().await.unwrap().view("likes").total, 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_waits_and_streams_leave_nothing_behind() {
    let cluster = cluster();
    let mut nodes = start_all(&cluster, &["ord", "fra", "sin"]).await;
    let (here, there) = (nodes[0].counter("likes").unwrap(), nodes[1].counter("likes").unwrap());
    drop_after(1, nodes[0].synced()).await;
    nodes[0].synced().await;
    let mut changes = nodes[1].subscribe(Interest::Counter("likes".into()));
    while !drop_after(1, changes.next()).await {}
    crash_last(&mut nodes).await;
    for polls in 1..=3 {
        let dropped = drop_after(polls, here.add_replicated(1, Copies::All, LONG).unwrap()).await;
        assert!(dropped, "a dead node cannot hold it");
    }
    // The adds of the dropped waits are counted and travel. The stream whose `next` was dropped
    // announces them.
    let total = tokio::time::timeout(PATIENCE, async {
        while there.total() < 3 {
            changes.next().await.expect("the node runs");
        }
        there.total()
    });
    assert_eq!(total.await.expect("the stream tells of every change"), 3);
    let strange = alone(&cluster, "lon").start().await.unwrap();
    strange.counter("likes").unwrap().add(1).unwrap();
    let token = strange.token();
    for polls in 1..=3 {
        assert!(
            drop_after(polls, there.total_at(&token, LONG)).await
                && drop_after(polls, nodes[1].reach(&token, LONG)).await
        );
    }
    for node in nodes.clone() {
        eventually("no wait is left", move || metric(&node, "counter_queue_depth", "waits") == 0.0)
            .await;
    }
    let fourth = alone(&cluster, "lon")
        .peer(address(&nodes[0]))
        .peer(address(&strange))
        .start()
        .await
        .unwrap();
    assert!(fourth.counter("likes").unwrap().total_at(&token, LONG).await.is_ok());
    drop_after(1, fourth.leave()).await;
    tokio::time::timeout(PATIENCE, fourth.leave())
        .await
        .expect("a leave is taken up where it was dropped");
}
