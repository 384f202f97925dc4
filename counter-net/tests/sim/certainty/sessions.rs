//! Waits for copies, and sessions that hop between nodes and never read less than they know.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_core::VersionVector;
use counter_net::protocol::{Copies, Waited};
use counter_net::sim::{Failure, Link, Sim, SimConfig};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn cluster(seed: u64, count: usize, link: Link) -> Sim {
    let mut sim = Sim::new(SimConfig { seed, link, ..SimConfig::default() });
    (0..count).for_each(|at| {
        sim.start(["ord", "fra", "sin"][at % 3]);
    });
    sim.connect_all();
    sim.run_for(3 * SECOND);
    sim
}

fn ends(sim: &mut Sim, wait: u64, limit: Duration) -> (Waited, Duration) {
    let mut how = None;
    let took = sim.run_until(limit, |sim| {
        how = sim.waited(wait);
        how.is_some()
    });
    (how.expect("a wait ends"), took.expect("in time"))
}

#[test]
fn wait_for_copies_takes_one_round_trip() {
    let mut sim = cluster(1, 5, Link::loopback());
    for copies in [Copies::Nodes(1), Copies::Nodes(2), Copies::Majority, Copies::All] {
        sim.add(0, "clicks", 1);
        let wait = sim.await_copies(0, copies, SECOND);
        let (how, took) = ends(&mut sim, wait, SECOND);
        assert_eq!(how, Waited::Reached, "{copies:?}");
        assert!(took <= 10 * MS, "{copies:?} took {took:?}");
        let holders =
            (0..5).filter(|node| sim.total(*node, "clicks") == sim.total(0, "clicks")).count();
        assert!(holders >= copies.of(5), "{copies:?}: {holders} hold it");
    }
}

#[test]
fn question_for_copies_brings_the_cells() {
    let mut sim = cluster(2, 3, Link { gossip_loss: 1.0, ..Link::loopback() });
    sim.add(1, "clicks", 7);
    let wait = sim.await_copies(1, Copies::All, SECOND);
    assert_eq!(ends(&mut sim, wait, SECOND).0, Waited::Reached);
    assert_eq!((sim.total(0, "clicks"), sim.total(2, "clicks")), (7, 7));
}

#[test]
fn cut_node_reports_the_copies_it_has() -> Result<(), Failure> {
    let mut sim = cluster(3, 5, Link::loopback());
    sim.cut(&[0, 1], &[2, 3, 4]);
    sim.add(0, "clicks", 1);
    let two = sim.await_copies(0, Copies::Nodes(2), 2 * SECOND);
    let majority = sim.await_copies(0, Copies::Majority, 2 * SECOND);
    assert_eq!(ends(&mut sim, two, SECOND).0, Waited::Reached);
    assert_eq!(
        ends(&mut sim, majority, 3 * SECOND).0,
        Waited::Few { held: 2, wanted: 3, enrolled: 5 }
    );
    // The add counts all the same, and travels when the cut heals.
    sim.heal();
    sim.run_until_converged(20 * SECOND)?;
    assert_eq!(sim.total(4, "clicks"), 1);
    Ok(())
}

#[test]
fn copies_count_crashed_nodes_and_not_leavers() {
    let mut sim = cluster(4, 4, Link::loopback());
    sim.leave(3);
    sim.run_for(2 * SECOND);
    sim.add(0, "clicks", 1);
    let wait = sim.await_copies(0, Copies::All, SECOND);
    assert_eq!(ends(&mut sim, wait, SECOND).0, Waited::Reached);
    // A leave is remembered longer than the announcement, which members forget after 90 s.
    sim.run_for(200 * SECOND);
    sim.add(0, "clicks", 1);
    let wait = sim.await_copies(0, Copies::All, SECOND);
    assert_eq!(ends(&mut sim, wait, SECOND).0, Waited::Reached);
    sim.crash(2);
    sim.add(0, "clicks", 1);
    let wait = sim.await_copies(0, Copies::All, SECOND);
    assert_eq!(ends(&mut sim, wait, 2 * SECOND).0, Waited::Few { held: 2, wanted: 3, enrolled: 3 });
    // The next incarnation stands in for it.
    sim.restart(2, true);
    let wait = sim.await_copies(0, Copies::All, 10 * SECOND);
    assert_eq!(ends(&mut sim, wait, 10 * SECOND).0, Waited::Reached);
}

#[test]
fn awaited_versions_are_fetched_at_once() {
    let mut sim = cluster(5, 3, Link { gossip_loss: 1.0, ..Link::loopback() });
    sim.add(0, "clicks", 5);
    let versions = sim.versions(0);
    let wait = sim.await_versions(2, versions, SECOND);
    let (how, took) = ends(&mut sim, wait, SECOND);
    assert_eq!(how, Waited::Reached);
    assert!(took <= 20 * MS, "{took:?}");
    assert_eq!(sim.total(2, "clicks"), 5);
}

/// A client that sends its requests to any node. It carries a token of what it has seen, and the
/// values that it must find again.
#[derive(Default)]
struct Session {
    token: VersionVector,
    /// The least that it may read of each counter from now on.
    least: BTreeMap<usize, i128>,
}

/// The results of many sessions.
#[derive(Default, Debug)]
struct Met {
    reads: usize,
    behind: usize,
    /// Reads of less than the session had written or read before.
    less: usize,
}

/// Sessions work on a cluster that is cut in halves again and again. Counters only grow here, so a
/// session that reads less than before has gone back in time.
fn hop(seed: u64, sessions: usize, with_tokens: bool) -> Met {
    let mut sim = cluster(seed, 6, Link::lossy(0.1));
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut all: Vec<Session> = (0..sessions).map(|_| Session::default()).collect();
    let mut waiting: Vec<(u64, usize, usize, usize)> = Vec::new();
    let mut met = Met::default();
    for step in 0..sessions * 4 {
        let (at, node, counter) = (dice.usize(..sessions), dice.usize(..6), dice.usize(..4));
        let name = format!("c{counter}");
        if waiting.iter().any(|(_, busy, ..)| *busy == at) {
            continue;
        }
        if dice.u8(..3) == 0 {
            // A write returns a token: all that the node held then, the write included.
            let before = sim.total(node, &name);
            sim.add(node, &name, 1);
            let session = &mut all[at];
            let least = session.least.entry(counter).or_default();
            // Its own write comes on top of all that it knew, even if this node did not know that
            // yet.
            *least = (*least + 1).max(before + 1);
            session.token.join(&sim.versions(node));
        } else {
            let token = if with_tokens { all[at].token.clone() } else { VersionVector::new() };
            waiting.push((sim.await_versions(node, token, 2 * SECOND), at, node, counter));
        }
        match step % 400 {
            0 => sim.cut(&[0, 1, 2], &[3, 4, 5]),
            100 => sim.heal(),
            200 => sim.cut(&[0, 5], &[1, 2, 3, 4]),
            300 => sim.heal(),
            _ => {}
        }
        sim.run_for(dice.u32(..8) * MS);
        waiting.retain(|(wait, at, node, counter)| match sim.waited(*wait) {
            None => true,
            Some(Waited::Reached) => {
                let (total, session) = (sim.total(*node, &format!("c{counter}")), &mut all[*at]);
                let least = session.least.entry(*counter).or_default();
                met.reads += 1;
                met.less += usize::from(total < *least);
                *least = (*least).max(total);
                session.token.join(&sim.versions(*node));
                false
            }
            Some(_) => {
                met.behind += 1;
                false
            }
        });
    }
    met
}

#[test]
fn hopping_sessions_never_go_back_in_time() {
    let met = hop(6, 10_000, true);
    assert_eq!(met.less, 0, "{met:?}");
    assert!(met.reads > 10_000 && met.behind > 100, "{met:?}");
}

/// A planted fault: the same sessions without tokens do read less. It shows that the test above can
/// fail.
#[test]
fn sessions_without_tokens_go_back_in_time() {
    let met = hop(6, 1_000, false);
    assert!(met.less > 10, "{met:?}");
}
