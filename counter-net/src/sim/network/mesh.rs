//! The gossip mesh: each node passes a message on to a few peers, once.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::protocol::NodeId;

/// A message of which copies are under way.
#[derive(Debug)]
pub(in crate::sim) struct Message {
    pub signer: NodeId,
    pub payload: Rc<Vec<u8>>,
    /// The nodes that have had it, as a bitmap by index.
    reached: Vec<u64>,
    /// Copies under way.
    in_flight: usize,
}

/// The edges over which gossip travels, and every message of which a copy is under way. A message
/// is forgotten with its last copy.
#[derive(Debug)]
pub(in crate::sim) struct Mesh {
    degree: usize,
    edges: BTreeMap<usize, BTreeSet<usize>>,
    messages: BTreeMap<u64, Message>,
    last: u64,
}

impl Mesh {
    pub(in crate::sim) fn new(degree: usize) -> Self {
        Self { degree, edges: BTreeMap::new(), messages: BTreeMap::new(), last: 0 }
    }

    fn degree_of(&self, node: usize) -> usize {
        self.edges.get(&node).map_or(0, BTreeSet::len)
    }

    /// Offers an open connection to the mesh. It becomes an edge if either end has fewer edges than
    /// wanted and neither has twice as many.
    pub(in crate::sim) fn offer(&mut self, a: usize, b: usize) {
        let (at_a, at_b) = (self.degree_of(a), self.degree_of(b));
        if at_a.min(at_b) < self.degree && at_a.max(at_b) < 2 * self.degree {
            self.edges.entry(a).or_default().insert(b);
            self.edges.entry(b).or_default().insert(a);
        }
    }

    pub(in crate::sim) fn remove(&mut self, a: usize, b: usize) {
        self.edges.entry(a).or_default().remove(&b);
        self.edges.entry(b).or_default().remove(&a);
    }

    /// True if a node has fewer edges than wanted.
    pub(in crate::sim) fn lacks(&self, node: usize) -> bool {
        self.degree_of(node) < self.degree
    }

    /// The peers of a node in the mesh.
    pub(in crate::sim) fn of(&self, node: usize) -> Vec<usize> {
        self.edges.get(&node).map(|edges| edges.iter().copied().collect()).unwrap_or_default()
    }

    /// Takes in a new message, which its author has had. Returns its id.
    pub(in crate::sim) fn publish(
        &mut self,
        author: usize,
        signer: NodeId,
        payload: Vec<u8>,
    ) -> u64 {
        self.last += 1;
        let mut message =
            Message { signer, payload: Rc::new(payload), reached: Vec::new(), in_flight: 0 };
        message.reaches(author);
        self.messages.insert(self.last, message);
        self.last
    }

    pub(in crate::sim) fn get(&self, id: u64) -> Option<&Message> {
        self.messages.get(&id)
    }

    /// Counts one more copy that is under way.
    pub(in crate::sim) fn launch(&mut self, id: u64) {
        if let Some(message) = self.messages.get_mut(&id) {
            message.in_flight += 1;
        }
    }

    /// Counts off a copy that arrived or was lost. The message is forgotten with the last one.
    pub(in crate::sim) fn land(&mut self, id: u64) {
        if let Some(message) = self.messages.get_mut(&id) {
            message.in_flight -= 1;
            if message.in_flight == 0 {
                self.messages.remove(&id);
            }
        }
    }

    /// True if a node has had the message.
    pub(in crate::sim) fn has_had(&self, id: u64, node: usize) -> bool {
        self.messages.get(&id).is_some_and(|message| message.has_reached(node))
    }

    /// Notes that a node has had the message. False if it had it before.
    pub(in crate::sim) fn first_at(&mut self, id: u64, node: usize) -> bool {
        self.messages.get_mut(&id).is_some_and(|message| message.reaches(node))
    }

    /// Forgets a message of which no copy is under way.
    pub(in crate::sim) fn sweep(&mut self, id: u64) {
        if self.messages.get(&id).is_some_and(|message| message.in_flight == 0) {
            self.messages.remove(&id);
        }
    }
}

impl Message {
    fn has_reached(&self, node: usize) -> bool {
        self.reached.get(node / 64).is_some_and(|word| word >> (node % 64) & 1 == 1)
    }

    /// Notes that it has reached a node. False if it had before.
    fn reaches(&mut self, node: usize) -> bool {
        let (word, bit) = (node / 64, 1_u64 << (node % 64));
        if self.reached.len() <= word {
            self.reached.resize(word + 1, 0);
        }
        let first = self.reached[word] & bit == 0;
        self.reached[word] |= bit;
        first
    }
}
