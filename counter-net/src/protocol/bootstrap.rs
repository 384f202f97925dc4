//! When this node has caught up, and when it may serve.

use std::collections::BTreeSet;

use counter_core::ReplicaId;

use super::members::Members;
use super::sources::Sources;

/// How many writers are remembered whose cells a bound refused.
const REFUSED_MAX: usize = 1024;

/// Synced: every peer known so far was pulled, and one of them was synced or nobody knows of a synced one; or this node knows that it is
/// alone. Ready: synced, or nobody was reached within the window.
#[derive(Debug, Default)]
pub(super) struct Bootstrap {
    peers_configured: bool,
    /// Addresses that may still lead to a peer.
    candidates: usize,
    /// The bootstrap window is over.
    window_over: bool,
    /// Never falls back.
    synced: bool,
    /// Readiness opened once; never falls back, but `refused` overrides it.
    opened: bool,
    /// Writers whose cells a bound of the state refused: what this node would show may be half of the truth.
    refused: BTreeSet<ReplicaId>,
}

impl Bootstrap {
    pub(super) fn new(peers_configured: bool) -> Self {
        Self { peers_configured, ..Self::default() }
    }

    pub(super) fn set_candidates(&mut self, candidates: usize) {
        self.candidates = candidates;
    }

    pub(super) fn close_window(&mut self) {
        self.window_over = true;
    }

    /// A bound refused cells of these writers, or no longer does. At most [`REFUSED_MAX`] are remembered; one is enough to close readiness.
    pub(super) fn set_refused(&mut self, writers: &[ReplicaId], refused: bool) {
        for writer in writers {
            if !refused {
                self.refused.remove(writer);
            } else if self.refused.len() < REFUSED_MAX {
                self.refused.insert(*writer);
            }
        }
    }

    pub(super) fn is_synced(&self) -> bool {
        self.synced
    }

    pub(super) fn is_ready(&self) -> bool {
        self.opened && self.refused.is_empty()
    }

    /// A connection is open, or nobody else is expected.
    pub(super) fn in_touch(&self, sources: &Sources, members: &Members) -> bool {
        !sources.is_empty() || !(self.peers_configured || self.candidates > 0 || members.has_others())
    }

    /// Looks again after anything that may have brought this node nearer.
    pub(super) fn look(&mut self, sources: &Sources, members: &Members) {
        self.synced |= if sources.is_empty() { self.is_alone() } else { self.has_caught_up(sources, members) };
        self.opened |= self.synced || (self.window_over && sources.none_answers());
    }

    fn is_alone(&self) -> bool {
        self.window_over && !self.peers_configured && self.candidates == 0
    }

    fn has_caught_up(&self, sources: &Sources, members: &Members) -> bool {
        let any_pulled = sources.iter().any(|(_, source)| source.pulled);
        let from_synced = sources.iter().any(|(_, source)| source.pulled && source.synced);
        // Where nobody reached so far is synced, others that are being dialled may be: they get the window.
        let none_known = !members.knows_synced() && (self.candidates == 0 || self.window_over);
        any_pulled && sources.all_pulled() && (from_synced || none_known)
    }
}
