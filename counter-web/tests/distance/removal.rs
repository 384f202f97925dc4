//! A counter ends at nodes far from each other, and so do the traces of its removal.

use std::time::{Duration, Instant};

use crate::far::{apart, none_failed, round_trips, run_alone, sources};
use crate::support::http::{counter, metric};
use crate::support::network::apart::{Apart, place};
use crate::support::process::{Node, Runtime, cluster, run_in};

/// The time limit for a removal to leave nothing at the usual distances. Its steps need some six
/// rounds of digests, 250 ms apart.
fn gone_max(round_trip: Duration) -> Duration {
    Duration::from_secs(3) + 6 * round_trip
}

fn remove_far_away(apart: &Apart, round_trip: Duration) -> Option<String> {
    apart.set(|now| now.way = round_trip / 2).unwrap();
    let (runtime, cluster) = (Runtime::new(), cluster());
    let nodes = sources(&runtime, &cluster, 3, |number| Some(place(number)));
    let removed = Instant::now();
    let (code, said, stderr) = run_in(&runtime, &["remove", "clicks", "--admin", &nodes[0].admin]);
    assert_eq!((code, said.trim()), (Some(0), "{\"total\":0}"), "{stderr}");
    let all = |is_true: &dyn Fn(&Node) -> bool| nodes.iter().all(is_true);
    let is_zero = |node: &Node| counter(&node.http, "clicks")["total"] == 0;
    let is_gone = |node: &Node| {
        ["counter_cells", "counter_tombstones", "counter_counters"]
            .iter()
            .all(|name| metric(&node.http, name) == Some(0.0))
    };
    let mut zero = None;
    while !all(&is_gone) {
        if zero.is_none() && all(&is_zero) {
            let took = removed.elapsed();
            assert!(took >= round_trip / 2, "no distance: zero everywhere after {took:?}");
            zero = Some(took);
        }
        if removed.elapsed() > gone_max(round_trip) {
            return Some(format!("{round_trip:?}: zero everywhere after {zero:?}, and never gone"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let gone = removed.elapsed();
    println!("a removal, {round_trip:?}: zero everywhere after {zero:?}, gone after {gone:?}");
    (!all(&is_zero)).then(|| format!("{round_trip:?}: the removed counter is back"))
}

#[test]
fn removed_counter_leaves_nothing_far_away() {
    let _alone = run_alone();
    apart("removal::removed_counter_leaves_nothing_far_away", || {
        let far = Apart::new(Duration::ZERO).unwrap();
        far.remove_all().unwrap();
        let failures: Vec<String> = round_trips(&[0, 200])
            .into_iter()
            .filter_map(|round_trip| remove_far_away(&far, round_trip))
            .collect();
        none_failed(&failures);
    });
}
