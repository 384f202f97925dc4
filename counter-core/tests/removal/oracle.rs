//! Every single add, reset and removal, and the values that follow from them.

use std::collections::BTreeSet;

use counter_core::{ReplicaId, Version, VersionVector};

use crate::node::{Key, Node};

pub(crate) struct Add {
    pub(crate) key: Key,
    pub(crate) writer: ReplicaId,
    pub(crate) version: Version,
    pub(crate) amount: i128,
}

pub(crate) struct Reset {
    /// The keys at which there was something to reset.
    pub(crate) keys: Vec<Key>,
    pub(crate) by: ReplicaId,
    pub(crate) version: Version,
    pub(crate) saw: VersionVector,
}

/// A writer took adds off its own cell: resets had cleared them, or their counter had expired.
pub(crate) struct Shed {
    pub(crate) writer: ReplicaId,
    pub(crate) version: Version,
    pub(crate) adds: BTreeSet<usize>,
}

pub(crate) struct WindowAdd {
    pub(crate) writer: ReplicaId,
    pub(crate) version: Version,
    pub(crate) at_ms: u64,
    pub(crate) amount: i128,
}

#[derive(Default)]
pub(crate) struct Oracle {
    pub(crate) window_adds: Vec<WindowAdd>,
    pub(crate) adds: Vec<Add>,
    pub(crate) resets: Vec<Reset>,
    pub(crate) sheds: Vec<Shed>,
}

impl Oracle {
    pub(crate) fn is_reset(&self, add: &Add, seen: &impl Fn(ReplicaId) -> Version) -> bool {
        self.resets.iter().any(|reset| {
            reset.keys.contains(&add.key)
                && seen(reset.by) >= reset.version
                && reset.saw.get(add.writer) >= add.version
        })
    }

    pub(crate) fn value(&self, key: Key, node: &Node) -> i128 {
        let seen = |writer| node.seen(writer);
        let counts = |(at, add): &(usize, &Add)| {
            add.key == key
                && seen(add.writer) >= add.version
                && !self.is_reset(add, &seen)
                && !self.sheds.iter().any(|shed| {
                    shed.writer == add.writer
                        && seen(shed.writer) >= shed.version
                        && shed.adds.contains(at)
                })
        };
        self.adds.iter().enumerate().filter(counts).map(|(_, add)| add.amount).sum()
    }

    /// The adds to the window that a node holds and that count at this time.
    pub(crate) fn window(&self, node: &Node, now_ms: u64) -> i128 {
        let first = (now_ms / 6_000 - 9) * 6_000;
        let counts = |add: &&WindowAdd| add.at_ms >= first && node.seen(add.writer) >= add.version;
        self.window_adds.iter().filter(counts).map(|add| add.amount).sum()
    }

    /// The adds that count in the end, when everything was heard.
    pub(crate) fn truth(&self, key: Key) -> i128 {
        let all = |_| Version::MAX;
        self.adds
            .iter()
            .enumerate()
            .filter(|(_, add)| add.key == key && !self.is_reset(add, &all))
            .filter(|(at, _)| !self.sheds.iter().any(|shed| shed.adds.contains(at)))
            .map(|(_, add)| add.amount)
            .sum()
    }
}
