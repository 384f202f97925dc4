//! A peer that falls silent on an open connection. It is suspected. Anything that it sends, or its
//! own announcement, clears it. Otherwise it is gone.

use std::time::Duration;

use counter_core::{Replica, ReplicaId};
use counter_net::protocol::{Input, NodeId, Output, ProtocolConfig, Replicator};

const MS: Duration = Duration::from_millis(1);
const PEER: NodeId = NodeId(2);

/// A node under test and its only peer. Each gets only the messages that the test hands over.
struct Pair {
    replicas: [Replica; 2],
    machines: [Replicator; 2],
    now: Duration,
}

impl Pair {
    fn new() -> Self {
        let replicas = [1, 2].map(|node| {
            Replica::new(ReplicaId::new(node, 1), ["ord", "fra"][node as usize - 1]).unwrap()
        });
        let machines = [0, 1].map(|at| {
            Replicator::new(ProtocolConfig::default(), &replicas[at], at as u64, Duration::ZERO)
        });
        let mut pair = Self { replicas, machines, now: Duration::ZERO };
        for (at, peer) in [(0, 2), (1, 1)] {
            pair.hand(at, Input::PeerUp { peer: NodeId(peer) });
        }
        let hello = pair.run(1, 200 * MS);
        assert!(!hello.is_empty(), "it announces itself");
        pair.hear(hello);
        pair.run(0, 200 * MS);
        assert_eq!(pair.shown(), 2);
        pair
    }

    fn hand(&mut self, at: usize, input: Input) {
        self.machines[at].handle(&mut self.replicas[at], input, self.now);
    }

    /// Runs one of the two for some time, and returns the gossip that it publishes.
    fn run(&mut self, at: usize, time: Duration) -> Vec<Vec<u8>> {
        let until = self.now + time;
        let mut published = Vec::new();
        while self.now < until {
            self.now += 10 * MS;
            self.hand(at, Input::Timer);
            let outputs = std::iter::from_fn(|| self.machines[at].poll_output());
            published.extend(outputs.filter_map(|output| {
                if let Output::Publish { payload } = output { Some(payload) } else { None }
            }));
        }
        published
    }

    /// The node hears the peer's gossip.
    fn hear(&mut self, payloads: Vec<Vec<u8>>) {
        payloads
            .into_iter()
            .for_each(|payload| self.hand(0, Input::Gossip { token: 0, signer: PEER, payload }));
    }

    /// The live nodes that the node shows.
    fn shown(&self) -> u64 {
        self.machines[0].presence().values().map(|region| region.nodes).sum()
    }
}

#[test]
fn silent_peer_is_gone_2500_ms_after_suspicion() {
    let mut pair = Pair::new();
    pair.hand(0, Input::PeerSilent { peer: PEER });
    assert_eq!(pair.run(0, 310 * MS).len(), 1, "the suspicion");
    assert_eq!(pair.shown(), 2, "it has time to answer");
    pair.run(0, 2500 * MS);
    assert_eq!(pair.shown(), 1);
}

#[test]
fn any_word_ends_a_suspicion() {
    let mut pair = Pair::new();
    pair.hand(0, Input::PeerSilent { peer: PEER });
    pair.run(0, 2000 * MS);
    pair.hand(0, Input::PeerHeard { peer: PEER });
    pair.run(0, 5000 * MS);
    assert_eq!(pair.shown(), 2);
    // And it may fall silent again.
    pair.hand(0, Input::PeerSilent { peer: PEER });
    pair.run(0, 2810 * MS);
    assert_eq!(pair.shown(), 1);
}

#[test]
fn suspect_that_hears_of_it_stays() {
    let mut pair = Pair::new();
    pair.hand(0, Input::PeerSilent { peer: PEER });
    for payload in pair.run(0, 310 * MS) {
        pair.hand(1, Input::Gossip { token: 0, signer: NodeId(1), payload });
    }
    let answer = pair.run(1, 200 * MS);
    assert_eq!(answer.len(), 1, "the refutation");
    pair.hear(answer);
    pair.run(0, 5000 * MS);
    assert_eq!(pair.shown(), 2);
}

/// A quiet cluster announces every half minute. A member that answers pings counts as heard, but
/// does not live longer for that.
#[test]
fn pings_do_not_keep_a_member_alive() {
    let mut pair = Pair::new();
    let ttl = ProtocolConfig::default().announcement_ttl;
    let until = pair.now + ttl + MS * 1000;
    while pair.now < until {
        pair.hand(0, Input::PeerHeard { peer: PEER });
        pair.run(0, 2000 * MS);
        let seen = pair.machines[0].members(&pair.replicas[0], pair.now);
        let peer =
            seen.iter().find(|member| member.replica.node == PEER.0).expect("the peer is a member");
        assert!(peer.last_heard <= 2000 * MS, "{peer:?}");
    }
    assert_eq!(pair.shown(), 1, "without an announcement its presence ends");
}
