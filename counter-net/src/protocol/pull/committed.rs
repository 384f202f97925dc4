//! What of the held state is on the disk: a digest promises no more than that.
//!
//! A node with a directory shows what it holds, so that others may pull it, and how much of that is
//! not committed yet. Only the committed part counts where others agree: after a crash the node is
//! back at it. Invariant: the committed vector never names what the disk does not hold.

use counter_core::{ReplicaId, Version, VersionVector};

/// What is committed; nothing is told apart where there is no store.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    on_disk: Option<VersionVector>,
}

impl Committed {
    /// There is a store, which holds this.
    pub(crate) fn follow(&mut self, on_disk: VersionVector) {
        self.on_disk = Some(on_disk);
    }

    /// A commit has written a writer up to a version.
    pub(crate) fn note(&mut self, writer: ReplicaId, upto: Version) {
        if let Some(on_disk) = &mut self.on_disk {
            on_disk.raise(writer, upto);
        }
    }

    /// Keeps some writers only: digests name no others any more.
    pub(crate) fn retain(&mut self, keep: impl FnMut(ReplicaId) -> bool) {
        if let Some(on_disk) = &mut self.on_disk {
            on_disk.retain(keep);
        }
    }

    /// What this node itself promises to keep; None where that is all that it holds.
    pub(crate) fn promised(&self) -> Option<&VersionVector> {
        self.on_disk.as_ref()
    }

    /// How many of the versions in `held` are not committed, by writer. O(writers log writers).
    pub(crate) fn behind(&self, held: &VersionVector) -> VersionVector {
        let Some(on_disk) = &self.on_disk else { return VersionVector::new() };
        held.iter()
            .map(|(writer, version)| (writer, version.saturating_sub(on_disk.get(writer))))
            .collect()
    }
}

/// The part of a digest that its sender has committed, where it is `behind` by so many versions.
pub(crate) fn promised(have: &VersionVector, behind: &VersionVector) -> VersionVector {
    have.iter()
        .map(|(writer, version)| (writer, version.saturating_sub(behind.get(writer))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_on_the_disk_is_promised() {
        let vector = |entries: &[(u64, u64)]| {
            entries.iter().map(|(node, version)| (ReplicaId::new(*node, 1), *version)).collect()
        };
        let held: VersionVector = vector(&[(1, 5), (2, 3), (3, 1)]);
        let mut committed = Committed::default();
        assert!(committed.behind(&held).is_empty(), "without a store all is promised");
        committed.follow(vector(&[(1, 2)]));
        committed.note(ReplicaId::new(2, 1), 3);
        let behind = committed.behind(&held);
        assert_eq!(behind, vector(&[(1, 3), (3, 1)]));
        assert_eq!(promised(&held, &behind), vector(&[(1, 2), (2, 3)]));
    }
}
