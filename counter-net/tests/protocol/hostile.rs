//! Peers that break the rules. Their input is counted and refused, and changes no number. They are
//! blamed for input that no honest release sends.

use std::time::Duration;

use counter_core::{CounterMap, Replica, ReplicaId, VersionVector};
use counter_net::protocol::{
    Acceptance, Alarm, Input, MESSAGE_BYTES_MAX, NodeId, Notice, Output, ProtocolConfig, Refusal,
    Replicator, Search,
};
use serde_cbor::Value;

const MS: Duration = Duration::from_millis(1);
const HONEST: NodeId = NodeId(1);
const PEER: NodeId = NodeId(2);

/// An honest node with five clicks and one connected peer.
struct Victim {
    replica: Replica,
    machine: Replicator,
    now: Duration,
}

impl Victim {
    fn new() -> Self {
        Self::with_map(CounterMap::new())
    }

    fn with_map(map: CounterMap) -> Self {
        let mut replica = Replica::with_map(ReplicaId::new(HONEST.0, 1), "ord", map).unwrap();
        replica.counter("clicks").unwrap().add(5).unwrap();
        let machine = Replicator::new(ProtocolConfig::default(), &replica, 1, Duration::ZERO);
        let mut victim = Self { replica, machine, now: Duration::ZERO };
        victim.hand(Input::LocalChange);
        // It is alone, so it has caught up and takes gossip at once.
        victim.hand(Input::Search(Search::NOBODY));
        assert!(victim.machine.is_synced());
        victim.hand(Input::PeerUp { peer: PEER });
        victim
    }

    fn hand(&mut self, input: Input) -> Vec<Output> {
        self.now += MS;
        self.machine.handle(&mut self.replica, input, self.now);
        std::iter::from_fn(|| self.machine.poll_output()).collect()
    }

    fn gossip(&mut self, payload: Vec<u8>) -> (Acceptance, Vec<Output>) {
        let outputs = self.hand(Input::Gossip { token: 9, signer: PEER, payload });
        let outcomes: Vec<Acceptance> = outputs.iter().filter_map(acceptance).collect();
        assert_eq!(outcomes.len(), 1, "one outcome a message");
        (outcomes[0], outputs)
    }

    /// The answer to a request, decoded, and the other outputs.
    fn ask(&mut self, payload: Vec<u8>) -> (Value, Vec<Output>) {
        let outputs = self.hand(Input::Request { peer: PEER, id: 4, payload });
        let answers: Vec<&Vec<u8>> = outputs.iter().filter_map(answer).collect();
        assert_eq!(answers.len(), 1, "one answer a request");
        (serde_cbor::from_slice(answers[0]).unwrap(), outputs)
    }

    fn refused(&self, reason: Refusal) -> u64 {
        self.machine.stats().refused.get(&reason).copied().unwrap_or(0)
    }
}

fn acceptance(output: &Output) -> Option<Acceptance> {
    if let Output::Validated { token: 9, acceptance } = output { Some(*acceptance) } else { None }
}

fn answer(output: &Output) -> Option<&Vec<u8>> {
    if let Output::Respond { id: 4, payload, .. } = output { Some(payload) } else { None }
}

fn blamed(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Penalise { peer: PEER, .. }))
}

fn map(entries: &[(&str, Value)]) -> Value {
    Value::Map(
        entries
            .iter()
            .map(|(key, value)| (Value::Text((*key).to_owned()), value.clone()))
            .collect(),
    )
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_cbor::to_vec(value).unwrap()
}

/// Gossip with the cells of a writer of `node`.
fn delta_of(node: u64) -> Vec<u8> {
    let mut other = Replica::new(ReplicaId::new(node, 1), "fra").unwrap();
    other.counter("clicks").unwrap().add(1000).unwrap();
    other.flush();
    other.map().delta_since(&VersionVector::new()).encode()
}

fn announcement(node: u64, extra: &[(&str, Value)]) -> Value {
    let mut fields = vec![
        ("i", Value::Bytes(ReplicaId::new(node, 1).to_bytes().to_vec())),
        ("g", Value::Text("fra".into())),
        ("u", Value::Integer(3)),
        ("r", Value::Text("1".into())),
        ("n", Value::Integer(1)),
        ("t", Value::Integer(90_000)),
    ];
    fields.retain(|(key, _)| !extra.iter().any(|(other, _)| other == key));
    fields.extend(extra.iter().cloned());
    map(&fields)
}

fn ask(node: u64, have: Vec<u8>, birth: Option<Vec<u8>>) -> Value {
    let mut fields = vec![
        ("a", announcement(node, &[])),
        ("d", Value::Bytes(have)),
        ("m", Value::Bytes(vec![0; 16])),
        ("w", Value::Bool(true)),
    ];
    fields.extend(birth.map(|birth| ("b", Value::Bytes(birth))));
    map(&[("v", Value::Integer(1)), ("a", map(&fields))])
}

fn refusal(answer: &Value) -> Option<String> {
    let Value::Map(fields) = answer else { return None };
    let Some(Value::Map(refused)) = fields.get(&Value::Text("r".into())) else { return None };
    match refused.get(&Value::Text("r".into())) {
        Some(Value::Text(reason)) => Some(reason.clone()),
        _ => None,
    }
}

#[test]
fn forged_writer_is_rejected_and_blamed() {
    let mut victim = Victim::new();
    let (acceptance, outputs) = victim.gossip(delta_of(3));
    assert_eq!(acceptance, Acceptance::Reject);
    assert!(blamed(&outputs));
    assert_eq!(victim.refused(Refusal::ForgedWriter), 1);
    assert_eq!(victim.replica.total("clicks"), 5);
    let (acceptance, _) = victim.gossip(delta_of(PEER.0));
    assert_eq!((acceptance, victim.replica.total("clicks")), (Acceptance::Accept, 1005));
}

#[test]
fn replayed_delta_changes_nothing() {
    let mut victim = Victim::new();
    for _ in 0..3 {
        let (acceptance, _) = victim.gossip(delta_of(PEER.0));
        assert_eq!((acceptance, victim.replica.total("clicks")), (Acceptance::Accept, 1005));
    }
}

#[test]
fn own_cells_from_a_peer_are_rejected() {
    let mut victim = Victim::new();
    let (acceptance, _) = victim.gossip(delta_of(HONEST.0));
    assert_eq!((acceptance, victim.replica.total("clicks")), (Acceptance::Reject, 5));
}

#[test]
fn garbage_never_panics_and_changes_nothing() {
    let mut rng = fastrand::Rng::with_seed(3);
    let mut victim = Victim::new();
    let good = [delta_of(PEER.0), bytes(&ask(PEER.0, Vec::new(), None))];
    for round in 0..6000 {
        let mut garbage = match round % 3 {
            0 => (0..rng.usize(..200)).map(|_| rng.u8(..)).collect::<Vec<u8>>(),
            kind => good[kind - 1].clone(),
        };
        for _ in 0..rng.usize(1..6) {
            if !garbage.is_empty() {
                let at = rng.usize(..garbage.len());
                garbage[at] = rng.u8(..);
            }
        }
        victim.gossip(garbage.clone());
        victim.ask(garbage.clone());
        victim.hand(Input::Response { peer: PEER, id: rng.u64(..20), payload: garbage });
    }
    assert!(victim.machine.stats().refused_total() > 6000);
    assert_eq!(victim.replica.value("clicks", "ord"), 5);
}

#[test]
fn oversized_gossip_is_refused_unread() {
    let mut victim = Victim::new();
    let (acceptance, outputs) = victim.gossip(vec![0xa0; 63 * 1024 + 1]);
    assert_eq!(acceptance, Acceptance::Reject);
    assert!(blamed(&outputs));
    assert_eq!(victim.refused(Refusal::TooLarge), 1);
}

#[test]
fn oversized_request_is_refused_unread() {
    let mut victim = Victim::new();
    let (answer, _) = victim.ask(vec![0xa0; MESSAGE_BYTES_MAX + 1]);
    assert_eq!(refusal(&answer).as_deref(), Some("too_large"));
}

#[test]
fn too_long_digest_is_refused_and_forgotten() {
    let mut victim = Victim::new();
    // As many as fit into a message. A million of them would be refused for their bytes alone.
    let have: Vec<u8> = (1..=100_000_u64)
        .flat_map(|node| ReplicaId::new(node, 1).to_bytes().into_iter().chain([1]))
        .collect();
    let other = Replica::new(ReplicaId::new(PEER.0, 1), "fra").unwrap();
    let birth = other.map().delta_since(&VersionVector::new()).encode();
    let (answer, outputs) = victim.ask(bytes(&ask(PEER.0, have, Some(birth))));
    assert_eq!(refusal(&answer).as_deref(), Some("digest_too_long"));
    assert!(blamed(&outputs));
    assert_eq!(
        victim.replica.map().version_vector().len(),
        2,
        "the victim's own and the peer's record"
    );
}

fn is_digest_part(output: &Output) -> bool {
    let Output::Request { payload, .. } = output else { return false };
    let Ok(Value::Map(fields)) = serde_cbor::from_slice(payload) else { return false };
    fields.contains_key(&Value::Text("d".into()))
}

/// A part of a digest of `PEER`, with `count` replicas from `first` on.
fn digest_part((at, of): (i128, i128), first: u64, count: u64) -> Vec<u8> {
    let have: Vec<u8> = (first..first + count)
        .flat_map(|node| ReplicaId::new(node, 1).to_bytes().into_iter().chain([1]))
        .collect();
    let part = Value::Array([1, at, of].map(Value::Integer).into());
    let replica = Value::Bytes(ReplicaId::new(PEER.0, 1).to_bytes().to_vec());
    bytes(&map(&[
        ("v", Value::Integer(1)),
        ("d", map(&[("i", replica), ("d", Value::Bytes(have)), ("p", part)])),
    ]))
}

#[test]
fn digest_parts_are_bounded_without_blame() {
    let mut victim = Victim::new();
    for at in 0..40 {
        let (answer, outputs) =
            victim.ask(digest_part((at, 1_000), 1 + 32_768 * at as u64, 32_768));
        // Four parts are the most replicas that are assembled. The fifth part drops them all.
        let over = at % 5 == 4;
        assert_eq!(refusal(&answer).as_deref(), over.then_some("digest_over_bound"), "{at}");
        assert!(!blamed(&outputs));
    }
    assert_eq!(victim.refused(Refusal::DigestOverBound), 8);
    let (answer, outputs) = victim.ask(digest_part((0, 2), 1, 32_769));
    assert_eq!(refusal(&answer).as_deref(), Some("digest_too_long"));
    assert!(blamed(&outputs), "no honest release puts so many into one message");
}

/// The peer asks for a digest of two parts again and again, and never confirms a second part.
#[test]
fn unconfirmed_digest_parts_are_few() {
    let mut map = CounterMap::new();
    for node in 10..33_010 {
        map.set_region(ReplicaId::new(node, 1), "fra").unwrap();
    }
    let mut victim = Victim::with_map(map);
    let asked = ask(PEER.0, Vec::new(), Some(delta_of(PEER.0)));
    let mut parts = 0;
    for _ in 0..10 {
        let (answer, outputs) = victim.ask(bytes(&asked));
        assert_eq!(refusal(&answer), None);
        parts += outputs.iter().filter(|output| is_digest_part(output)).count();
    }
    // The first part of four went out with the node's own question, when the peer connected.
    assert_eq!(parts, 3);
    let outputs = victim.hand(Input::Timer);
    assert!(!outputs.iter().any(is_digest_part));
    victim.now += Duration::from_secs(11);
    victim.hand(Input::Timer);
    let (_, outputs) = victim.ask(bytes(&asked));
    assert!(outputs.iter().any(is_digest_part), "parts that were given up are no longer in flight");
}

#[test]
fn malformed_digest_parts_are_blamed() {
    let parts = [
        digest_part((0, 0), 1, 3),
        digest_part((2, 2), 1, 3),
        digest_part((0, 1), 1, 3),
        digest_part((0, 2), 1, 0),
    ];
    for part in parts {
        let (answer, outputs) = Victim::new().ask(part);
        assert_eq!(refusal(&answer).as_deref(), Some("malformed"));
        assert!(blamed(&outputs));
    }
}

#[test]
fn unrecorded_requester_is_not_served() {
    let mut victim = Victim::new();
    let (answer, _) = victim.ask(bytes(&ask(PEER.0, Vec::new(), None)));
    assert_eq!(refusal(&answer).as_deref(), Some("not_recorded"));
    let pull = map(&[
        ("i", Value::Bytes(ReplicaId::new(PEER.0, 1).to_bytes().to_vec())),
        ("d", Value::Bytes(Vec::new())),
    ]);
    let (answer, _) = victim.ask(bytes(&map(&[("v", Value::Integer(1)), ("p", pull)])));
    assert_eq!(refusal(&answer).as_deref(), Some("not_recorded"));
}

#[test]
fn later_protocol_is_refused_without_blame() {
    let mut victim = Victim::new();
    let (answer, outputs) =
        victim.ask(bytes(&map(&[("v", Value::Integer(2)), ("a", Value::Text("changed".into()))])));
    assert_eq!(refusal(&answer).as_deref(), Some("unknown_version"));
    assert!(!blamed(&outputs), "a rolling upgrade is nobody's fault");
    let later_envelope = bytes(&map(&[("v", Value::Integer(2)), ("n", Value::Integer(1))]));
    let later_delta = bytes(&Value::Array(vec![
        Value::Integer(i128::from(counter_core::FORMAT) + 1),
        Value::Text("changed".into()),
    ]));
    for payload in [later_envelope, later_delta] {
        let (acceptance, outputs) = victim.gossip(payload);
        assert_eq!(acceptance, Acceptance::Ignore);
        assert!(!blamed(&outputs));
    }
}

#[test]
fn later_items_of_a_delta_are_ignored() {
    let mut payload = delta_of(PEER.0);
    payload[0] += 1;
    payload.extend(bytes(&Value::Text("more".into())));
    let mut victim = Victim::new();
    let (acceptance, _) = victim.gossip(payload);
    assert_eq!((acceptance, victim.replica.total("clicks")), (Acceptance::Accept, 1005));
}

#[test]
fn later_request_kind_is_refused_without_blame() {
    let mut victim = Victim::new();
    let (answer, outputs) =
        victim.ask(bytes(&map(&[("v", Value::Integer(1)), ("zz", Value::Integer(1))])));
    assert_eq!(refusal(&answer).as_deref(), Some("unknown_version"));
    assert!(!blamed(&outputs));
}

#[test]
fn bad_announcements_are_rejected() {
    let bad = [
        announcement(3, &[]),
        announcement(PEER.0, &[("g", Value::Text("x".repeat(33)))]),
        announcement(PEER.0, &[("g", Value::Text(String::new()))]),
        announcement(PEER.0, &[("r", Value::Text("x".repeat(65)))]),
        announcement(PEER.0, &[("g", Value::Text("a\u{7}b".into()))]),
        announcement(PEER.0, &[("t", Value::Integer(4_000_000_000))]),
        announcement(PEER.0, &[("s", Value::Integer(9))]),
    ];
    for said in bad {
        let mut victim = Victim::new();
        let payload =
            bytes(&map(&[("v", Value::Integer(1)), ("n", Value::Integer(1)), ("a", said)]));
        assert_eq!(victim.gossip(payload).0, Acceptance::Reject);
        assert_eq!(victim.machine.presence().len(), 1);
    }
}

#[test]
fn members_beyond_the_bound_are_not_listed() {
    let mut victim = Victim::new();
    for node in 10..6000_u64 {
        let said = announcement(node, &[]);
        let payload =
            bytes(&map(&[("v", Value::Integer(1)), ("n", Value::Integer(1)), ("a", said)]));
        victim.hand(Input::Gossip { token: 9, signer: NodeId(node), payload });
    }
    assert_eq!(victim.machine.members(&victim.replica, victim.now).len(), 4096);
    assert!(victim.refused(Refusal::MembersFull) > 1800);
}

#[test]
fn deltas_beyond_gaps_take_bounded_memory() {
    let mut other = Replica::new(ReplicaId::new(PEER.0, 1), "fra").unwrap();
    let handle = other.counter("clicks").unwrap();
    let mut victim = Victim::new();
    for at in 0..3000 {
        handle.add(1).unwrap();
        let after = other.version();
        other.flush();
        let payload = other.map().delta_of(other.id(), after).unwrap().encode();
        if at > 0 {
            assert_eq!(victim.gossip(payload).0, Acceptance::Accept);
        }
    }
    let stats = victim.machine.stats();
    assert_eq!((stats.gap_entries, stats.gaps_dropped), (1024, 2999 - 1024));
    assert!(stats.gap_bytes <= 4 * 1024 * 1024);
    assert_eq!(victim.replica.total("clicks"), 5);
}

#[test]
fn too_many_counters_are_refused_whole() {
    let mut victim = Victim::with_map(CounterMap::with_bounds(10, 100));
    let mut other = Replica::new(ReplicaId::new(PEER.0, 1), "fra").unwrap();
    // With its own counter it would hold one more than twice the number that may be made.
    for at in 0..20 {
        other.counter(&format!("counter-{at}")).unwrap().add(1).unwrap();
    }
    other.flush();
    let delta = other.map().delta_since(&VersionVector::new()).encode();
    victim.now = Duration::from_secs(1);
    victim.hand(Input::PeerDown { peer: PEER });
    assert!(victim.machine.readiness().is_ok());
    let (acceptance, outputs) = victim.gossip(delta);
    assert_eq!(acceptance, Acceptance::Ignore);
    assert!(
        outputs.iter().any(|output| matches!(
            output,
            Output::Notify(Notice::Alarm(Alarm::JoinRefused { .. }))
        ))
    );
    assert!(victim.machine.readiness().is_err());
    assert_eq!(victim.replica.map().counter_count(), 1);
}

#[test]
fn unwritten_own_cell_raises_an_alarm() {
    let mut victim = Victim::new();
    // Over anti-entropy a member may relay any writer. Only there can a second process with the
    // same identity show.
    let mut twin = Replica::new(ReplicaId::new(HONEST.0, 1), "ord").unwrap();
    for _ in 0..5 {
        twin.counter("clicks").unwrap().add(9).unwrap();
        twin.flush();
    }
    let request = victim.hand(Input::PeerUp { peer: NodeId(7) });
    let id = request
        .iter()
        .find_map(|output| if let Output::Request { id, .. } = output { Some(*id) } else { None })
        .unwrap();
    let state = map(&[
        ("d", Value::Bytes(Vec::new())),
        ("h", Value::Bytes(vec![0; 16])),
        ("y", Value::Bool(true)),
        ("x", Value::Bytes(twin.map().delta_since(&VersionVector::new()).encode())),
    ]);
    let payload = bytes(&map(&[("v", Value::Integer(1)), ("s", state)]));
    let outputs = victim.hand(Input::Response { peer: NodeId(7), id, payload });
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Notify(Notice::Alarm(Alarm::OwnAhead { .. }))))
    );
    assert_eq!(victim.replica.total("clicks"), 5);
}

/// The map of a replica that claims [`PEER`]'s first incarnation, and what that one wrote later.
fn claimed_and_late() -> (CounterMap, Vec<u8>) {
    let mut late = Replica::new(ReplicaId::new(PEER.0, 1), "fra").unwrap();
    let mut claimant = Replica::new(ReplicaId::new(3, 1), "sin").unwrap();
    claimant.join_delta(late.map().delta_since(&VersionVector::new())).unwrap();
    claimant.claim(late.id()).unwrap();
    late.add("clicks", 1000).unwrap();
    late.flush();
    (claimant.map().clone(), late.map().delta_since(&VersionVector::new()).encode())
}

#[test]
fn gossip_of_an_ended_incarnation_is_ignored() {
    let (claimed, late) = claimed_and_late();
    let mut victim = Victim::with_map(claimed);
    assert_eq!(victim.gossip(late).0, Acceptance::Accept);
    assert_eq!(victim.replica.total("clicks"), 5);
}

/// A member that knows of a claim takes the claimed incarnation's cells from other members only,
/// such as a later incarnation of the same node.
#[test]
fn answer_of_an_ended_incarnation_is_refused() {
    let (claimed, late) = claimed_and_late();
    for (incarnation, clicks) in [(1, 5), (2 << 32, 1005)] {
        let mut victim = Victim::with_map(claimed.clone());
        victim.hand(Input::PeerDown { peer: PEER });
        let request = victim.hand(Input::PeerUp { peer: PEER });
        let id = request
            .iter()
            .find_map(
                |output| if let Output::Request { id, .. } = output { Some(*id) } else { None },
            )
            .unwrap();
        let state = map(&[
            ("d", Value::Bytes(Vec::new())),
            ("h", Value::Bytes(vec![0; 16])),
            ("y", Value::Bool(true)),
            ("x", Value::Bytes(late.clone())),
        ]);
        let number = Value::Integer(incarnation);
        let payload = bytes(&map(&[("v", Value::Integer(1)), ("s", state), ("g", number)]));
        victim.hand(Input::Response { peer: PEER, id, payload });
        victim.now += Duration::from_secs(11);
        victim.hand(Input::Timer);
        assert_eq!(victim.replica.total("clicks"), clicks);
    }
}

#[test]
fn unasked_answer_is_counted_and_dropped() {
    let mut victim = Victim::new();
    victim.hand(Input::Response { peer: PEER, id: 999, payload: delta_of(PEER.0) });
    assert_eq!(victim.refused(Refusal::Unasked), 1);
}
