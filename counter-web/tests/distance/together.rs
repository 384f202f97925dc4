//! All nodes of a cluster start at once, each with earlier counts.

use std::time::Duration;

use crate::far::{KEY, Moment, Probe, Recipe, apart, none_failed, round_trips, run_alone};
use crate::support::http::add;
use crate::support::network::apart::{Apart, place};
use crate::support::network::distance::multiaddr;
use crate::support::process::{Node, Runtime, cluster};

const AMOUNTS: [(&str, i64); 5] =
    [("ord", 1), ("fra", 20), ("sin", 300), ("syd", -4_000), ("gru", 50_000)];
const WITHIN: Duration = Duration::from_secs(3);

fn start_together(round_trip: Duration) -> Option<String> {
    let (apart, runtime, cluster) =
        (Apart::new(round_trip / 2).unwrap(), Runtime::new(), cluster());
    let recipe = |number: usize| {
        let (region, _) = AMOUNTS[number];
        Recipe::new(&cluster, region)
            .key(KEY)
            .listen(place(number))
            .directory(&runtime.path().join(region))
    };
    for (number, (_, amount)) in AMOUNTS.iter().enumerate() {
        let mut node = recipe(number).discover("none").start(&runtime);
        node.until_ready();
        add(&node.http, *amount);
        node.kill();
        apart.remove(place(number)).unwrap();
    }
    let start = &|number: usize| {
        let others = (0..AMOUNTS.len()).filter(|other| *other != number);
        recipe(number).peers(others.map(|other| multiaddr(place(other)))).start(&runtime)
    };
    let nodes: Vec<Node> = std::thread::scope(|scope| {
        let started: Vec<_> =
            (0..AMOUNTS.len()).map(|number| scope.spawn(move || start(number))).collect();
        started.into_iter().map(|node| node.join().unwrap()).collect()
    });
    let mut probes: Vec<Probe> = nodes.iter().map(Probe::open).collect();
    let total: i64 = AMOUNTS.iter().map(|(_, amount)| amount).sum();
    loop {
        let moments: Vec<Moment> = probes.iter_mut().map(Probe::ask).collect();
        let right = |moment: &Moment| {
            let same = moment.counter["state_hash"] == moments[0].counter["state_hash"];
            moment.ready && same && moment.counter["total"] == total
        };
        let at = moments.iter().map(|moment| moment.at).max().unwrap_or_default();
        if moments.iter().all(right) {
            println!(
                "five nodes start at once, {round_trip:?}: all are ready and equal after {at:?}"
            );
            return None;
        }
        if at > WITHIN {
            let shown: Vec<String> = moments
                .iter()
                .map(|moment| format!("{} {}", moment.ready, moment.counter["total"]))
                .collect();
            return Some(format!(
                "{round_trip:?}: after {at:?} all should be ready with {total}, and are {shown:?}"
            ));
        }
    }
}

#[test]
fn nodes_started_at_once_are_soon_equal() {
    let _alone = run_alone();
    apart("together::nodes_started_at_once_are_soon_equal", || {
        let failures: Vec<String> =
            round_trips(&[0, 200]).into_iter().flat_map(start_together).collect();
        none_failed(&failures);
    });
}
