//! These tests make states differ under equal version vectors, a fault that must not happen. They
//! also check how nodes that wait for others become synced.

use std::collections::VecDeque;
use std::time::Duration;

use counter_core::{CounterMap, Replica, ReplicaId, VersionVector};
use counter_net::protocol::{
    Alarm, Copies, Input, NodeId, NotReady, Notice, Output, ProtocolConfig, Replicator, Search,
    Waited,
};

const MS: Duration = Duration::from_millis(1);

/// Two machines, each the other's only peer, with the notices of each.
struct Pair {
    nodes: [(Replica, Replicator, Vec<Notice>); 2],
    /// Inputs under way, with the node that they are for.
    wire: VecDeque<(usize, Input)>,
    now: Duration,
    loses_gossip: bool,
    /// How many more inputs node 1 takes before it hangs.
    inputs_left: Option<usize>,
}

fn node(id: u64, config: ProtocolConfig) -> (Replica, Replicator, Vec<Notice>) {
    let replica = Replica::new(ReplicaId::new(id, 1), "ord").unwrap();
    let machine = Replicator::new(config, &replica, id, Duration::ZERO);
    (replica, machine, Vec::new())
}

impl Pair {
    fn new(nodes: [(Replica, Replicator, Vec<Notice>); 2]) -> Self {
        let up = |peer| Input::PeerUp { peer: NodeId(peer) };
        let nobody = || Input::Search(Search::NOBODY);
        let wire = VecDeque::from([(0, up(2)), (1, up(1)), (0, nobody()), (1, nobody())]);
        Self { nodes, wire, now: Duration::ZERO, loses_gossip: false, inputs_left: None }
    }

    /// True if a node hangs and does not take its next input.
    fn hangs(&mut self, at: usize) -> bool {
        let Some(left) = self.inputs_left.as_mut().filter(|_| at == 1) else { return false };
        let hangs = *left == 0;
        *left = left.saturating_sub(1);
        hangs
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.wire.extend([(0, Input::Timer), (1, Input::Timer)]);
            while let Some((at, input)) = self.wire.pop_front() {
                if self.hangs(at) {
                    continue;
                }
                let (replica, machine, notices) = &mut self.nodes[at];
                machine.handle(replica, input, self.now);
                let me = machine.node();
                while let Some(output) = machine.poll_output() {
                    match output {
                        Output::Publish { .. } if self.loses_gossip => {}
                        Output::Publish { payload } => self
                            .wire
                            .push_back((1 - at, Input::Gossip { token: 0, signer: me, payload })),
                        Output::Request { id, payload, .. } => {
                            self.wire.push_back((1 - at, Input::Request { peer: me, id, payload }))
                        }
                        Output::Respond { id, payload, .. } => {
                            self.wire.push_back((1 - at, Input::Response { peer: me, id, payload }))
                        }
                        Output::Notify(notice) => notices.push(notice),
                        Output::Validated { .. }
                        | Output::Penalise { .. }
                        | Output::Dial { .. } => {}
                    }
                }
            }
            self.now += MS;
        }
    }

    fn alarms(&self, at: usize) -> impl Iterator<Item = &Alarm> {
        self.nodes[at]
            .2
            .iter()
            .filter_map(|notice| if let Notice::Alarm(alarm) = notice { Some(alarm) } else { None })
    }
}

#[test]
fn diverged_states_are_repaired_once_a_minute() {
    let mut nodes = [node(1, ProtocolConfig::default()), node(2, ProtocolConfig::default())];
    for (at, amount) in [(0, 5), (1, 7)] {
        // A third writer sent each of them another amount under one version. Only a faulty writer
        // does that.
        let mut liar = Replica::new(ReplicaId::new(3, 1), "fra").unwrap();
        liar.counter("clicks").unwrap().add(amount).unwrap();
        liar.flush();
        nodes[at].0.join_delta(liar.map().delta_since(&VersionVector::new())).unwrap();
    }
    let mut pair = Pair::new(nodes);
    pair.run_for(Duration::from_secs(5));
    assert!(pair.alarms(0).any(|alarm| matches!(alarm, Alarm::Diverged { peer: NodeId(2) })));
    let hashes = [0, 1].map(|at| pair.nodes[at].0.state_hash());
    assert_eq!(hashes[0], hashes[1]);
    assert_eq!(
        [0, 1].map(|at| pair.nodes[at].0.total("clicks")),
        [7, 7],
        "the greater bytes win on both sides"
    );
    for at in [0, 1] {
        let stats = pair.nodes[at].1.stats();
        assert!(stats.repairs <= 1, "{stats:?}");
    }
    pair.run_for(Duration::from_secs(5));
    assert!(pair.nodes[0].1.stats().rounds_equal > 0, "and afterwards they agree");
}

/// A peer hangs after any number of inputs, also between its pull and the page that answers it.
#[test]
fn page_that_was_sent_is_no_copy() {
    let mut outcomes = [0, 0];
    for inputs in 0..60 {
        let config = ProtocolConfig { anti_entropy_interval: MS * 20, ..ProtocolConfig::default() };
        let mut pair = Pair::new([node(1, config.clone()), node(2, config)]);
        pair.run_for(Duration::from_secs(3));
        pair.loses_gossip = true;
        pair.inputs_left = Some(inputs);
        pair.nodes[0].0.add("clicks", 5).unwrap();
        pair.wire.push_back((0, Input::LocalChange));
        pair.run_for(MS * 200);
        let version = pair.nodes[0].0.version();
        pair.wire.push_back((
            0,
            Input::AwaitCopies { id: 1, copies: Copies::Nodes(2), within: MS * 50 },
        ));
        pair.run_for(MS * 100);
        let is_held = pair.nodes[1].0.map().seen_of(ReplicaId::new(1, 1)) >= version;
        let is_waited =
            |notice: &Notice| matches!(notice, Notice::Waited { id: 1, how: Waited::Reached });
        let is_reached = pair.nodes[0].2.iter().any(is_waited);
        assert!(is_held || !is_reached, "node 1 hung after {inputs} inputs, and holds nothing");
        outcomes[usize::from(is_reached)] += 1;
    }
    assert!(outcomes.iter().all(|count| *count > 5), "{outcomes:?}");
}

fn is_ready(machine: &Replicator) -> bool {
    machine.readiness().is_ok()
}

#[test]
fn node_is_alone_once_discovery_says_so() {
    let (mut replica, mut machine, _) = node(1, ProtocolConfig::default());
    machine.handle(&mut replica, Input::Timer, MS * 900);
    assert!(!machine.is_synced() && !machine.in_touch());
    assert_eq!(machine.readiness(), Err(NotReady::CatchingUp { candidates: 0, unsure: true }));
    machine.handle(&mut replica, Input::Search(Search::NOBODY), MS * 901);
    assert!(machine.is_synced() && is_ready(&machine) && machine.in_touch());
}

#[test]
fn unsure_node_serves_after_ready_within() {
    let (mut replica, mut machine, _) =
        node(1, ProtocolConfig { ready_within: MS * 700, ..ProtocolConfig::default() });
    machine.handle(&mut replica, Input::Timer, MS * 699);
    assert!(!is_ready(&machine));
    machine.handle(&mut replica, Input::Timer, MS * 700);
    assert!(is_ready(&machine) && !machine.is_synced() && !machine.in_touch());
}

#[test]
fn unreachable_named_peers_prevent_sync() {
    let (mut replica, mut machine, _) =
        node(1, ProtocolConfig { peers_named: true, ..ProtocolConfig::default() });
    machine.handle(&mut replica, Input::Search(Search::NOBODY), MS * 400);
    assert!(!is_ready(&machine));
    machine.handle(&mut replica, Input::Timer, Duration::from_secs(60));
    assert!(is_ready(&machine) && !machine.is_synced() && !machine.in_touch());
}

#[test]
fn node_with_candidates_is_not_alone() {
    let (mut replica, mut machine, _) = node(1, ProtocolConfig::default());
    machine.handle(&mut replica, Input::Search(Search { candidates: 2, ..Search::NOBODY }), MS);
    machine.handle(&mut replica, Input::Timer, Duration::from_secs(3));
    assert_eq!(machine.readiness(), Err(NotReady::CatchingUp { candidates: 2, unsure: false }));
    machine.handle(&mut replica, Input::Search(Search::NOBODY), Duration::from_secs(4));
    assert!(machine.is_synced() && machine.in_touch());
}

#[test]
fn connection_is_not_an_answer() {
    let (mut replica, mut machine, _) = node(1, ProtocolConfig::default());
    machine.handle(&mut replica, Input::PeerUp { peer: NodeId(2) }, MS);
    machine.handle(&mut replica, Input::Search(Search::NOBODY), MS);
    machine.handle(&mut replica, Input::Timer, Duration::from_secs(5));
    assert!(!machine.is_synced() && !machine.in_touch() && !is_ready(&machine));
}

#[test]
fn refused_key_prevents_readiness() {
    let (mut replica, mut machine, _) = node(1, ProtocolConfig::default());
    machine.handle(&mut replica, Input::Search(Search { key_refused: true, ..Search::NOBODY }), MS);
    machine.handle(&mut replica, Input::Timer, Duration::from_secs(60));
    assert_eq!(machine.readiness(), Err(NotReady::KeyRefused));
    assert!(!machine.is_synced() && !machine.in_touch());
    machine.handle(&mut replica, Input::Search(Search::NOBODY), Duration::from_secs(61));
    assert!(is_ready(&machine) && machine.is_synced());
}

#[test]
fn silent_peer_delays_readiness_only() {
    let (mut replica, mut machine, _) =
        node(1, ProtocolConfig { request_timeout: MS * 200, ..ProtocolConfig::default() });
    machine.handle(&mut replica, Input::PeerUp { peer: NodeId(2) }, MS);
    machine.handle(&mut replica, Input::Search(Search::NOBODY), MS);
    for at in 1..=220 {
        machine.handle(&mut replica, Input::Timer, MS * 50 * at);
        while machine.poll_output().is_some() {}
        assert!(at >= 200 || !is_ready(&machine), "at {at}");
    }
    assert!(is_ready(&machine) && !machine.is_synced());
}

#[test]
fn nodes_that_start_together_sync_and_drain() {
    let mut pair =
        Pair::new([node(1, ProtocolConfig::default()), node(2, ProtocolConfig::default())]);
    pair.run_for(MS * 50);
    assert!(pair.nodes.iter().all(|(_, machine, _)| machine.is_synced()));
    pair.nodes[0].0.counter("clicks").unwrap().add(4).unwrap();
    pair.wire.push_back((0, Input::Leave { for_good: false }));
    pair.run_for(MS * 5);
    let (replica, machine, _) = &pair.nodes[0];
    assert!(machine.is_drained(replica));
    assert_eq!(pair.nodes[1].0.total("clicks"), 4);
    assert_eq!(pair.nodes[1].1.presence()["ord"].nodes, 1);
}

/// A digest goes out in six parts, and those after the first are lost. That is no reason to avoid
/// the peer for seconds.
#[test]
fn lost_digest_parts_are_no_failure_of_the_peer() {
    let mut map = CounterMap::new();
    for other in 10..20 {
        map.set_region(ReplicaId::new(other, 1), "fra").unwrap();
    }
    let mut replica = Replica::with_map(ReplicaId::new(1, 1), "ord", map).unwrap();
    let config = ProtocolConfig { digest_replicas_max: 2, ..ProtocolConfig::default() };
    let mut machine = Replicator::new(config, &replica, 1, Duration::ZERO);
    let peer = NodeId(2);
    machine.handle(&mut replica, Input::PeerUp { peer }, MS);
    let mut ids: Vec<u64> = std::iter::from_fn(|| machine.poll_output())
        .filter_map(|output| if let Output::Request { id, .. } = output { Some(id) } else { None })
        .collect();
    assert_eq!(ids.len(), 6);
    // The question comes after the parts.
    let asked = ids.pop().unwrap();
    ids.into_iter()
        .for_each(|id| machine.handle(&mut replica, Input::RequestFailed { peer, id }, MS));
    let state = |entries: &[(&str, serde_cbor::Value)]| -> Vec<u8> {
        let entries = entries
            .iter()
            .map(|(key, value)| (serde_cbor::Value::Text((*key).to_owned()), value.clone()));
        serde_cbor::to_vec(&serde_cbor::Value::Map(entries.collect())).unwrap()
    };
    let nothing = [
        ("d", serde_cbor::Value::Bytes(Vec::new())),
        ("h", serde_cbor::Value::Bytes(vec![0; 16])),
        ("y", true.into()),
    ];
    let answer: serde_cbor::Value = serde_cbor::from_slice(&state(&nothing)).unwrap();
    let payload = state(&[("v", 1.into()), ("s", answer)]);
    machine.handle(&mut replica, Input::Response { peer, id: asked, payload }, 2 * MS);
    let mut now = 3 * MS;
    while !std::iter::from_fn(|| machine.poll_output())
        .any(|output| matches!(output, Output::Request { .. }))
    {
        assert!(now < 1_300 * MS, "the next round skips the peer");
        now += MS;
        machine.handle(&mut replica, Input::Timer, now);
    }
}

/// The requests and the answers that a machine wants sent, each with its id.
fn sent(machine: &mut Replicator) -> [Vec<(NodeId, u64, Vec<u8>)>; 2] {
    let mut sent = [Vec::new(), Vec::new()];
    while let Some(output) = machine.poll_output() {
        match output {
            Output::Request { peer, id, payload } => sent[0].push((peer, id, payload)),
            Output::Respond { id, payload, .. } => sent[1].push((machine.node(), id, payload)),
            _ => {}
        }
    }
    sent
}

/// Several peers answer requests of the ended incarnation. If each answer started a new one, the
/// incarnations between would belong to nobody.
#[test]
fn ended_node_renews_itself_once() {
    let (mut replica, mut machine, _) = node(1, ProtocolConfig::default());
    let ended = replica.id();
    let (mut other, mut refuser, _) = node(2, ProtocolConfig::default());
    other.join_delta(replica.map().delta_since(&VersionVector::new())).unwrap();
    other.claim(ended).unwrap();
    refuser.handle(&mut other, Input::PeerUp { peer: NodeId(1) }, MS);
    for peer in [2, 3] {
        machine.handle(&mut replica, Input::PeerUp { peer: NodeId(peer) }, MS);
    }
    let [requests, _] = sent(&mut machine);
    let answer = |request: Vec<u8>, refuser: &mut Replicator, other: &mut Replica| {
        sent(refuser);
        refuser.handle(other, Input::Request { peer: NodeId(1), id: 0, payload: request }, 2 * MS);
        let [_, answers] = sent(refuser);
        answers.into_iter().next().expect("an answer").2
    };
    assert_eq!(requests.iter().map(|(peer, ..)| *peer).collect::<Vec<_>>(), [NodeId(2), NodeId(3)]);
    for (peer, id, request) in requests {
        let payload = answer(request, &mut refuser, &mut other);
        machine.handle(&mut replica, Input::Response { peer, id, payload }, 3 * MS);
        assert_eq!(machine.stats().renewals, 1);
    }
    assert!(replica.id() > ended);
    let incarnations: Vec<ReplicaId> = replica
        .map()
        .replicas()
        .filter(|incarnation| incarnation.node == 1 && *incarnation > ended)
        .collect();
    assert_eq!(incarnations, [replica.id()]);
}

#[test]
fn retirement_includes_earlier_incarnations() {
    let (mut replica, mut machine, _) = node(2, ProtocolConfig::default());
    // The later incarnation was killed before it had claimed the earlier one.
    let [earlier, later] = [1, 2].map(|number| ReplicaId::new(1, number << 32));
    for incarnation in [earlier, later] {
        let other = Replica::new(incarnation, "fra").unwrap();
        replica.join_delta(other.map().delta_since(&VersionVector::new())).unwrap();
    }
    machine.retire(&mut replica, later).unwrap();
    assert!(replica.map().is_ended(earlier) && replica.map().is_ended(later));
    machine.handle(&mut replica, Input::Search(Search::NOBODY), MS);
    for step in 1..20 {
        machine.handle(&mut replica, Input::Timer, MS * 300 * step);
    }
    assert_eq!(replica.map().replicas().collect::<Vec<_>>(), [replica.id()], "both are folded");
}
