//! Counted copies, read tokens, stable totals, and the end of a wait, on real nodes.

use std::time::{Duration, Instant};

use crate::cluster::{alone, cluster, crash_last, eventually, metric, start_all};
use counter_net::{Copies, NotReached, NotReplicated, Token};

/// A long wait: longer than anything here takes on a loaded machine.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread")]
async fn replicated_add_is_at_the_others_when_it_resolves() {
    let nodes = start_all(&cluster(), &["ord", "fra", "sin"]).await;
    let clicks = nodes[0].counter("clicks").unwrap();
    for (at, copies) in
        [Copies::Nodes(1), Copies::Nodes(2), Copies::Majority, Copies::All].into_iter().enumerate()
    {
        let asked = Instant::now();
        clicks.add_replicated(1, copies, LONG).unwrap().await.unwrap();
        let holders =
            nodes.iter().filter(|node| node.view("clicks").total == at as i128 + 1).count();
        println!("{copies:?}: {:?}, {holders} hold it", asked.elapsed());
        assert!(holders >= copies.of(3), "{copies:?}: {holders}");
    }
    // A thousand waits share their questions.
    let asked = Instant::now();
    let waits: Vec<_> =
        (0..1_000).map(|_| clicks.add_replicated(1, Copies::All, LONG).unwrap()).collect();
    for wait in waits {
        wait.await.unwrap();
    }
    println!(
        "1000 waits on 3 nodes: {:?}, {} questions",
        asked.elapsed(),
        metric(&nodes[1], "counter_payload_bytes_total", "kind=\"hold\"") as u64
    );
    assert!(nodes.iter().all(|node| node.view("clicks").total == 1_004));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_node_blocks_all_copies_but_no_majority() {
    let mut nodes = start_all(&cluster(), &["ord", "fra", "sin"]).await;
    crash_last(&mut nodes).await;
    let clicks = nodes[0].counter("clicks").unwrap();
    clicks.add_replicated(5, Copies::Majority, LONG).unwrap().await.unwrap();
    let few = clicks.add_replicated(5, Copies::All, SHORT).unwrap().await.unwrap_err();
    assert_eq!(few, NotReplicated::Few { held: 2, wanted: 3, enrolled: 3 });
    assert!(few.to_string().contains("2 of 3") && few.to_string().contains("is counted"), "{few}");
    assert_eq!(clicks.total(), 10, "a failed wait takes no add back");
}

#[tokio::test(flavor = "multi_thread")]
async fn token_makes_another_node_show_the_write() {
    let nodes = start_all(&cluster(), &["ord", "fra", "sin"]).await;
    for round in 1..=50 {
        let (here, there) = (&nodes[round % 3], &nodes[(round + 1) % 3]);
        here.counter("likes").unwrap().add(1).unwrap();
        let token: Token = here.counter("likes").unwrap().token().to_string().parse().unwrap();
        let total = there.counter("likes").unwrap().total_at(&token, LONG).await.unwrap();
        assert!(total >= 1 && there.holds(&token), "round {round}: {total}");
        there.reach(&here.token(), LONG).await.unwrap();
        assert_eq!(there.view("likes").total, round as i128);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_token_is_behind_and_does_no_harm() {
    let (node, other) = (
        alone(&cluster(), "ord").start().await.unwrap(),
        alone(&cluster(), "fra").start().await.unwrap(),
    );
    let likes = node.counter("likes").unwrap();
    let strange = other.counter("likes").unwrap();
    strange.add(1).unwrap();
    assert!(matches!(
        likes.total_at(&strange.token(), SHORT).await,
        Err(NotReached::Behind { writers: 1, versions: 1.. })
    ));
    assert!(node.reach(&Token::default(), SHORT).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn stable_total_waits_for_a_dead_node_until_it_is_retired() {
    let mut nodes = start_all(&cluster(), &["ord", "fra", "sin"]).await;
    let clicks = nodes[0].counter("clicks").unwrap();
    assert_eq!(clicks.stable_total(), None, "the first call begins the watch");
    clicks.add(5).unwrap();
    let asked = Instant::now();
    eventually("five are stable", || clicks.stable_total().is_some_and(|stable| stable.total == 5))
        .await;
    println!("stable at 3 nodes after {:?}", asked.elapsed());
    let stable = clicks.stable_total().unwrap();
    for node in &nodes {
        assert!(node.holds(&stable.token) && node.view("clicks").total >= 5);
    }
    let dead = nodes[2].info().replica;
    crash_last(&mut nodes).await;
    clicks.add_replicated(5, Copies::Majority, LONG).unwrap().await.unwrap();
    let held_back = clicks.stable_total().unwrap();
    assert_eq!((held_back.total, clicks.total()), (5, 10), "a dead node may not hold it");
    eventually("an operator may retire it", || nodes[1].force_retire(dead).is_ok()).await;
    eventually("ten are stable", || {
        nodes[0].stable_total("clicks").is_some_and(|stable| stable.total == 10)
    })
    .await;
    assert!(nodes.iter().all(|node| node.view("clicks").total == 10));
    assert!(
        metric(&nodes[0], "counter_member_lag_seconds", "fra") >= 0.0
            && nodes[0].metrics_text().contains("counter_member_lag_cells{")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_ends_with_its_handle_and_with_the_node() {
    let mut nodes = start_all(&cluster(), &["ord", "fra"]).await;
    crash_last(&mut nodes).await;
    let clicks = nodes[0].counter("clicks").unwrap();
    let wait = clicks.add_replicated(1, Copies::All, LONG).unwrap();
    let node = nodes[0].clone();
    eventually("the wait is open", || metric(&node, "counter_queue_depth", "waits") == 1.0).await;
    drop(wait);
    eventually("the wait is gone", || metric(&node, "counter_queue_depth", "waits") == 0.0).await;
    let wait = clicks.add_replicated(1, Copies::All, LONG).unwrap();
    nodes[0].shutdown().await;
    assert_eq!(wait.await, Err(NotReplicated::Stopped));
    assert_eq!(clicks.replicated(Copies::All, LONG).await, Err(NotReplicated::Stopped));
    assert_eq!(nodes[0].reach(&nodes[0].token(), SHORT).await, Ok(()), "its own adds are here");
}
