//! Batches: all or nothing, one commit, and each id once.

use counter_net::{AddError, AddOutcome, BATCH_ADDS_MAX, BatchAdd, Node, WriteError};

use crate::cluster::{alone, cluster, eventually, start, start_all};
use crate::exposition;

fn metric(node: &Node, name: &str) -> f64 {
    let families = exposition::prometheus(&node.metrics_text()).expect("valid metrics");
    families[name].samples[name]
}

fn names(counters: usize) -> Vec<String> {
    (0..counters).map(|number| format!("counter {number}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_is_added_whole_and_counted() {
    let node = start(&cluster(), "ord", &[]).await;
    let names = names(700);
    let mut batch: Vec<BatchAdd<'_>> = names.iter().map(|name| BatchAdd::new(name, 2)).collect();
    batch.extend(names.iter().take(300).map(|name| BatchAdd::new(name, -5)));
    let added = node.add_many(&batch).expect("added");
    assert!(added.results().iter().all(|result| result.outcome == AddOutcome::Applied));
    let (first, last) = (added.results()[0], added.results()[699]);
    assert_eq!(((first.total, first.value), (last.total, last.value)), ((-3, -3), (2, 2)));
    assert_eq!((node.view(&names[299]).total, node.view(&names[300]).total), (-3, 2));
    assert!((metric(&node, "counter_adds_total") - 1_000.0).abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_batch_creates_nothing() {
    let node = alone(&cluster(), "ord").counters_max(3).start().await.expect("starts");
    node.counter("clicks").expect("a counter").add(1).expect("added");
    for (bad, error) in [
        (BatchAdd::new("clicks", 0), WriteError::AmountOutOfRange),
        (BatchAdd::new("\n", 1), WriteError::NameOutOfRange),
        (BatchAdd::new("clicks", 1).with_id(""), WriteError::IdOutOfRange),
        (BatchAdd::new("one too many", 1), WriteError::TooManyCounters),
    ] {
        let batch = [BatchAdd::new("clicks", 1), BatchAdd::new("a", 1), BatchAdd::new("b", 1), bad];
        let refusal = node.add_many(&batch).expect_err("refused");
        assert_eq!((refusal.index, refusal.error), (Some(3), AddError::Refused(error)));
        assert!(!node.exists("a") && node.view("clicks").total == 1, "{refusal}");
    }
    let many = vec![BatchAdd::new("clicks", 1); BATCH_ADDS_MAX + 1];
    assert_eq!(node.add_many(&many).expect_err("too many").index, Some(BATCH_ADDS_MAX));
    assert!((metric(&node, "counter_adds_total") - 1.0).abs() < 0.5, "refused adds do not count");
    node.shutdown().await;
    let refusal = node.add_many(&many[..1]).expect_err("stopped");
    assert_eq!((refusal.index, refusal.error), (None, AddError::Stopped));
}

#[tokio::test(flavor = "multi_thread")]
async fn durable_batch_is_one_commit() {
    let directory = std::env::temp_dir().join(format!("counter-batches-{}", std::process::id()));
    let name = cluster();
    let names = names(500);
    let ids: Vec<String> = (1..=500).map(|number| format!("service:{number}")).collect();
    let batch: Vec<BatchAdd<'_>> = names
        .iter()
        .zip(&ids)
        .flat_map(|(name, id)| [BatchAdd::new(name, 1), BatchAdd::new(name, 1).with_id(id)])
        .collect();
    let node = alone(&name, "ord").data_dir(&directory).start().await.expect("starts");
    node.counter("clicks").expect("a counter").add_durable(1).expect("added").await.expect("kept");
    let before = metric(&node, "counter_store_commits_total");
    node.add_many(&batch).expect("added").durable().await.expect("on the disk");
    let commits = metric(&node, "counter_store_commits_total") - before;
    assert!((commits - 1.0).abs() < 0.5, "{commits} commits for one batch");
    // Ends abruptly: only the commit keeps the batch.
    drop(node);
    let again = loop {
        match alone(&name, "ord").data_dir(&directory).start().await {
            Ok(node) => break node,
            Err(_in_use) => tokio::task::yield_now().await,
        }
    };
    assert!(names.iter().all(|name| again.view(name).total == 2));
    let repeated = again.add_many(&batch[1..2]).expect("answered");
    assert_eq!(
        (repeated.results()[0].outcome, repeated.results()[0].total),
        (AddOutcome::Repeated, 2)
    );
    again.shutdown().await;
    std::fs::remove_dir_all(directory).expect("removable");
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_sent_again_elsewhere_counts_once() {
    let nodes = start_all(&cluster(), &["ord", "fra"]).await;
    let ids: Vec<String> = (1..=1_000).map(|number| format!("service:{number}")).collect();
    let batch: Vec<BatchAdd<'_>> =
        ids.iter().map(|id| BatchAdd::new("clicks", 1).with_id(id)).collect();
    let _added = nodes[0].add_many(&batch[..600]).expect("added");
    eventually("the other node has the batch", || nodes[1].view("clicks").total == 600).await;
    let again = nodes[1].add_many(&batch).expect("added");
    let applied = again
        .results()
        .iter()
        .map(|result| result.outcome == AddOutcome::Applied)
        .collect::<Vec<_>>();
    assert_eq!(applied, [vec![false; 600], vec![true; 400]].concat());
    assert_eq!((again.results()[0].total, again.results()[0].value), (1_000, 400));
    eventually("both agree", || nodes.iter().all(|node| node.view("clicks").total == 1_000)).await;
}
