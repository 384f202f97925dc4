//! Counters that end by themselves, by a prefix or one at a time.

use std::time::{Duration, SystemTime};

use crate::cluster::{address, alone, cluster, eventually};
use counter_net::*;

fn is_expired(error: AddError) -> bool {
    matches!(error, AddError::Refused(WriteError::Expired))
}

#[tokio::test(flavor = "multi_thread")]
async fn counter_ends_at_its_time_at_every_node() {
    let cluster = cluster();
    let builder = |region| alone(&cluster, region).expire("day:", Duration::from_secs(2));
    let ord = builder("ord").start().await.unwrap();
    let fra = builder("fra").peer(address(&ord)).start().await.unwrap();
    let made = SystemTime::now();
    let until = made + Duration::from_secs(3);
    let (day, sale) = (ord.counter("day:1").unwrap(), fra.counter_until("sale", until).unwrap());
    day.add(1).unwrap();
    sale.add(2).unwrap();
    ord.counter("kept").unwrap().add(3).unwrap();
    eventually("both hold all", || (ord.total("sale"), fra.total("day:1")) == (2, 1)).await;
    let ends = fra.expires_at("day:1").unwrap().duration_since(made).unwrap();
    assert!((1_999..10_000).contains(&ends.as_millis()), "{ends:?}");
    assert!(ord.expires_at("sale") <= Some(until) && ord.expires_at("kept").is_none());
    ord.counter("sale").unwrap().add(1).unwrap();
    let mut changes = ord.subscribe(Interest::Counter("day:1".to_owned()));
    eventually("nothing is left", || {
        let left = |node: &Node| node.exists("day:1") || node.exists("sale");
        !left(&ord) && !left(&fra) && ord.tombstones() + fra.tombstones() == 0
    })
    .await;
    assert!(made.elapsed().unwrap() >= Duration::from_secs(3));
    assert!(futures::StreamExt::next(&mut changes).await.is_some(), "subscribers get a change");
    assert_eq!((ord.total("kept"), ord.total("sale"), fra.total("day:1")), (3, 0, 0));
    // A handle that was there before takes adds again.
    eventually("it is created again", || match day.add(5) {
        Err(error) if is_expired(error) => false,
        added => added.is_ok(),
    })
    .await;
    assert_eq!(ord.total("day:1"), 5);
    for node in [ord, fra] {
        node.shutdown().await;
    }
    assert_eq!(day.add(1), Err(AddError::Stopped));
}

#[tokio::test]
async fn impossible_expiries_are_refused() {
    for (prefix, after) in [("a\n", 7), ("day:", 0)] {
        let builder = alone(&cluster(), "ord").expire(prefix, Duration::from_secs(after));
        let error = builder.start().await.expect_err("refused");
        assert!(matches!(error, StartError::Expiry { .. }), "{error}");
        assert!(error.to_string().contains("write a prefix"), "{error}");
    }
}
