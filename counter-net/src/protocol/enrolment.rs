//! What each of those who must agree has shown to hold, before a life that ended is taken over.
//!
//! A digest that a replica sent itself is a promise: what it names, that replica holds and keeps. They are kept only while this node waits for
//! others, and only of the replicas that it waits for.

use std::collections::BTreeMap;

use counter_core::{ReplicaId, VersionVector};

/// The digests of enrolled replicas, as they sent them.
#[derive(Debug, Default)]
pub(super) struct Enrolment {
    /// Whether they are wanted now.
    pub(super) wanted: bool,
    pub(super) shown: BTreeMap<ReplicaId, VersionVector>,
}

impl Enrolment {
    pub(super) fn want(&mut self, wanted: bool) {
        self.wanted = wanted;
        if !wanted {
            self.shown.clear();
        }
    }

    /// A new life of this node has shown nothing and been shown nothing.
    pub(super) fn forget(&mut self) {
        self.shown.clear();
    }
}
