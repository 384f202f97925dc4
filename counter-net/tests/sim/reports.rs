//! Faults that users of similar systems reported, each as a test: live-page counters,
//! Phoenix.Tracker, Akka.NET, chitchat, defradb. None of them happens here.

use std::time::Duration;

use counter_net::protocol::{MessageKind, ProtocolConfig};
use counter_net::sim::{Failure, Link, Sim, SimConfig};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// A cluster with one node in each region, connected and at rest.
fn cluster(regions: &[&str], link: Link) -> Sim {
    let mut sim = Sim::new(SimConfig { seed: 42, link, ..SimConfig::default() });
    regions.iter().for_each(|region| {
        sim.start(region);
    });
    sim.connect_all();
    sim.run_for(3 * SECOND);
    assert!(sim.is_all_synced() && sim.presence_is_right());
    sim
}

/// "A fresh page shows one or two regions until somebody clicks."
#[test]
fn fresh_node_shows_every_region_before_a_click() -> Result<(), Failure> {
    let mut sim = cluster(&["ord", "fra", "sin"], Link::wide());
    for (node, amount) in [(0, 10), (1, 20), (2, 30)] {
        sim.add(node, "clicks", amount);
    }
    sim.set_viewers(1, 3);
    sim.run_for(2 * SECOND);
    let fresh = sim.start("syd");
    sim.connect_all();
    // Six round trips of at most 320 ms, of which the handshake takes four, and 200 ms.
    let limit = 6 * 320 * MS + 200 * MS;
    let took =
        sim.run_until(limit, |sim| sim.machine(fresh).is_some_and(|machine| machine.is_synced()))?;
    for (region, value) in [("ord", 10), ("fra", 20), ("sin", 30)] {
        assert_eq!(sim.value(fresh, "clicks", region), value);
    }
    let presence = sim.machine(fresh).expect("up").presence();
    assert_eq!(presence.keys().collect::<Vec<_>>(), ["fra", "ord", "sin", "syd"]);
    assert_eq!(presence["fra"].connected, 3);
    println!("a fresh node between continents is synced after {took:?}");
    Ok(())
}

/// Two nodes waited for a third, and took each other's word that there is nothing. Each was synced
/// by the answer of the other.
#[test]
fn waiting_nodes_do_not_vouch_for_each_other() -> Result<(), Failure> {
    for link in [Link::loopback(), Link::apart(200 * MS)] {
        let mut sim = Sim::new(SimConfig { link, ..SimConfig::default() });
        let [full, middle, fresh] = [sim.start("ord"), sim.start("fra"), sim.start("sin")];
        sim.add(full, "clicks", 23);
        // It takes six seconds to answer.
        sim.set_link(middle, full, Link::apart(1200 * MS));
        sim.connect(middle, full);
        sim.connect(fresh, middle);
        for _ in 0..300 {
            sim.run_for(10 * MS);
            for node in [middle, fresh] {
                let machine = sim.machine(node).expect("up");
                assert!(
                    !machine.is_synced() && machine.readiness().is_err(),
                    "{node} at {:?}",
                    sim.now()
                );
            }
        }
        sim.run_until(10 * SECOND, |sim| {
            [middle, fresh]
                .iter()
                .all(|node| sim.machine(*node).is_some_and(|machine| machine.is_synced()))
        })?;
        assert_eq!([middle, fresh].map(|node| sim.total(node, "clicks")), [23, 23]);
    }
    Ok(())
}

/// "A region with clicks but no viewer is missing." The same for viewers without clicks.
#[test]
fn clicks_and_viewers_are_known_without_each_other() -> Result<(), Failure> {
    let mut sim = cluster(&["ord", "fra", "sin"], Link::wide());
    sim.add(1, "clicks", 4);
    sim.set_viewers(2, 9);
    sim.run_until_converged(SECOND)?;
    sim.run_for(SECOND);
    assert_eq!(sim.value(0, "clicks", "fra"), 4);
    assert_eq!(sim.machine(0).expect("up").presence()["sin"].connected, 9);
    Ok(())
}

/// "Two machines in one region overwrite each other."
#[test]
fn two_nodes_of_one_region_add_up() -> Result<(), Failure> {
    let mut sim = cluster(&["ord", "ord", "fra"], Link::wide());
    for _ in 0..100 {
        sim.add(0, "clicks", 1);
        sim.add(1, "clicks", 1);
        sim.run_for(3 * MS);
    }
    sim.run_until_converged(5 * SECOND)?;
    assert_eq!(
        (0..3).map(|node| sim.value(node, "clicks", "ord")).collect::<Vec<_>>(),
        [200, 200, 200]
    );
    Ok(())
}

/// "A restart returns to 0 and the total jumps back later."
#[test]
fn restarted_node_syncs_with_its_total() -> Result<(), Failure> {
    let mut sim = cluster(&["ord", "fra", "sin"], Link::wide());
    sim.add(0, "clicks", 50);
    sim.run_until_converged(SECOND)?;
    sim.crash(0);
    sim.run_for(SECOND);
    sim.restart(0, false);
    sim.run_until(5 * SECOND, |sim| sim.machine(0).is_some_and(|machine| machine.is_synced()))?;
    assert_eq!(sim.total(0, "clicks"), 50);
    sim.add(0, "clicks", 1);
    sim.run_until_converged(5 * SECOND)?;
    assert_eq!(sim.total(2, "clicks"), 51);
    Ok(())
}

/// "Presence drifts, doubles on refresh, goes negative." Here it is a sum over live nodes.
#[test]
fn presence_is_exact_after_a_thousand_refreshes() -> Result<(), Failure> {
    let mut sim = cluster(&["ord", "fra", "sin"], Link::lossy(0.2));
    for at in 0..1000_u64 {
        sim.set_viewers((at % 3) as usize, at * 7 % 20);
        sim.run_for(5 * MS);
    }
    let took = sim.run_until(30 * SECOND, |sim| sim.presence_is_right())?;
    assert!(took < 10 * SECOND, "{took:?}");
    Ok(())
}

/// "One lost message stays lost." All gossip is lost here, and anti-entropy alone brings
/// everything.
#[test]
fn everything_arrives_without_gossip() -> Result<(), Failure> {
    let mut sim = cluster(&["ord", "fra", "sin"], Link { gossip_loss: 1.0, ..Link::wide() });
    sim.add(0, "clicks", 5);
    sim.add(2, "clicks", -3);
    let took = sim.run_until_converged(20 * SECOND)?;
    assert_eq!(sim.total(1, "clicks"), 2);
    assert!(took < 10 * SECOND, "{took:?}");
    Ok(())
}

/// phoenix_pubsub #179: "presence dies after a week because dead replicas are never pruned".
#[test]
fn thousand_restarts_leave_only_live_members() -> Result<(), Failure> {
    let mut sim = cluster(&["ord", "fra", "sin"], Link::loopback());
    for _ in 0..1000 {
        sim.crash(2);
        sim.run_for(20 * MS);
        sim.restart(2, false);
        sim.run_for(50 * MS);
    }
    sim.run_until(10 * SECOND, |sim| sim.presence_is_right())?;
    assert_eq!(sim.members(0).len(), 3);
    Ok(())
}

/// phoenix_pubsub #148: "a third node joining during an update leaves wrong data".
#[test]
fn node_joining_during_updates_ends_exact() -> Result<(), Failure> {
    let mut sim = cluster(&["ord", "fra"], Link::wide());
    for at in 0..400 {
        sim.add(at % 2, ["clicks", "likes", "carts"][at % 3], 1);
        if at == 200 {
            sim.start("sin");
            sim.connect_all();
        }
        sim.run_for(2 * MS);
    }
    sim.run_until_converged(10 * SECOND)?;
    assert_eq!(
        ["clicks", "likes", "carts"].map(|counter| sim.total(2, counter)).iter().sum::<i128>(),
        400
    );
    Ok(())
}

/// phoenix_pubsub #135: "a rolling restart causes 20 minutes of traffic". Ten nodes restart in
/// turn, and each must learn 1,000 keys again.
#[test]
fn rolling_restart_costs_kilobytes() -> Result<(), Failure> {
    let regions = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let mut sim = cluster(&regions, Link::wide());
    for node in 0..regions.len() {
        sim.add_many(node, (0..100).map(|at| format!("counter-{at}")));
    }
    sim.run_until_converged(10 * SECOND)?;
    let state =
        sim.map(0).expect("up").delta_since(&counter_core::VersionVector::new()).encode().len()
            as u64;
    let before = sim.cost();
    for node in 0..regions.len() {
        sim.leave(node);
        sim.run_for(SECOND);
        sim.restart(node, false);
        sim.run_until(10 * SECOND, |sim| {
            sim.machine(node).is_some_and(|machine| machine.is_synced())
        })?;
    }
    sim.run_until_converged(10 * SECOND)?;
    sim.run_until(10 * SECOND, |sim| sim.presence_is_right())?;
    let cost = sim.cost().since(&before);
    let a_node = cost.bytes() / regions.len() as u64;
    println!("state {state} bytes; a restart cost {a_node} bytes in the whole cluster: {cost:?}");
    assert!(a_node < 60_000, "{a_node} bytes a restart for a state of {state}");
    let quiet = sim.cost();
    sim.run_for(10 * SECOND);
    let idle = sim.cost().since(&quiet).bytes() / 10 / regions.len() as u64;
    assert!(idle < 1000, "{idle} bytes/s a node afterwards");
    Ok(())
}

/// Akka.NET #4200: "pruning of dead actors double counts". Here ended incarnations are folded into
/// the next one and forgotten. Totals are exact before and after.
#[test]
fn counts_of_the_dead_count_once() -> Result<(), Failure> {
    let mut sim = Sim::new(SimConfig {
        seed: 42,
        retirement: true,
        link: Link::wide(),
        ..SimConfig::default()
    });
    ["ord", "fra", "sin"].iter().for_each(|region| {
        sim.start(region);
    });
    sim.connect_all();
    for _ in 0..9 {
        sim.add(2, "clicks", 1);
        sim.run_until_converged(5 * SECOND)?;
        sim.crash(2);
        sim.run_for(6 * SECOND);
        sim.restart(2, true);
        sim.run_until_converged(5 * SECOND)?;
    }
    sim.run_until(60 * SECOND, |sim| {
        (0..3).all(|node| sim.map(node).expect("up").replicas().count() == 3)
    })?;
    assert_eq!([0, 1, 2].map(|node| sim.total(node, "clicks")), [9, 9, 9]);
    // Without a disk the ended incarnations stay, and still count.
    for _ in 0..3 {
        sim.add(2, "clicks", 1);
        sim.run_until_converged(5 * SECOND)?;
        sim.crash(2);
        sim.run_for(6 * SECOND);
        sim.restart(2, false);
        sim.run_until_converged(5 * SECOND)?;
    }
    assert_eq!([0, 1, 2].map(|node| sim.total(node, "clicks")), [12, 12, 12]);
    Ok(())
}

/// chitchat: "state of 5-10 MB keeps nodes from starting". A large state arrives in pages, and a
/// source dies in the middle.
#[test]
fn large_state_arrives_although_a_source_dies() -> Result<(), Failure> {
    let mut sim = cluster(&["ord", "fra", "sin"], Link::wide());
    for node in 0..3 {
        sim.add_many(node, (0..10_000).map(|at| format!("a-counter-with-a-long-name-{at}")));
    }
    sim.run_until_converged(20 * SECOND)?;
    let protocol = ProtocolConfig::default();
    let fresh = sim.start("syd");
    sim.connect_all();
    sim.run_until(20 * SECOND, |sim| {
        sim.machine(fresh).is_some_and(|machine| machine.stats().pages > 0)
    })?;
    sim.crash(0);
    sim.run_until_converged(20 * SECOND)?;
    let machine = sim.machine(fresh).expect("up");
    let pulled = machine.stats().bytes_in[&MessageKind::Pull];
    let state =
        sim.map(fresh).expect("up").delta_since(&counter_core::VersionVector::new()).encode().len()
            as u64;
    println!(
        "state {state} bytes, pulled {pulled} bytes in {} pages of at most {}",
        machine.stats().pages,
        protocol.page_bytes_max
    );
    assert!(machine.stats().pages >= 3);
    assert!(pulled < 2 * state, "{pulled} bytes pulled for a state of {state}");
    assert_eq!(sim.map(fresh).expect("up").counter_count(), 10_000);
    Ok(())
}

/// chitchat #119: "quiet nodes starve". One node changes 2,000 counters all the time. Another
/// node's single click must get through it to a node that hears no gossip at all.
#[test]
fn busy_writer_does_not_starve_a_quiet_one() -> Result<(), Failure> {
    let mut sim = cluster(&["ord", "fra", "sin"], Link { gossip_loss: 1.0, ..Link::wide() });
    sim.cut(&[1], &[2]);
    for at in 0..300 {
        sim.add_many(0, (0..2000).map(|at| format!("busy-{at}")));
        if at == 100 {
            sim.add(1, "clicks", 1);
        }
        sim.run_for(20 * MS);
        if sim.total(2, "clicks") == 1 {
            return sim.verdict();
        }
    }
    panic!("the quiet writer's click had not arrived after 4 s");
}

/// defradb #2186: "equal deltas are deduplicated into one". Two flushes with the same values are
/// two messages.
#[test]
fn equal_changes_are_different_messages() -> Result<(), Failure> {
    let mut sim = cluster(&["ord", "fra"], Link::loopback());
    for _ in 0..50 {
        sim.add(0, "clicks", 1);
        sim.run_for(10 * MS);
        sim.add(0, "clicks", -1);
        sim.run_for(10 * MS);
        sim.set_viewers(0, 1);
        sim.run_for(200 * MS);
        sim.set_viewers(0, 0);
        sim.run_for(200 * MS);
    }
    sim.run_until_converged(SECOND)?;
    assert_eq!(sim.total(1, "clicks"), 0);
    // This also fails if a node publishes the same bytes twice, because a mesh would not pass them
    // on.
    sim.verdict()
}

/// delta_crdt_ex #65: "1,000 keys within one interval leave 200". 3,000 counters change within one
/// flush interval, which is more than one payload holds.
#[test]
fn one_flush_of_three_thousand_counters_arrives() -> Result<(), Failure> {
    let mut sim = cluster(&["ord", "fra", "sin"], Link::lossy(0.2));
    let mut random = fastrand::Rng::with_seed(3);
    sim.add_many(0, (0..3000).map(|_| format!("{:032x}{:032x}", random.u128(..), random.u128(..))));
    sim.run_until_converged(20 * SECOND)?;
    assert_eq!(
        [0, 1, 2].map(|node| sim.map(node).expect("up").counter_count()),
        [3000, 3000, 3000]
    );
    assert_eq!(sim.machine(1).expect("up").stats().divergences, 0);
    Ok(())
}

/// An empty node joins a node with 10,000 distinct counters.
#[test]
fn empty_node_joins_ten_thousand_counters() -> Result<(), Failure> {
    let mut sim = Sim::new(SimConfig { link: Link::wide(), ..SimConfig::default() });
    let full = sim.start("ord");
    sim.add_many(full, (0..10_000).map(|at| format!("counter-{at}")));
    sim.run_for(SECOND);
    let empty = sim.start("fra");
    sim.connect_all();
    let took = sim.run_until_converged(10 * SECOND)?;
    assert_eq!(sim.map(empty).expect("up").counter_count(), 10_000);
    assert_eq!(sim.state_hash(empty), sim.state_hash(full));
    println!("10,000 counters in {took:?}, {} bytes", sim.cost().bytes());
    Ok(())
}

/// "Kill that node with -9: its viewers leave the others' pages within 6 s, its clicks stay."
#[test]
fn killed_node_loses_its_viewers_within_five_seconds() -> Result<(), Failure> {
    let mut sim = cluster(&["ord", "fra", "sin", "syd", "nrt"], Link::wide());
    sim.add(4, "clicks", 8);
    sim.set_viewers(4, 20);
    sim.run_for(2 * SECOND);
    assert!(sim.presence_is_right());
    sim.crash(4);
    let took = sim.run_until(5 * SECOND, |sim| sim.presence_is_right())?;
    assert!(took > SECOND, "a suspicion leaves time to refute it: {took:?}");
    assert_eq!([0, 1, 2, 3].map(|node| sim.total(node, "clicks")), [8; 4]);
    Ok(())
}

/// "Ghosts of one's own reconnect." A connection that breaks and comes back leaves one node and no
/// gap in its presence.
#[test]
fn broken_connection_ends_nobodys_presence() -> Result<(), Failure> {
    let mut sim = cluster(&["ord", "fra", "sin"], Link::wide());
    sim.set_viewers(0, 5);
    sim.run_for(SECOND);
    sim.cut(&[0], &[1]); // sin still reaches both
    for _ in 0..300 {
        sim.run_for(100 * MS);
        assert!(sim.presence_is_right(), "at {:?}", sim.now());
    }
    sim.heal();
    sim.run_for(5 * SECOND);
    assert!(sim.presence_is_right());
    Ok(())
}

/// A node that leaves is gone at once, after it handed over all that it counted.
#[test]
fn leave_is_immediate_and_loses_nothing() -> Result<(), Failure> {
    let mut sim = cluster(&["ord", "fra", "sin"], Link { gossip_loss: 0.9, ..Link::wide() });
    sim.set_viewers(0, 5);
    sim.run_for(3 * SECOND);
    sim.add(0, "clicks", 77);
    sim.leave(0);
    sim.run_until(SECOND, |sim| sim.presence_is_right())?;
    sim.run_until_converged(10 * SECOND)?;
    assert_eq!([1, 2].map(|node| sim.total(node, "clicks")), [77, 77]);
    Ok(())
}

/// Two sides count on during a partition of one minute, and agree within seconds after it.
#[test]
fn partitioned_sides_count_on_and_agree_afterwards() -> Result<(), Failure> {
    let mut sim = cluster(&["ord", "fra", "sin", "syd"], Link::lossy(0.05));
    sim.cut(&[0, 1], &[2, 3]);
    for at in 0..60 {
        sim.add(at % 4, "clicks", 1);
        sim.run_for(SECOND);
    }
    assert!(!sim.presence_is_right(), "each side shows only itself");
    sim.heal();
    let took = sim.run_until_converged(10 * SECOND)?;
    assert_eq!(sim.total(3, "clicks"), 60);
    let presence = sim.run_until(5 * SECOND, |sim| sim.presence_is_right())?;
    println!("state {took:?} after the heal, presence {presence:?} later");
    Ok(())
}

/// A node that vanished is forgotten after its ttl, although the others keep passing its
/// announcement on.
#[test]
fn ghost_is_not_kept_alive_by_gossip() -> Result<(), Failure> {
    let never = Duration::from_secs(100_000);
    let protocol = ProtocolConfig { suspicion_timeout: never, ..ProtocolConfig::default() };
    let mut sim =
        Sim::new(SimConfig { seed: 3, protocol, link: Link::wide(), ..SimConfig::default() });
    ["ord", "fra", "sin", "syd", "nrt"].iter().for_each(|region| {
        sim.start(region);
    });
    sim.connect_all();
    sim.run_for(5 * SECOND);
    sim.crash(4);
    let dead = sim.now();
    let took = sim.run_until(200 * SECOND, |sim| {
        let changing = sim.now().as_millis() as u64 / 100;
        sim.set_viewers(0, changing); // so that announcements are exchanged all the time
        [1, 2, 3].iter().all(|node| !sim.machine(*node).expect("up").presence().contains_key("nrt"))
    })?;
    assert!(took <= 92 * SECOND, "{took:?} after {dead:?}");
    sim.run_for(100 * SECOND);
    assert!(
        [0, 1, 2, 3].iter().all(|node| sim.members(*node).len() == 4),
        "and forgotten after one ttl more"
    );
    Ok(())
}
