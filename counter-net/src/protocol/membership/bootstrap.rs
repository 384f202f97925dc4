//! Decides when this node has caught up, and when it may serve.
//!
//! A peer that was found counts as a candidate until it has answered a pull or failed: while it is
//! queued, while it is dialled, and while it is connected and silent. A connection is no answer,
//! and silence is no absence. The driver knows the candidates that are not connected yet
//! ([`Search`]), and [`Peers`] holds the connected ones.
//!
//! A node is synced once it has pulled one synced peer to the end. If no peer is synced, as when a
//! whole cluster starts, the answers of unsynced peers count once nobody is left to wait for,
//! neither here nor at those peers. Otherwise two nodes that wait for a third would each believe
//! the other that there is nothing to wait for. A node that knows it is alone is synced too. A node
//! that is still unsure after `ready_within` serves what it has, and reports that it is not synced.
//! A new reason not to serve is a variant of [`NotReady`] and a case in [`Bootstrap::readiness`].

use std::collections::BTreeSet;
use std::fmt;

use counter_core::ReplicaId;

use super::machine::Membership;
use crate::protocol::interface::{NodeId, Search};
use crate::protocol::peers::Peers;

/// The most writers remembered whose cells a bound refused. One is enough to close readiness.
const REFUSED_MAX: usize = 1024;

/// Why a node does not serve yet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NotReady {
    /// It has not caught up: peers have not answered, or discovery has not.
    CatchingUp {
        /// Peers that were found or named and have neither answered nor failed.
        candidates: usize,
        /// Discovery has not answered yet.
        unsure: bool,
    },
    /// Every peer that answers has another cluster key.
    KeyRefused,
    /// A bound of the state refused cells of a peer, so this node would show incomplete totals.
    BoundReached,
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CatchingUp { candidates: 0, unsure: true } => {
                f.write_str("this node is catching up: discovery has not answered yet")
            }
            Self::CatchingUp { candidates: 0, .. } => {
                f.write_str("this node is catching up: no peer has answered with everything yet")
            }
            Self::CatchingUp { candidates: 1, .. } => {
                f.write_str("this node is catching up: one peer has not answered yet")
            }
            Self::CatchingUp { candidates, .. } => {
                write!(f, "this node is catching up: {candidates} peers have not answered yet")
            }
            Self::KeyRefused => f.write_str(
                "every peer that was found has another cluster key: compare the fingerprints in \
                 the logs",
            ),
            Self::BoundReached => f.write_str(
                "peers hold more counters than this node takes, which is twice counters_max: \
                 raise counters_max on every node",
            ),
        }
    }
}

impl std::error::Error for NotReady {}

/// How far this node is from serving. See the module's documentation for the rules.
#[derive(Debug, Default)]
pub(crate) struct Bootstrap {
    /// The operator named peers, so this node is never alone.
    peers_named: bool,
    search: Search,
    /// `ready_within` is over.
    patience_over: bool,
    /// Never becomes false again.
    synced: bool,
    /// This node was ready once. It stays true, but `refused` and the key override it.
    was_ready: bool,
    /// A peer answered once, so this node's key is the cluster's.
    was_answered: bool,
    /// Writers whose cells a bound of the state refused.
    refused: BTreeSet<ReplicaId>,
    /// Connected peers that have neither answered with everything nor failed.
    pulling: usize,
}

impl Bootstrap {
    pub(crate) fn new(peers_named: bool) -> Self {
        Self { peers_named, ..Self::default() }
    }

    pub(crate) fn set_search(&mut self, search: Search) {
        self.search = search;
    }

    pub(crate) fn end_patience(&mut self) {
        self.patience_over = true;
    }

    /// Notes whether a bound refuses cells of these writers.
    pub(crate) fn set_refused(&mut self, writers: &[ReplicaId], refused: bool) {
        for writer in writers {
            if !refused {
                self.refused.remove(writer);
            } else if self.refused.len() < REFUSED_MAX {
                self.refused.insert(*writer);
            }
        }
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.synced
    }

    /// `Ok` if this node may serve.
    ///
    /// # Errors
    /// The reason why it may not.
    pub(crate) fn readiness(&self) -> Result<(), NotReady> {
        if !self.refused.is_empty() {
            Err(NotReady::BoundReached)
        } else if self.search.key_refused && !self.was_answered {
            Err(NotReady::KeyRefused)
        } else if !self.was_ready {
            let candidates = self.search.candidates + self.pulling;
            Err(NotReady::CatchingUp { candidates, unsure: self.search.unsure })
        } else {
            Ok(())
        }
    }

    /// True if this node is not synced, and a peer other than this one has yet to answer. The peer
    /// must then not take this node's state to be complete.
    pub(crate) fn waits(&self, peers: &Peers, peer: NodeId) -> bool {
        !self.synced && (self.search.expects_peers() || peers.any_other_unresolved(peer))
    }

    /// True if a peer answers, or nobody else is expected.
    pub(crate) fn in_touch(&self, peers: &Peers, members: &Membership) -> bool {
        let expects = self.peers_named || self.search.expects_peers() || members.has_others();
        peers.any_digest() || (peers.is_empty() && !expects)
    }

    /// True while peers may turn up that are not connected yet.
    pub(crate) fn expects_peers(&self) -> bool {
        self.search.expects_peers()
    }

    /// Updates `synced` and readiness. Call it after every input, because any may change them.
    pub(crate) fn update(&mut self, peers: &Peers, members: &Membership) {
        self.was_answered |= peers.any_digest();
        self.pulling = peers.unresolved();
        self.synced |= peers.any_synced_pulled() || self.is_resolved(peers, members);
        // Wait for a pull that makes progress. Until it ends, totals are incomplete.
        self.was_ready |= self.synced || (self.patience_over && !peers.any_pulling());
    }

    /// True if nobody is left to wait for: this node is alone, or the answers of unsynced peers are
    /// all there is.
    fn is_resolved(&self, peers: &Peers, members: &Membership) -> bool {
        let waits = self.search.expects_peers()
            || self.pulling > 0
            || peers.any_waits()
            || members.knows_synced();
        let is_alone = peers.is_empty() && !self.peers_named;
        !waits && (is_alone || peers.any_pulled())
    }
}
