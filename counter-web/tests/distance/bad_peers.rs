//! Peers that are dead, lose every packet, stay silent, or have another key. The node reports them,
//! and its good peers are enough.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::far::{
    KEY, Moment, Probe, Recipe, none_failed, round_trips, run_alone, run_among_others, sources,
    status,
};
use crate::fresh::{arrive, gossip};
use crate::support::http::get;
use crate::support::network::distance::{DelayProxy, Door, ReservedPort, multiaddr};
use crate::support::process::{Node, Runtime, cluster};

const USUAL: [u64; 2] = [0, 200];
const READY_WITHIN: Duration = Duration::from_secs(3);
/// The extra time for a busy machine.
const SLACK: Duration = Duration::from_millis(500);

/// A peer that accepts like this door, with no node behind it.
fn bad(door: Door) -> DelayProxy {
    let proxy = DelayProxy::to((Ipv4Addr::LOCALHOST, 1).into(), Duration::ZERO).unwrap();
    proxy.set(|now| now.door = door).unwrap();
    proxy
}

#[test]
fn one_good_peer_of_three_is_enough() {
    let _alone = run_alone();
    let (runtime, cluster) = (Runtime::new(), cluster());
    let nodes = sources(&runtime, &cluster, 1, |_| None);
    let proxy = DelayProxy::to(gossip(&nodes[0]), Duration::ZERO).unwrap();
    let mut failures = Vec::new();
    for round_trip in round_trips(&USUAL) {
        proxy.set(|now| now.way = round_trip / 2).unwrap();
        for door in [Door::Refuses, Door::Swallows, Door::Silent] {
            let others = [bad(door), bad(door)];
            let recipe = Recipe::new(&cluster, "syd")
                .key(KEY)
                .peers(others.iter().chain([&proxy]).map(DelayProxy::multiaddr));
            let case = format!("two of three peers: {door:?}, {round_trip:?}");
            failures.extend(arrive(&recipe, &runtime, 1, round_trip, &case));
        }
    }
    none_failed(&failures);
}

/// The reports of the node in its first moments, until `enough`.
fn watch(nodes: &[Node], enough: Duration) -> Vec<Vec<Moment>> {
    let mut probes: Vec<Probe> = nodes.iter().map(Probe::open).collect();
    let mut moments: Vec<Vec<Moment>> = nodes.iter().map(|_| Vec::new()).collect();
    while moments.iter().any(|seen| seen.last().is_none_or(|last| last.at < enough)) {
        for (probe, seen) in probes.iter_mut().zip(&mut moments) {
            seen.push(probe.ask());
        }
        // Fast enough, and the nodes have the processors.
        std::thread::sleep(Duration::from_millis(5));
    }
    moments
}

#[test]
fn silent_peer_delays_readiness_by_ready_within() {
    let _among = run_among_others();
    let (runtime, mut failures) = (Runtime::new(), Vec::new());
    let round_trips = round_trips(&USUAL);
    let silent: Vec<DelayProxy> = round_trips.iter().map(|_| bad(Door::Silent)).collect();
    let start = |proxy: &DelayProxy| {
        let recipe =
            Recipe::new(&cluster(), "ord").key(KEY).peers([proxy.multiaddr()]).ready_within("3s");
        recipe.start(&runtime)
    };
    for (proxy, round_trip) in silent.iter().zip(&round_trips) {
        proxy.set(|now| now.way = *round_trip / 2).unwrap();
    }
    let nodes: Vec<Node> = silent.iter().map(start).collect();
    let moments = watch(&nodes, READY_WITHIN + SLACK);
    for ((node, seen), round_trip) in nodes.iter().zip(moments).zip(round_trips) {
        let ready = seen.iter().find(|moment| moment.ready).map(|moment| moment.at);
        let reason = &seen[0].reason;
        println!("a silent peer {round_trip:?} away: ready after {ready:?}; before: {reason}");
        if ready.is_none_or(|at| at < READY_WITHIN) {
            failures.push(format!(
                "{round_trip:?}: ready after {ready:?}, and not between 3 s and \
                3.5 s; before: {reason}"
            ));
        }
        let (status, page) = (status(node), get(&node.http, "/").body);
        if status["synced"] != false || status["in_touch"] != false {
            failures.push(format!(
                "{round_trip:?}: synced {}, in touch {}",
                status["synced"], status["in_touch"]
            ));
        }
        let (state, text) = shown(&page);
        if state == "live"
            || !["catching up", "caught up", "not in touch"]
                .iter()
                .any(|words| text.contains(words))
        {
            failures.push(format!(
                "{round_trip:?}: the page says {text:?}, and its state is {state:?}"
            ));
        }
    }
    none_failed(&failures);
}

/// The status on the page: its state and its words.
fn shown(page: &str) -> (&str, &str) {
    let status = page.split("id=\"status\" data-state=\"").nth(1).unwrap_or_default();
    let text = status.split("<span>").nth(1).and_then(|rest| rest.split('<').next());
    (status.split('"').next().unwrap_or_default(), text.unwrap_or_default())
}

#[test]
fn foreign_key_never_makes_a_node_ready() {
    let _among = run_among_others();
    let (runtime, mut failures, mut peers, mut nodes) =
        (Runtime::new(), Vec::new(), Vec::new(), Vec::new());
    for round_trip in round_trips(&USUAL) {
        for theirs in [Some("a key of somebody else"), None] {
            let cluster = cluster();
            let other = theirs
                .into_iter()
                .fold(Recipe::new(&cluster, "fra").discover("none"), Recipe::key)
                .start(&runtime);
            let proxy = DelayProxy::to(gossip(&other), round_trip / 2).unwrap();
            let recipe =
                Recipe::new(&cluster, "ord").key(KEY).peers([proxy.multiaddr()]).ready_within("3s");
            nodes.push(recipe.start(&runtime));
            peers.push((other, proxy, format!("{round_trip:?}, their key is {theirs:?}")));
        }
    }
    let moments = watch(&nodes, 2 * READY_WITHIN);
    for ((node, seen), (_, _, case)) in nodes.iter().zip(moments).zip(&peers) {
        let reason = &seen[seen.len() - 1].reason;
        if let Some(moment) = seen.iter().find(|moment| moment.ready) {
            failures.push(format!("{case}: ready after {:?}", moment.at));
        }
        let named =
            seen.iter().find(|moment| moment.reason.contains("key")).map(|moment| moment.at);
        println!("{case}: the key is named after {named:?}: {reason}");
        if !reason.contains("key") {
            failures.push(format!("{case}: after 6 s the reason names no key: {reason}"));
        }
        let status = status(node);
        if status["synced"] != false
            || status["in_touch"] != false
            || !status["trouble"].to_string().contains("key")
        {
            let said = ["synced", "in_touch", "trouble"].map(|name| status[name].to_string());
            failures.push(format!("{case}: synced, in_touch and trouble are {said:?}"));
        }
    }
    none_failed(&failures);
}

/// Like a cluster whose first node starts before the others.
#[test]
fn dead_peer_delays_readiness_by_ready_within() {
    let _among = run_among_others();
    let (runtime, place) = (Runtime::new(), ReservedPort::reserve(Ipv4Addr::LOCALHOST).unwrap());
    let recipe = Recipe::new(&cluster(), "ord")
        .key(KEY)
        .peers([multiaddr(place.address)])
        .ready_within("3s");
    let node = recipe.start(&runtime);
    let seen = watch(std::slice::from_ref(&node), READY_WITHIN + SLACK).remove(0);
    let (ready, last) = (seen.iter().find(|moment| moment.ready), &seen[seen.len() - 1]);
    println!("a dead peer: ready after {:?}; last: {}", ready.map(|moment| moment.at), last.reason);
    assert!(ready.is_some(), "not ready after {:?}: {}", last.at, last.reason);
}
