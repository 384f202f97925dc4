//! The cost by the number of nodes: the table of docs/scale.md.

use std::time::Duration;

use counter_net::protocol::MessageKind;
use counter_net::sim::{Cost, Failure, Link, Sim, SimConfig};

const SECOND: Duration = Duration::from_secs(1);

/// One row of the table.
struct Row {
    nodes: usize,
    formed: Duration,
    click: Duration,
    click_bytes: u64,
    burst: Duration,
    burst_bytes: u64,
    idle_bytes: u64,
    /// Bytes of digests a node and second, while five clicks a second come somewhere.
    digest_bytes: u64,
    fresh: Duration,
    fresh_bytes: u64,
    lossy: Duration,
}

/// A cluster over links between continents, 20 to 160 ms and one message in ten up to 400 ms, at
/// rest: every node has counted, so that every digest is full. Returns how long it took to form.
fn at_rest(nodes: usize) -> Result<(Sim, Duration), Failure> {
    let mut sim = Sim::new(SimConfig { seed: 11, link: Link::wide(), ..SimConfig::default() });
    (0..nodes).for_each(|at| {
        sim.start(&format!("r{:02}", at % 32));
    });
    sim.connect_all();
    let formed = sim.run_until(120 * SECOND, |sim| {
        sim.is_all_synced() && sim.is_converged() && sim.presence_is_right()
    })?;
    (0..nodes).for_each(|node| sim.add(node, "clicks", 1000));
    sim.run_until_converged(120 * SECOND)?;
    sim.run_for(40 * SECOND);
    Ok((sim, formed))
}

/// Bytes that a node sends in a second of rest.
fn idle_bytes(sim: &mut Sim, nodes: usize) -> u64 {
    let before = sim.cost();
    sim.run_for(60 * SECOND);
    sim.cost().since(&before).bytes() / nodes as u64 / 60
}

/// Bytes of digests and of what asks for them that a node sends in a second, while five clicks a
/// second come somewhere.
fn digest_bytes(sim: &mut Sim, nodes: usize) -> u64 {
    const KINDS: [MessageKind; 4] =
        [MessageKind::Compare, MessageKind::Ask, MessageKind::Tell, MessageKind::Digest];
    let sent = |sim: &Sim| -> u64 {
        let stats = (0..nodes).filter_map(|node| Some(sim.machine(node)?.stats()));
        stats
            .flat_map(|stats| KINDS.map(|kind| stats.bytes_out.get(&kind).copied()))
            .flatten()
            .sum()
    };
    let before = sent(sim);
    for click in 0..100 {
        sim.add(click * 37 % nodes, "clicks", 1);
        sim.run_for(SECOND / 5);
    }
    (sent(sim) - before) / nodes as u64 / 20
}

fn measure(nodes: usize) -> Result<Row, Failure> {
    let (mut sim, formed) = at_rest(nodes)?;
    let idle_bytes = idle_bytes(&mut sim, nodes);
    let digest_bytes = digest_bytes(&mut sim, nodes);
    sim.run_until_converged(60 * SECOND)?;

    let each = |cost: Cost, count: u64| cost.bytes() / nodes as u64 / count;

    let before = sim.cost();
    sim.add(0, "clicks", 1);
    let click = sim.run_until_converged(60 * SECOND)?;
    let click_bytes = each(sim.cost().since(&before), 1);

    let before = sim.cost();
    (0..nodes).for_each(|node| sim.add(node, "clicks", 1));
    let burst = sim.run_until_converged(60 * SECOND)?;
    let burst_bytes = each(sim.cost().since(&before), nodes as u64);

    let fresh = sim.start("new");
    sim.connect_all();
    let fresh_took = sim.run_until(60 * SECOND, |sim| {
        sim.machine(fresh).is_some_and(|machine| machine.is_synced())
    })?;
    let fresh_bytes = sim.cost_of(fresh).received_bytes;

    sim.set_links(Link::lossy(0.2));
    sim.run_for(2 * SECOND);
    sim.add(0, "clicks", 1);
    let lossy = sim.run_until_converged(60 * SECOND)?;
    Ok(Row {
        nodes,
        formed,
        click,
        click_bytes,
        burst,
        burst_bytes,
        idle_bytes,
        digest_bytes,
        fresh: fresh_took,
        fresh_bytes,
        lossy,
    })
}

fn table(sizes: &[usize]) -> Result<(), Failure> {
    println!(
        "| nodes | formed | a click at all | bytes a node and click | at 20 % loss | all click at once: at all | bytes a node and click | idle bytes/s a node | digest bytes/s a node | fresh node synced | bytes to it |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for size in sizes {
        let row = measure(*size)?;
        let ms = |time: Duration| format!("{} ms", time.as_millis());
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.nodes,
            ms(row.formed),
            ms(row.click),
            row.click_bytes,
            ms(row.lossy),
            ms(row.burst),
            row.burst_bytes,
            row.idle_bytes,
            row.digest_bytes,
            ms(row.fresh),
            row.fresh_bytes
        );
        assert!(row.click < SECOND * 2 && row.fresh < SECOND * 2, "{size} nodes");
    }
    Ok(())
}

#[test]
fn thirty_nodes_see_a_click_within_two_seconds() -> Result<(), Failure> {
    table(&[3, 10, 30])
}

/// `cargo test --release … --test sim -- --ignored --nocapture scale` prints the table of
/// docs/scale.md.
#[test]
#[ignore = "takes minutes; run it in release"]
fn thousand_nodes_see_a_click_within_two_seconds() -> Result<(), Failure> {
    table(&[3, 10, 30, 100, 300, 1000])
}

/// Whole digests of 140 nodes cost 2,258 bytes a node and second in this story.
#[test]
fn long_digests_that_differ_go_in_buckets() -> Result<(), Failure> {
    let (mut sim, _) = at_rest(140)?;
    let bytes = digest_bytes(&mut sim, 140);
    assert!(bytes < 1_100, "{bytes} bytes a node and second");
    sim.set_links(Link::lossy(0.2));
    (0..140).step_by(7).for_each(|node| sim.add(node, "clicks", 1));
    sim.run_until_converged(60 * SECOND)?;
    Ok(())
}

/// The minutes of rest that are measured one by one. The first is that of the table.
const MINUTES: usize = 3;

/// Prints the idle bytes and the digest bytes of clusters of `COUNTER_NODES` nodes, such as
/// `300,1000`. The idle bytes come for each of the first minutes of rest. Fails if a node of one
/// sends more than twice as much as a node of the first.
#[test]
#[ignore = "takes tens of minutes and gigabytes; run it in release"]
fn idle_and_digest_bytes_grow_little_beyond_300_nodes() -> Result<(), Failure> {
    let named = std::env::var("COUNTER_NODES").unwrap_or_else(|_| "300,1000".to_owned());
    let (mut first, mut over) = (None::<(u64, u64)>, Vec::new());
    for nodes in named.split(',').map(|size| size.trim().parse::<usize>()) {
        let nodes = nodes.expect("sizes, with commas between them");
        let (mut sim, formed) = at_rest(nodes)?;
        let mut minutes = Vec::new();
        for _ in 0..MINUTES {
            let before = sim.cost();
            minutes.push(idle_bytes(&mut sim, nodes));
            let gossip = sim.cost().since(&before).gossip_bytes / nodes as u64 / 60;
            println!("{nodes} nodes: {minutes:?} idle bytes/s a node, {gossip} of gossip");
        }
        let digests = digest_bytes(&mut sim, nodes);
        println!("{nodes} nodes: formed after {formed:?}, {digests} digest bytes/s a node");
        let (least_idle, least_digests) = *first.get_or_insert((minutes[0], digests));
        if minutes[0] > 2 * least_idle || digests > 2 * least_digests {
            over.push(nodes);
        }
    }
    assert!(over.is_empty(), "a node sends more than twice as much among {over:?}");
    Ok(())
}
