//! Lists of 1,000,000 counters, and adds during them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use counter_net::Node;

use crate::cluster::{alone, cluster, eventually};

const NAMES: usize = 1_000_000;
/// A lock that is held too long delays an add in each of the rounds. A pause of this machine, which
/// does the same, seldom comes in all of them.
const ROUNDS: usize = 5;
const DELAY_MAX: Duration = Duration::from_millis(1);

/// The longest add of a handle, and the longest one that finds its counter by name, while `work`
/// runs.
fn longest_adds(node: &Node, work: impl FnOnce()) -> [Duration; 2] {
    let done = AtomicBool::new(false);
    let measure = |add: &dyn Fn()| {
        let mut longest = Duration::ZERO;
        while !done.load(Ordering::Relaxed) {
            let started = Instant::now();
            add();
            longest = longest.max(started.elapsed());
            std::thread::sleep(Duration::from_micros(100));
        }
        longest
    };
    let clicks = node.counter("clicks").unwrap();
    std::thread::scope(|threads| {
        let by_handle = threads.spawn(|| measure(&|| clicks.add(1).unwrap()));
        let by_name = threads.spawn(|| {
            measure(&|| node.counter("clicks").unwrap().add_once("x:1", 1).map(drop).unwrap())
        });
        work();
        done.store(true, Ordering::Relaxed);
        [by_handle.join().unwrap(), by_name.join().unwrap()]
    })
}

/// The shortest of several rounds' longest adds.
fn shortest(rounds: &[[Duration; 2]]) -> Duration {
    rounds.iter().map(|[by_handle, by_name]| *by_handle.max(by_name)).min().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: cargo test --release -p counter-net --test load listing -- --ignored --nocapture"]
async fn lists_of_a_million_names_delay_no_add() {
    let _quiet = crate::QUIET.lock().await;
    let node = alone(&cluster(), "ord").start().await.unwrap();
    let mut numbers: Vec<usize> = (0..NAMES).collect();
    fastrand::shuffle(&mut numbers);
    let started = Instant::now();
    for number in &numbers {
        node.counter(&format!("likes:{number:07}"))
            .unwrap()
            .add(1 + *number as u64 % 1_000)
            .unwrap();
    }
    println!("made {NAMES} counters in random order: {:?}", started.elapsed());

    let started = Instant::now();
    let sorting =
        longest_adds(&node, || assert_eq!(node.counters("likes:").take(100).count(), 100));
    println!("first list at once: {:?}, longest adds {sorting:?}", started.elapsed());

    let mut first_pages = Vec::new();
    let (mut lists, mut tops, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        assert_eq!(node.counters("likes:05").take(100).count(), 100);
        first_pages.push(started.elapsed());

        let mut took = Duration::ZERO;
        lists.push(longest_adds(&node, || {
            let started = Instant::now();
            assert_eq!(node.counters("likes:").count(), NAMES);
            took = started.elapsed();
        }));
        println!("all names: {took:?}, longest adds {:?}", lists.last().unwrap());
        assert!(took < Duration::from_secs(2));

        tops.push(longest_adds(&node, || {
            let started = Instant::now();
            let top = node.top("likes:", 1_000);
            took = started.elapsed();
            assert_eq!((top.len(), top[0].total, top[999].total), (1_000, 1_000, 1_000));
        }));
        println!("top 1,000: {took:?}, longest adds {:?}", tops.last().unwrap());

        idle.push(longest_adds(&node, || std::thread::sleep(Duration::from_millis(300))));
        println!("no list: longest adds {:?}", idle.last().unwrap());
    }
    println!("first page of 100: {first_pages:?}");
    assert!(first_pages.iter().min().unwrap() < &DELAY_MAX);
    assert!(shortest(&lists) < DELAY_MAX && shortest(&tops) < DELAY_MAX);
    eventually("flushed", || node.view("clicks").total > 0).await;
    node.shutdown().await;
}
