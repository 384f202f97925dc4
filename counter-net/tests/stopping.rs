//! What a node that stops takes and refuses: every add that returned Ok is handed over.

mod cluster;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cluster::{PATIENCE, address, alone, cluster, start, start_all, until_all_show};
use counter_net::{AddError, Copies, Counter, Interest, Node, NotDurable, NotReplicated};
use futures::StreamExt;

/// Threads that add at the moment of the stop.
const THREADS: usize = 4;

/// A thread's adds that returned Ok, until one did not.
fn add_until_refused(counter: &Counter, began: &AtomicBool) -> i128 {
    let mut added = 0;
    loop {
        match counter.add(1) {
            Ok(()) => added += 1,
            Err(error) => {
                assert_eq!(error, AddError::Stopped);
                return added;
            }
        }
        began.store(true, Ordering::Relaxed);
    }
}

/// Stops `node` while threads add to it, and returns the sum of the adds that returned Ok.
async fn stop_under_load(node: &Node) -> i128 {
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
    threads.into_iter().map(|(thread, _)| thread.join().expect("it is refused in the end")).sum()
}

/// An add at the very moment of the stop may be counted although it returned an error: one a
/// thread.
fn assert_holds(total: i128, added: i128) {
    assert!(
        (added..=added + THREADS as i128).contains(&total),
        "{total} where {added} adds returned Ok"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn adds_that_returned_ok_are_handed_over_by_a_shutdown() {
    for _ in 0..8 {
        let nodes = start_all(&cluster(), &["ord", "fra"]).await;
        let added = stop_under_load(&nodes[0]).await;
        assert_holds(nodes[1].view("clicks").total, added);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn adds_that_returned_ok_are_in_the_directory_after_a_shutdown() {
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

/// Everything by which a program could add.
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
async fn a_stopped_node_refuses_and_still_reads() {
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

/// On one thread: without an await, the driver has not run yet.
#[tokio::test]
async fn counters_refuse_once_the_last_node_handle_is_gone() {
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
        tokio::time::timeout(PATIENCE / 2, gone)
            .await
            .expect("nothing waits for a node that is gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_added_before_a_clean_stop_is_at_the_others() {
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
