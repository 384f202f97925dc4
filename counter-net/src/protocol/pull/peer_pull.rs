//! The pulls in flight: which writers are pulled from which peer, and the pages of each writer
//! until its last.
//!
//! Work is divided by writer, never by version interval, and a writer is pulled from one peer at a
//! time. If that peer is silent for two seconds, its writers may be pulled from another peer beside
//! it, and two seconds later from a third: hung peers must not hold up what others have. A pull
//! takes the quietest writers first, and leaves the busy ones to other peers or to the next pull.

use std::collections::BTreeMap;
use std::time::Duration;

use counter_core::{Delta, ReplicaId, Staging, Version, VersionVector};
use serde_bytes::ByteBuf;

use crate::protocol::interface::{NodeId, Refusal};
use crate::protocol::wire::PullPage;
use crate::protocol::wire::{Id, pack_ids, pack_vector};

/// A pull takes writers until they lack this many versions together. 8,192, about a page or two.
const VERSIONS_A_PULL: Version = 8192;
/// How long all pulls of a writer may be silent before one more peer is asked for it. Several round
/// trips over a long link, and well below the time that a leave may take.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// One pull from one peer.
#[derive(Debug)]
pub(super) struct PeerPull {
    /// The writers, ascending. `None` means all of them, for a repair.
    writers: Option<Vec<ReplicaId>>,
    /// The version of each writer that the peer was heard to hold when the pull began. The pull
    /// must bring these.
    promised: VersionVector,
    /// The version of each writer that this node had at the start. A writer's version is raised
    /// with its last page only, because a span begins where its first page did.
    have: VersionVector,
    cursor: Option<Vec<u8>>,
    /// When the pull began, or when its last page came.
    heard: Duration,
    staging: Staging,
    /// True for a repair, which compares cell by cell.
    is_repair: bool,
}

/// The cells that a page completed.
#[derive(Debug)]
pub(crate) struct PulledCells {
    /// The complete cells, which may be joined.
    pub ready: Delta,
    /// True if it was the last page.
    pub is_last: bool,
    /// True if the cells are joined one by one, to repair a divergence.
    pub is_repair: bool,
}

impl PeerPull {
    /// The request for the next page.
    pub(super) fn request(&self, own: ReplicaId) -> PullPage {
        PullPage {
            replica: Id(own),
            have: pack_vector(&self.have),
            only: self.writers.as_deref().map(pack_ids),
            cursor: self.cursor.clone().map(ByteBuf::from),
        }
    }

    /// Takes a page.
    pub(super) fn page(
        &mut self,
        delta: Delta,
        next: Option<Vec<u8>>,
        now: Duration,
    ) -> Result<PulledCells, Refusal> {
        self.heard = now;
        // A page without cells that promises more, or a cursor that stands still, would continue
        // for ever.
        if next.is_some() && (delta.is_empty() || next == self.cursor) {
            return Err(Refusal::BadPage);
        }
        let is_last = next.is_none();
        self.cursor = next;
        // The writer has more cells than this node takes of one. That is a bound of this node, and
        // nobody's fault.
        let ready = self.staging.push(delta).map_err(|_| Refusal::JoinRefused)?;
        ready.spans().for_each(|span| self.have.raise(span.replica, span.upto));
        Ok(PulledCells { ready, is_last, is_repair: self.is_repair })
    }

    pub(super) fn staged_cells(&self) -> usize {
        self.staging.cell_count()
    }

    /// The versions that the peer was heard to hold when the pull began.
    pub(super) fn promised(&self) -> &VersionVector {
        &self.promised
    }
}

/// All pulls in flight, at most one a peer.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    active: BTreeMap<NodeId, PeerPull>,
    pulls_max: usize,
    staging_cells_max: usize,
    writers_max: usize,
}

impl Pulls {
    /// At most `pulls_max` pulls, each of at most `writers_max` writers and with at most
    /// `staging_cells_max` cells staged.
    pub(super) fn new(pulls_max: usize, staging_cells_max: usize, writers_max: usize) -> Self {
        Self {
            active: BTreeMap::new(),
            pulls_max,
            staging_cells_max,
            writers_max: writers_max.max(1),
        }
    }

    /// True if a pull from `peer` may begin.
    pub(super) fn has_room(&self, peer: NodeId) -> bool {
        self.active.len() < self.pulls_max && !self.active.contains_key(&peer)
    }

    /// True if `writer` is being pulled, and need not be pulled from another peer too.
    pub(super) fn is_pulling(&self, writer: ReplicaId, now: Duration) -> bool {
        let brings_it = |pull: &PeerPull| {
            now < pull.heard + SILENCE_MAX
                && pull.writers.as_ref().is_some_and(|all| all.binary_search(&writer).is_ok())
        };
        self.active.values().any(brings_it)
    }

    /// Begins a pull of some of the `wanted` writers that are not being pulled yet. `wanted` has
    /// the writer with the fewest missing versions first. `None` if there are none.
    pub(super) fn begin(
        &mut self,
        peer: NodeId,
        wanted: &[(Version, ReplicaId)],
        seen: &VersionVector,
        now: Duration,
    ) -> Option<&PeerPull> {
        let (mut writers, mut versions) = (Vec::new(), 0_u64);
        let mut promised = VersionVector::new();
        for (behind, writer) in wanted.iter().filter(|(_, writer)| !self.is_pulling(*writer, now)) {
            versions = versions.saturating_add(*behind);
            if (versions > VERSIONS_A_PULL && !writers.is_empty())
                || writers.len() == self.writers_max
            {
                break;
            }
            writers.push(*writer);
            promised.raise(*writer, seen.get(*writer).saturating_add(*behind));
        }
        if writers.is_empty() {
            return None;
        }
        writers.sort_unstable();
        let have = writers.iter().map(|writer| (*writer, seen.get(*writer))).collect();
        Some(self.insert(peer, (Some(writers), promised), have, now))
    }

    /// Begins a full pull that compares cell by cell.
    pub(super) fn begin_repair(&mut self, peer: NodeId, now: Duration) -> &PeerPull {
        self.insert(peer, (None, VersionVector::new()), VersionVector::new(), now)
    }

    fn insert(
        &mut self,
        peer: NodeId,
        (writers, promised): (Option<Vec<ReplicaId>>, VersionVector),
        have: VersionVector,
        now: Duration,
    ) -> &PeerPull {
        let is_repair = writers.is_none();
        let pull = PeerPull {
            writers,
            promised,
            have,
            cursor: None,
            heard: now,
            staging: Staging::new(self.staging_cells_max),
            is_repair,
        };
        self.active.insert(peer, pull);
        &self.active[&peer]
    }

    pub(super) fn get(&self, peer: NodeId) -> Option<&PeerPull> {
        self.active.get(&peer)
    }

    pub(super) fn get_mut(&mut self, peer: NodeId) -> Option<&mut PeerPull> {
        self.active.get_mut(&peer)
    }

    /// What the pulls in flight have brought so far was dropped, so their end says nothing about
    /// what their peers can bring.
    pub(super) fn forget_promised(&mut self) {
        self.active.values_mut().for_each(|pull| pull.promised = VersionVector::new());
    }

    /// Ends the pull. Its writers may be pulled from any peer again, and its staged cells are
    /// dropped.
    pub(super) fn end(&mut self, peer: NodeId) -> Option<PeerPull> {
        self.active.remove(&peer)
    }

    pub(super) fn len(&self) -> usize {
        self.active.len()
    }

    pub(super) fn staged_cells(&self) -> usize {
        self.active.values().map(PeerPull::staged_cells).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_peers_share_their_writers_with_one_more_at_a_time() {
        let mut pulls = Pulls::new(8, 100, 100);
        let (writer, seen) = (ReplicaId::new(1, 1), VersionVector::new());
        let wanted = [(1, writer)];
        let mut begins = |peer, now| pulls.begin(NodeId(peer), &wanted, &seen, now).is_some();
        assert!(begins(1, Duration::ZERO));
        assert!(!begins(2, SILENCE_MAX - Duration::from_millis(1)));
        assert!(begins(2, SILENCE_MAX));
        assert!(!begins(3, SILENCE_MAX * 2 - Duration::from_millis(1)));
        assert!(begins(3, SILENCE_MAX * 2));
    }

    #[test]
    fn page_keeps_the_writers_with_their_peer() {
        let mut pulls = Pulls::new(8, 100, 100);
        let (writer, seen) = (ReplicaId::new(1, 1), VersionVector::new());
        let _ = pulls.begin(NodeId(1), &[(1, writer)], &seen, Duration::ZERO);
        let pull = pulls.get_mut(NodeId(1)).expect("it began");
        assert!(pull.page(Delta::default(), None, SILENCE_MAX).is_ok());
        assert!(pulls.is_pulling(writer, SILENCE_MAX));
        assert!(!pulls.is_pulling(writer, SILENCE_MAX * 2));
    }
}
