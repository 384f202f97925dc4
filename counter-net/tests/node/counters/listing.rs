//! Lists of counters on real nodes: all names in order, whoever made them and whenever, and the
//! largest totals.

use std::collections::BTreeMap;

use counter_net::{CounterTotal, Node};

use crate::cluster::{alone, cluster, start_all, until, until_all_show};

fn pairs(counters: impl IntoIterator<Item = CounterTotal>) -> Vec<(String, i128)> {
    counters.into_iter().map(|counter| (counter.name, counter.total)).collect()
}

fn names(node: &Node, prefix: &str) -> Vec<String> {
    node.counters(prefix).map(|counter| counter.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_come_in_order_from_all_nodes() {
    let nodes = start_all(&cluster(), &["ord", "fra"]).await;
    let mut expected = BTreeMap::new();
    for i in 0..2_000_u64 {
        let (name, amount) = (format!("n{}", fastrand::u32(..)), 1 + i);
        let added = expected.entry(name.clone()).or_insert(0);
        *added += i128::from(amount);
        nodes[i as usize % 2].counter(&name).unwrap().add(amount).unwrap();
    }
    let all: i128 = expected.values().sum();
    let sum = |node: &Node| node.counters("").map(|counter| counter.total).sum::<i128>();
    for node in &nodes {
        until(node, "all names", |node| sum(node) == all).await;
        assert!(pairs(node.counters("")).into_iter().eq(expected.clone()));
        let with = |prefix: &str| expected.keys().filter(|name| name.starts_with(prefix)).count();
        assert_eq!((names(node, "n1").len(), names(node, "x").len()), (with("n1"), 0));
        let mut by_total: Vec<(String, i128)> = expected.clone().into_iter().collect();
        by_total.sort_by_key(|(name, total)| (-total, name.clone()));
        by_total.truncate(50);
        assert_eq!(pairs(node.top("", 50)), by_total);
    }
    let (name, total) = expected.iter().next().unwrap();
    let values = ["ord", "fra", "sin"].map(|region| nodes[0].value(name, region));
    assert_eq!((nodes[0].total(name), values.iter().sum(), values[2]), (*total, *total, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn list_continues_after_any_name() {
    let node = alone(&cluster(), "ord").start().await.unwrap();
    for name in ["a", "b<i>&\"", "b:1", "b:2", "b:é", "b:日本", "c"] {
        node.counter(name).unwrap().add(1).unwrap();
    }
    assert_eq!(names(&node, "b"), ["b:1", "b:2", "b:é", "b:日本", "b<i>&\""]);
    let after = |prefix: &str, name: &str| {
        node.counters(prefix).after(name).map(|counter| counter.name).collect::<Vec<_>>()
    };
    assert_eq!(after("b:", "b:2"), ["b:é", "b:日本"]);
    assert_eq!(after("b:", "b:15"), ["b:2", "b:é", "b:日本"], "a name that does not exist");
    assert_eq!(after("b:", "a").len(), 4, "before the prefix");
    assert_eq!(after("b:", "c"), [""; 0], "beyond the prefix");
    assert_eq!(after("", "c"), [""; 0], "beyond the end");
    let mut counters = node.counters("").after("c");
    assert!(counters.next().is_none() && counters.next().is_none());
    assert_eq!(counters.after("b").count(), 6, "from an earlier place again");
    assert_eq!((node.top("b", 0), node.top("x", 9)), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_create_nothing() {
    let node = alone(&cluster(), "ord").start().await.unwrap();
    let made = node.counter("made").unwrap();
    assert_eq!((node.total("x"), node.value("x", "ord"), node.exists("x")), (0, 0, false));
    assert_eq!((node.counters("").count(), node.top("", 9)), (0, vec![]), "no add yet");
    made.add(2).unwrap();
    assert_eq!(pairs(node.counters("")), [("made".to_owned(), 2)], "before any flush");
    node.synced().await;
    made.reset().unwrap();
    assert_eq!(pairs(node.top("", 9)), [("made".to_owned(), 0)], "a reset counter exists");
    node.shutdown().await;
    assert_eq!(names(&node, ""), ["made"], "a stopped node can be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_node_lists_all_names() {
    let directory = std::env::temp_dir().join(format!("listing-{:016x}", fastrand::u64(..)));
    let cluster = cluster();
    let start = || alone(&cluster, "ord").data_dir(&directory).start();
    let node = start().await.unwrap();
    let mut expected = Vec::new();
    for i in 0..1_000 {
        let name = format!("{:x}", i * 7_919 % 1_000);
        node.counter(&name).unwrap().add(1).unwrap();
        expected.push((name, 1));
    }
    expected.sort();
    node.shutdown().await;
    let node = start().await.unwrap();
    assert_eq!(pairs(node.counters("")), expected);
    until_all_show(std::slice::from_ref(&node), "0", 1).await;
    node.shutdown().await;
    std::fs::remove_dir_all(directory).unwrap();
}
