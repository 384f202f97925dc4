//! Messages of hostile peers: in the protocol's own form, with contents that no honest node sends.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::time::Duration;

use counter_core::{Delta, Replica, ReplicaId, Version, VersionVector};
use counter_net::protocol::{Input, NodeId, Output, ProtocolConfig, Replicator};
use serde_cbor::Value;

fn map(entries: &[(&str, Value)]) -> Value {
    Value::Map(
        entries
            .iter()
            .map(|(key, value)| (Value::Text((*key).to_owned()), value.clone()))
            .collect(),
    )
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_cbor::to_vec(value).expect("a value")
}

/// A gossip payload with 1,000,000 clicks of `writer`.
pub(crate) fn gossip_of(writer: ReplicaId) -> Vec<u8> {
    let mut replica = Replica::new(writer, "ord").expect("a replica");
    let mut machine = Replicator::new(ProtocolConfig::default(), &replica, 1, Duration::ZERO);
    machine.handle(&mut replica, Input::PeerUp { peer: NodeId(1) }, Duration::ZERO);
    replica.counter("clicks").expect("a counter").add(1_000_000).expect("added");
    machine.handle(&mut replica, Input::LocalChange, Duration::from_secs(1));
    let publish =
        |output| if let Output::Publish { payload } = output { Some(payload) } else { None };
    // An announcement may come first. The payload with the cells is the longest.
    std::iter::from_fn(|| machine.poll_output())
        .filter_map(publish)
        .max_by_key(Vec::len)
        .expect("something is published")
}

/// A gossip payload with everything that a replica wrote.
pub(crate) fn gossip_all(replica: &Replica) -> Vec<u8> {
    gossip_since(replica, 0)
}

/// A gossip payload with everything that a replica wrote after a version. It lies beyond a gap for
/// a node that lacks the versions before.
pub(crate) fn gossip_since(replica: &Replica, after: Version) -> Vec<u8> {
    replica
        .map()
        .delta_of(replica.id(), after)
        .as_ref()
        .map(Delta::encode)
        .expect("something was written")
}

/// An ask of `node` whose digest names this many replicas.
pub(crate) fn ask_with_digest(node: u64, replicas: u64) -> Vec<u8> {
    let own = ReplicaId::new(node, 1);
    let have: Vec<u8> = (1..=replicas)
        .flat_map(|node| ReplicaId::new(node, 1).to_bytes().into_iter().chain([1]))
        .collect();
    let birth = Replica::new(own, "fra")
        .expect("a replica")
        .map()
        .delta_since(&VersionVector::new())
        .encode();
    let announcement = map(&[
        ("i", Value::Bytes(own.to_bytes().to_vec())),
        ("g", Value::Text("fra".into())),
        ("u", Value::Integer(0)),
        ("r", Value::Text("1".into())),
        ("n", Value::Integer(1)),
        ("t", Value::Integer(90_000)),
    ]);
    let ask = map(&[
        ("a", announcement),
        ("d", Value::Bytes(have)),
        ("m", Value::Bytes(vec![0; 16])),
        ("w", Value::Bool(true)),
        ("b", Value::Bytes(birth)),
    ]);
    bytes(&map(&[("v", Value::Integer(1)), ("a", ask)]))
}

/// A pull of everything. `node` must have asked before.
pub(crate) fn pull_all(node: u64) -> Vec<u8> {
    let pull = map(&[
        ("i", Value::Bytes(ReplicaId::new(node, 1).to_bytes().to_vec())),
        ("d", Value::Bytes(Vec::new())),
    ]);
    bytes(&map(&[("v", Value::Integer(1)), ("p", pull)]))
}

/// A request of a kind that no release knows. It is refused without blame.
pub(crate) fn unknown_kind() -> Vec<u8> {
    bytes(&map(&[("v", Value::Integer(1)), ("zz", Value::Integer(1))]))
}

/// A compare with the versions of an answer to an ask, and with another state hash.
pub(crate) fn compare_that_diverges(answer: &[u8]) -> Vec<u8> {
    let seen = vector_of(&digest_in(answer).expect("an answer to an ask has a digest"));
    let hash = |number: u128| Value::Bytes(number.to_be_bytes().to_vec());
    let compare = map(&[("s", hash(seen.digest_hash())), ("h", hash(0)), ("a", hash(0))]);
    bytes(&map(&[("v", Value::Integer(1)), ("c", compare)]))
}

fn digest_in(answer: &[u8]) -> Option<Vec<u8>> {
    let text = |key: &str| Value::Text(key.to_owned());
    let Value::Map(answer) = serde_cbor::from_slice(answer).ok()? else { return None };
    let Value::Map(state) = answer.get(&text("s"))? else { return None };
    let Value::Bytes(digest) = state.get(&text("d"))? else { return None };
    Some(digest.clone())
}

/// Reads a digest: for each replica 16 bytes of id and a LEB128 number.
fn vector_of(mut digest: &[u8]) -> VersionVector {
    let mut vector = VersionVector::new();
    while let Some((id, rest)) = digest.split_first_chunk::<16>() {
        let length = rest.iter().position(|byte| *byte < 128).expect("a number ends") + 1;
        let version =
            rest[..length].iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 127));
        vector.raise(ReplicaId::from_bytes(*id), version);
        digest = &rest[length..];
    }
    vector
}
