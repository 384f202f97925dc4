//! A node that stops hands over every add that returned Ok, and refuses all others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cluster::{self, PATIENCE, address, alone, cluster, start, start_all, until_all_show};
use counter_net::{AddError, Copies, Counter, Interest, Node, NotDurable, NotReplicated};
use futures::StreamExt;

/// The threads that add at the moment of the stop.
const THREADS: usize = 4;

/// Adds until an add is refused. Returns how many returned Ok, and whether the last one is unsure.
fn add_until_refused(counter: &Counter, began: &AtomicBool) -> (i128, bool) {
    let mut added = 0;
    loop {
        match counter.add(1) {
            Ok(()) => added += 1,
            Err(AddError::Stopped) => return (added, false),
            Err(error) => {
                assert_eq!(error, AddError::MaybeAdded);
                return (added, true);
            }
        }
        began.store(true, Ordering::Relaxed);
    }
}

/// Stops `node` while threads add to it. Returns how many adds returned Ok, and how many more may
/// count.
async fn stop_under_load(node: &Node) -> (i128, i128) {
    let counter = node.counter("clicks").expect("a counter");
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (counter, began) = (counter.clone(), std::sync::Arc::new(AtomicBool::new(false)));
            let seen = began.clone();
            (std::thread::spawn(move || add_until_refused(&counter, &began)), seen)
        })
        .collect();
    cluster::eventually("every thread adds", || {
        threads.iter().all(|(_, began)| began.load(Ordering::Relaxed))
    })
    .await;
    tokio::time::timeout(PATIENCE, node.shutdown()).await.expect("it stops");
    let ends = threads.into_iter().map(|(thread, _)| thread.join().expect("it is refused at last"));
    ends.fold((0, 0), |(added, unsure), (more, is_unsure)| {
        (added + more, unsure + i128::from(is_unsure))
    })
}

/// Checks a total. Only an add that was said to be unsure may count although it returned an error.
fn assert_holds(total: i128, (added, unsure): (i128, i128)) {
    assert!(
        (added..=added + unsure).contains(&total),
        "the total is {total}, {added} adds returned Ok, and {unsure} may count"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_hands_over_accepted_adds() {
    for _ in 0..8 {
        let nodes = start_all(&cluster(), &["ord", "fra"]).await;
        let added = stop_under_load(&nodes[0]).await;
        assert_holds(nodes[1].view("clicks").total, added);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_saves_accepted_adds() {
    let directory = std::env::temp_dir().join(cluster()).with_extension("data");
    let (name, mut before) = (cluster(), 0);
    for _ in 0..4 {
        let node = alone(&name, "ord").data_dir(&directory).start().await.expect("starts");
        assert_eq!(node.view("clicks").total, before);
        let added = stop_under_load(&node).await;
        let again = alone(&name, "ord").data_dir(&directory).start().await.expect("starts");
        assert_holds(again.view("clicks").total - before, added);
        before = again.view("clicks").total;
        again.shutdown().await;
    }
    std::fs::remove_dir_all(directory).expect("removable");
}

/// Checks that everything that could add is refused.
async fn assert_refuses(counter: &Counter) {
    assert_eq!(counter.add(1), Err(AddError::Stopped));
    assert_eq!(counter.subtract(1), Err(AddError::Stopped));
    assert_eq!(counter.add_once("id", 1), Err(AddError::Stopped));
    assert_eq!(counter.add_durable(1).err(), Some(AddError::Stopped));
    assert_eq!(counter.add_replicated(1, Copies::All, PATIENCE).err(), Some(AddError::Stopped));
    assert_eq!(counter.reset(), Err(AddError::Stopped));
    assert_eq!(counter.durable().await, Err(NotDurable::Stopped));
    assert_eq!(counter.replicated(Copies::All, PATIENCE).await, Err(NotReplicated::Stopped));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_node_refuses_adds_and_still_reads() {
    let node = start(&cluster(), "ord", &[]).await;
    let counter = node.counter("clicks").expect("a counter");
    counter.add(3).expect("added");
    node.shutdown().await;
    assert_refuses(&counter).await;
    let later = node.counter("later").expect("a handle to read with");
    assert_eq!((later.add(1), later.total()), (Err(AddError::Stopped), 0));
    assert_eq!((counter.total(), node.view("clicks").total), (3, 3));
    node.synced().await;
    node.leave().await;
}

/// There is one thread, so without an await the driver has not run yet.
#[tokio::test]
async fn counters_refuse_without_a_node_handle() {
    for has_run in [false, true] {
        let node = start(&cluster(), "ord", &[]).await;
        if has_run {
            tokio::time::timeout(PATIENCE, node.synced()).await.expect("alone");
        }
        let (counter, clone, mut changes) = (
            node.counter("clicks").expect("a counter"),
            node.clone(),
            node.subscribe(Interest::All),
        );
        drop(node);
        assert_eq!(counter.add(1), Ok(()), "one handle is left");
        drop(clone);
        assert_eq!(counter.add(1), Err(AddError::Stopped), "at once");
        let gone = async {
            while changes.next().await.is_some() {}
            assert_refuses(&counter).await;
        };
        tokio::time::timeout(PATIENCE / 2, gone).await.expect("nothing waits for a stopped node");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clean_stop_delivers_the_last_add() {
    let name = cluster();
    let first = start(&name, "ord", &[]).await;
    let second = alone(&name, "fra").peer(address(&first)).start().await.expect("starts");
    tokio::time::timeout(PATIENCE, second.synced()).await.expect("synced");
    let durable = second.counter("clicks").expect("a counter").add_durable(5).expect("added");
    second.shutdown().await;
    assert_eq!(
        tokio::time::timeout(Duration::from_secs(5), durable).await,
        Ok(Ok(())),
        "asked before the stop"
    );
    until_all_show(&[first], "clicks", 5).await;
}
