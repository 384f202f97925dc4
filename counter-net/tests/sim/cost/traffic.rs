//! Bytes and times of a click, of an idle cluster and of a fresh node.

use std::time::Duration;

use counter_core::AddOutcome;
use counter_net::protocol::MessageKind;
use counter_net::sim::{Failure, Link, Sim, SimConfig};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn cluster(nodes: usize, link: Link) -> Sim {
    let mut sim = Sim::new(SimConfig { seed: 5, link, ..SimConfig::default() });
    (0..nodes).for_each(|at| {
        sim.start(&format!("r{at:02}"));
    });
    sim.connect_all();
    sim.run_for(5 * SECOND);
    sim
}

#[test]
fn click_costs_60_bytes() -> Result<(), Failure> {
    let mut sim = cluster(32, Link::wide());
    for node in 0..32 {
        sim.add(node, "clicks", 1000);
    }
    sim.run_until_converged(10 * SECOND)?;
    let sent = |sim: &Sim| sim.machine(7).expect("up").stats().bytes_out[&MessageKind::GossipDelta];
    let before = sent(&sim);
    for _ in 0..100 {
        sim.add(7, "clicks", 1);
        sim.run_for(10 * MS);
    }
    let click = (sent(&sim) - before) / 100;
    println!("a click is {click} bytes of payload");
    assert!(click <= 60, "{click} bytes");
    Ok(())
}

/// Bytes of payload that one of 32 nodes sends for each of 100 clicks. A first click is not
/// counted.
fn payload_a_click(mut click: impl FnMut(&mut Sim, u64)) -> Result<u64, Failure> {
    let mut sim = cluster(32, Link::wide());
    for node in 0..32 {
        sim.add_once(node, &format!("before {node}"), "clicks", 1_000_000).expect("up");
    }
    sim.run_until_converged(10 * SECOND)?;
    let sent = |sim: &Sim| sim.machine(7).expect("up").stats().bytes_out[&MessageKind::GossipDelta];
    let mut before = sent(&sim);
    for number in 0..=100 {
        click(&mut sim, number);
        sim.run_for(10 * MS);
        before = if number == 0 { sent(&sim) } else { before };
    }
    sim.run_until_converged(10 * SECOND)?;
    Ok((sent(&sim) - before).div_ceil(100))
}

/// The ids are those of one page, of many pages, of scripts, and of clients with unequal amounts.
#[test]
fn click_with_an_id_costs_60_bytes() -> Result<(), Failure> {
    let once = |sim: &mut Sim, id: String, amount| {
        assert_eq!(sim.add_once(7, &id, "clicks", amount), Some(AddOutcome::Applied))
    };
    let page =
        payload_a_click(|sim, number| once(sim, format!("0f3a9x0qzk3j:{}", 10_000 + number), 1))?;
    let many = payload_a_click(|sim, number| once(sim, format!("{:012}:1", number * 7_919), 1))?;
    let uuid = payload_a_click(|sim, number| {
        once(sim, format!("67e55044-10b1-426f-9247-{number:012x}"), 1)
    })?;
    let mixed = payload_a_click(|sim, number| {
        once(sim, format!("0f3a9x0qzk3j:{}", 10_000 + number), [1, 3, 2, -1][number as usize % 4])
    })?;
    println!(
        "a click of one page is {page} bytes of payload, of many pages {many}, of a script with UUIDs {uuid}, of mixed amounts {mixed}"
    );
    for click in [page, many, uuid, mixed] {
        assert!(click <= 60, "{click} bytes");
    }
    Ok(())
}

#[test]
fn click_reaches_ten_nodes_in_two_hops() -> Result<(), Failure> {
    let mut sim = cluster(10, Link::wide());
    sim.add(3, "clicks", 1);
    let took = sim.run_until_converged(SECOND)?;
    println!("a click at all of 10 nodes after {took:?}");
    assert!(took <= 800 * MS, "{took:?}");
    Ok(())
}

#[test]
fn idle_node_sends_under_500_bytes_a_second() {
    let mut sim = cluster(10, Link::wide());
    let before = sim.cost();
    sim.run_for(120 * SECOND);
    let cost = sim.cost().since(&before);
    let (bytes, requests) = (cost.bytes() / 120 / 10, cost.requests as f64 / 1200.0);
    println!(
        "idle, 10 nodes: {bytes} bytes/s a node, {requests:.2} requests and answers/s a node: {cost:?}"
    );
    assert!(bytes < 500, "{bytes} bytes/s");
}

#[test]
fn fresh_node_pulls_its_state_once() -> Result<(), Failure> {
    let mut sim = cluster(8, Link::wide());
    for node in 0..8 {
        sim.add_many(node, (0..1500).map(|at| format!("counter-{at}")));
    }
    sim.run_until_converged(10 * SECOND)?;
    let fresh = sim.start("zz");
    sim.connect_all();
    let took = sim.run_until(5 * SECOND, |sim| {
        sim.machine(fresh).is_some_and(|machine| machine.is_synced())
    })?;
    sim.run_for(SECOND);
    let state =
        sim.map(fresh).expect("up").delta_since(&counter_core::VersionVector::new()).encode().len()
            as u64;
    let stats = sim.machine(fresh).expect("up").stats();
    let cells: u64 = stats.bytes_in.get(&MessageKind::Pull).copied().unwrap_or(0)
        + stats.bytes_in.get(&MessageKind::Ask).copied().unwrap_or(0);
    println!(
        "fresh node: synced after {took:?}, {cells} bytes in for a state of {state}, {} pulls, {} pages",
        stats.pulls, stats.pages
    );
    assert!(cells < 2 * state + 30_000, "{cells} bytes for a state of {state}");
    assert!(stats.pulls > 1, "several sources share the work");
    assert_eq!(stats.cells_joined, 8 * 1500, "no cell came twice");
    Ok(())
}

#[test]
fn burst_becomes_200_messages_a_second() {
    let mut sim = cluster(3, Link::loopback());
    let before = sim.machine(0).expect("up").stats().messages_out;
    for _ in 0..10_000 {
        sim.add(0, "clicks", 1);
        sim.run_for(Duration::from_micros(100));
    }
    let messages = sim.machine(0).expect("up").stats().messages_out - before;
    println!("10,000 clicks in 1 s: {messages} messages");
    assert!(messages < 220, "{messages}");
}

#[test]
fn isolated_click_leaves_at_once() {
    let mut sim = cluster(3, Link::loopback());
    sim.add(0, "clicks", 1);
    sim.run_for(MS);
    assert_eq!([1, 2].map(|node| sim.total(node, "clicks")), [1, 1]);
}
