//! Who wants a connection to whom, which are open, and which ways are cut.

use std::collections::{BTreeMap, BTreeSet};

/// A pair of nodes, the lower first.
pub(super) fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

#[derive(Debug, Default)]
pub(super) struct Links {
    wanted: BTreeSet<(usize, usize)>,
    /// Open connections, each with the number it was opened under.
    open: BTreeMap<(usize, usize), u64>,
    /// Ways, from and to, on which nothing arrives.
    cut: BTreeSet<(usize, usize)>,
    /// Open connections by node.
    peers: BTreeMap<usize, BTreeSet<usize>>,
    last_epoch: u64,
}

impl Links {
    pub(super) fn want(&mut self, a: usize, b: usize) -> bool {
        a != b && self.wanted.insert(pair(a, b))
    }

    pub(super) fn wanted(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.wanted.iter().copied()
    }

    pub(super) fn wanted_by(&self, node: usize) -> Vec<usize> {
        self.wanted
            .iter()
            .filter(|(a, b)| *a == node || *b == node)
            .map(|(a, b)| if *a == node { *b } else { *a })
            .collect()
    }

    pub(super) fn is_wanted(&self, a: usize, b: usize) -> bool {
        self.wanted.contains(&pair(a, b))
    }

    /// Opens a connection; false where it is open already.
    pub(super) fn open(&mut self, a: usize, b: usize) -> bool {
        if self.open.contains_key(&pair(a, b)) {
            return false;
        }
        self.last_epoch += 1;
        self.open.insert(pair(a, b), self.last_epoch);
        self.peers.entry(a).or_default().insert(b);
        self.peers.entry(b).or_default().insert(a);
        true
    }

    pub(super) fn close(&mut self, a: usize, b: usize) {
        self.open.remove(&pair(a, b));
        self.peers.entry(a).or_default().remove(&b);
        self.peers.entry(b).or_default().remove(&a);
    }

    /// The number of the open connection.
    pub(super) fn epoch(&self, a: usize, b: usize) -> Option<u64> {
        self.open.get(&pair(a, b)).copied()
    }

    pub(super) fn peers(&self, node: usize) -> Vec<usize> {
        self.peers.get(&node).map(|peers| peers.iter().copied().collect()).unwrap_or_default()
    }

    pub(super) fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(super) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut.contains(&(from, to))
    }

    /// Nothing is cut between the two, either way.
    pub(super) fn is_whole(&self, a: usize, b: usize) -> bool {
        !self.is_cut(a, b) && !self.is_cut(b, a)
    }
}
