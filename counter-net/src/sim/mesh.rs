//! Gossip as a mesh passes it on: to a few peers each, once.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::protocol::NodeId;

/// One message while copies of it are under way.
#[derive(Debug)]
pub(super) struct Message {
    pub signer: NodeId,
    pub payload: Rc<Vec<u8>>,
    /// Who has had it, by index.
    had: Vec<u64>,
    flying: usize,
}

#[derive(Debug)]
pub(super) struct Mesh {
    degree: usize,
    edges: BTreeMap<usize, BTreeSet<usize>>,
    messages: BTreeMap<u64, Message>,
    last: u64,
}

impl Mesh {
    pub(super) fn new(degree: usize) -> Self {
        Self { degree, edges: BTreeMap::new(), messages: BTreeMap::new(), last: 0 }
    }

    fn degree_of(&self, node: usize) -> usize {
        self.edges.get(&node).map_or(0, BTreeSet::len)
    }

    /// A connection opened: it joins the mesh while either end has fewer edges than wanted and
    /// neither has twice as many.
    pub(super) fn offer(&mut self, a: usize, b: usize) {
        let (at_a, at_b) = (self.degree_of(a), self.degree_of(b));
        if at_a.min(at_b) < self.degree && at_a.max(at_b) < 2 * self.degree {
            self.edges.entry(a).or_default().insert(b);
            self.edges.entry(b).or_default().insert(a);
        }
    }

    pub(super) fn remove(&mut self, a: usize, b: usize) {
        self.edges.entry(a).or_default().remove(&b);
        self.edges.entry(b).or_default().remove(&a);
    }

    pub(super) fn lacks(&self, node: usize) -> bool {
        self.degree_of(node) < self.degree
    }

    pub(super) fn of(&self, node: usize) -> Vec<usize> {
        self.edges.get(&node).map(|edges| edges.iter().copied().collect()).unwrap_or_default()
    }

    /// A new message, which its author has had.
    pub(super) fn publish(&mut self, author: usize, signer: NodeId, payload: Vec<u8>) -> u64 {
        self.last += 1;
        let mut message = Message { signer, payload: Rc::new(payload), had: Vec::new(), flying: 0 };
        message.mark(author);
        self.messages.insert(self.last, message);
        self.last
    }

    pub(super) fn get(&self, id: u64) -> Option<&Message> {
        self.messages.get(&id)
    }

    /// One more copy is under way.
    pub(super) fn launch(&mut self, id: u64) {
        if let Some(message) = self.messages.get_mut(&id) {
            message.flying += 1;
        }
    }

    /// A copy arrived or was lost on the way; the last one takes the message with it.
    pub(super) fn land(&mut self, id: u64) {
        if let Some(message) = self.messages.get_mut(&id) {
            message.flying -= 1;
            if message.flying == 0 {
                self.messages.remove(&id);
            }
        }
    }

    /// Marks that `node` has had the message; false where it had before.
    pub(super) fn first_at(&mut self, id: u64, node: usize) -> bool {
        self.messages.get_mut(&id).is_some_and(|message| message.mark(node))
    }

    /// The message has no copy under way and is forgotten.
    pub(super) fn sweep(&mut self, id: u64) {
        if self.messages.get(&id).is_some_and(|message| message.flying == 0) {
            self.messages.remove(&id);
        }
    }
}

impl Message {
    fn mark(&mut self, node: usize) -> bool {
        let (word, bit) = (node / 64, 1_u64 << (node % 64));
        if self.had.len() <= word {
            self.had.resize(word + 1, 0);
        }
        let first = self.had[word] & bit == 0;
        self.had[word] |= bit;
        first
    }
}
