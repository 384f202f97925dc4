//! Peers that fail or stay silent, and a discovery that does not answer. Silence is not absence,
//! and time proves nothing.

use counter_net::sim::SimConfig;

use super::run_stories;
use super::story::{SECOND, Story};

const NEVER: u32 = 1_000_000;

/// Checks that a node is neither synced nor ready until `ready_within` is over. Afterwards it is
/// ready, not synced and not in touch.
fn waits_in_vain(story: &mut Story, fresh: usize) -> Result<(), String> {
    let ready_within = story.sim.machine(fresh).expect("up").config().ready_within;
    let began = story.sim.now();
    let patience_over = began + ready_within;
    let mut look = |sim: &mut counter_net::sim::Sim| {
        let machine = sim.machine(fresh).expect("up");
        let is_early = sim.now() < patience_over && machine.readiness().is_ok();
        if machine.is_synced() || is_early || machine.in_touch() {
            let (synced, ready, in_touch) =
                (machine.is_synced(), machine.readiness(), machine.in_touch());
            return Err(format!(
                "{:?} after the start: synced {synced}, {ready:?}, in touch {in_touch}",
                sim.now() - began
            ));
        }
        Ok(())
    };
    story.sim.run_watched(ready_within + SECOND / 100, &mut look)?;
    if !story.is_ready(fresh) {
        return Err("not ready after ready_within".to_owned());
    }
    story.sim.run_watched(50 * SECOND, &mut look)?;
    if !story.is_ready(fresh) { Err("no longer ready".to_owned()) } else { Ok(()) }
}

fn silent_peers(seed: u64) -> Result<(), String> {
    let mut story = Story::new(seed, SimConfig::default());
    let others: Vec<usize> = (0..story.dice.usize(1..=3)).map(|_| story.start_busy()).collect();
    story.sim.connect_all();
    story.sim.run_for(4 * SECOND);
    others.iter().for_each(|other| story.sim.mute(*other));
    let dead = story.start_dead();
    let fresh = story.start();
    others.iter().for_each(|other| story.sim.connect(fresh, *other));
    if story.dice.bool() {
        story.sim.connect(fresh, dead);
    }
    waits_in_vain(&mut story, fresh)
}

#[test]
fn connected_silent_peers_are_no_answer() {
    run_stories("silent::connected_silent_peers_are_no_answer", 0..60, silent_peers);
}

/// Two fresh nodes find each other and a silent peer. They must not rely on each other's answer,
/// since the silent one may hold more.
fn silent_and_unsynced(seed: u64) -> Result<(), String> {
    let mut story = Story::new(seed, SimConfig::default());
    let silent = story.start_busy();
    story.sim.run_for(SECOND);
    story.sim.mute(silent);
    let fresh = [story.start_busy(), story.start_busy()];
    story.sim.connect_both(fresh[0], fresh[1]);
    fresh.iter().for_each(|host| story.sim.connect(*host, silent));
    let ready_within = story.sim.machine(silent).expect("up").config().ready_within;
    let patience_over = story.sim.now() + ready_within;
    story.sim.run_watched(ready_within + SECOND, |sim| {
        let is_early = |machine: &counter_net::protocol::Replicator| {
            sim.now() < patience_over && machine.readiness().is_ok()
        };
        let opened = |host: &usize| {
            sim.machine(*host).is_some_and(|machine| machine.is_synced() || is_early(machine))
        };
        match fresh.iter().find(|host| opened(host)) {
            Some(host) => Err(format!("node {host} is synced or ready at {:?}", sim.now())),
            None => Ok(()),
        }
    })?;
    if fresh.iter().all(|host| story.is_ready(*host)) {
        Ok(())
    } else {
        Err("not ready after ready_within".to_owned())
    }
}

#[test]
fn unsynced_answer_does_not_outweigh_a_silent_peer() {
    run_stories(
        "silent::unsynced_answer_does_not_outweigh_a_silent_peer",
        0..60,
        silent_and_unsynced,
    );
}

fn unsure_discovery(seed: u64) -> Result<(), String> {
    let mut story = Story::new(seed, SimConfig::default());
    let dead = story.start_dead();
    story.sim.set_discovery(NEVER * SECOND);
    let fresh = story.start();
    if story.dice.bool() {
        story.sim.connect(fresh, dead);
    }
    waits_in_vain(&mut story, fresh)
}

#[test]
fn silent_discovery_proves_nothing() {
    run_stories("silent::silent_discovery_proves_nothing", 0..30, unsure_discovery);
}

/// Peers are dead or unreachable. The node is alone once their dials have failed, and not before.
fn unreachable_peers(seed: u64) -> Result<(), String> {
    let dial_timeout = 2 * SECOND;
    let mut story = Story::new(seed, SimConfig { dial_timeout, ..SimConfig::default() });
    let cluster: Vec<usize> = (0..story.dice.usize(0..=2)).map(|_| story.start_busy()).collect();
    story.sim.connect_all();
    story.sim.run_for(4 * SECOND);
    let dead = story.start_dead();
    let fresh = story.sim.len();
    story.sim.cut(&[fresh], &cluster);
    story.start();
    let began = story.sim.now();
    story.sim.connect(fresh, dead);
    cluster.iter().for_each(|other| story.sim.connect(fresh, *other));
    // A refusal takes one round trip. A dial of an unreachable peer fails at the timeout.
    let not_before = if cluster.is_empty() { story.round_trip / 20 } else { dial_timeout };
    story.sim.run_watched(not_before, |sim| {
        let machine = sim.machine(fresh).expect("up");
        let is_early =
            sim.now() - began < not_before && (machine.is_synced() || machine.readiness().is_ok());
        if is_early {
            Err(format!("synced or ready after {:?}, before peers failed", sim.now() - began))
        } else {
            Ok(())
        }
    })?;
    story.sim.run_for(2 * story.round_trip);
    if story.is_synced(fresh) && story.is_ready(fresh) {
        Ok(())
    } else {
        Err("not synced after every peer failed".to_owned())
    }
}

#[test]
fn node_is_alone_once_every_peer_failed() {
    run_stories("silent::node_is_alone_once_every_peer_failed", 0..60, unreachable_peers);
}
