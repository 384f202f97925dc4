//! Connections: which ones the nodes want, which are open, and which directions are cut.

use std::collections::{BTreeMap, BTreeSet};

/// A pair of nodes, the lower index first.
pub(in crate::sim) fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

/// All connections, by the indices of their two nodes. A wanted one comes back after it broke. A
/// cut concerns one way only, and says nothing of whether the connection is open: both ends notice
/// later.
#[derive(Debug, Default)]
pub(in crate::sim) struct Links {
    wanted: BTreeSet<(usize, usize)>,
    /// Wanted connections by node.
    wanted_by: BTreeMap<usize, BTreeSet<usize>>,
    /// Open connections, each with its epoch: the number under which it was opened.
    open: BTreeMap<(usize, usize), u64>,
    /// Ways, from and to, on which nothing arrives.
    cut: BTreeSet<(usize, usize)>,
    /// Open connections by node.
    peers: BTreeMap<usize, BTreeSet<usize>>,
    last_epoch: u64,
}

impl Links {
    /// Wants a connection from now on. False if it was wanted before.
    pub(in crate::sim) fn want(&mut self, a: usize, b: usize) -> bool {
        let is_news = a != b && self.wanted.insert(pair(a, b));
        if is_news {
            self.wanted_by.entry(a).or_default().insert(b);
            self.wanted_by.entry(b).or_default().insert(a);
        }
        is_news
    }

    pub(in crate::sim) fn wanted(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.wanted.iter().copied()
    }

    pub(in crate::sim) fn wanted_by(&self, node: usize) -> Vec<usize> {
        self.wanted_by.get(&node).map(|peers| peers.iter().copied().collect()).unwrap_or_default()
    }

    pub(in crate::sim) fn is_wanted(&self, a: usize, b: usize) -> bool {
        self.wanted.contains(&pair(a, b))
    }

    /// Opens a connection. False if it is open already.
    pub(in crate::sim) fn open(&mut self, a: usize, b: usize) -> bool {
        if self.open.contains_key(&pair(a, b)) {
            return false;
        }
        self.last_epoch += 1;
        self.open.insert(pair(a, b), self.last_epoch);
        self.peers.entry(a).or_default().insert(b);
        self.peers.entry(b).or_default().insert(a);
        true
    }

    pub(in crate::sim) fn close(&mut self, a: usize, b: usize) {
        self.open.remove(&pair(a, b));
        self.peers.entry(a).or_default().remove(&b);
        self.peers.entry(b).or_default().remove(&a);
    }

    /// The epoch of a connection that is open.
    pub(in crate::sim) fn epoch(&self, a: usize, b: usize) -> Option<u64> {
        self.open.get(&pair(a, b)).copied()
    }

    pub(in crate::sim) fn peers(&self, node: usize) -> Vec<usize> {
        self.peers.get(&node).map(|peers| peers.iter().copied().collect()).unwrap_or_default()
    }

    pub(in crate::sim) fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    pub(in crate::sim) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(in crate::sim) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut.contains(&(from, to))
    }

    /// True if nothing is cut between two nodes, in either direction.
    pub(in crate::sim) fn is_whole(&self, a: usize, b: usize) -> bool {
        !self.is_cut(a, b) && !self.is_cut(b, a)
    }
}
