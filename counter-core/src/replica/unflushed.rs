//! Changes that a replica wrote outside a flush.

use std::collections::BTreeSet;

use crate::lattice::keys::KeyId;
use crate::lattice::versions::Version;

/// Changes that were written at once, for the next flush to report: one span from before the first
/// of them, and the keys that they changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Unflushed {
    /// The own version before the first of them; None if there are none.
    after: Option<Version>,
    changed: BTreeSet<KeyId>,
}

impl Unflushed {
    pub(super) fn is_empty(&self) -> bool {
        self.after.is_none()
    }

    /// Notes a change of a key. `before` is the own version before it.
    pub(super) fn note(&mut self, before: Version, key: KeyId) {
        self.after.get_or_insert(before);
        self.changed.insert(key);
    }

    /// Takes all: the version before the first change, and the keys.
    pub(super) fn take(&mut self) -> (Option<Version>, BTreeSet<KeyId>) {
        let Self { after, changed } = std::mem::take(self);
        (after, changed)
    }

    /// The changed keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.changed.iter().copied()
    }

    /// Takes the new numbers of keys.
    pub(super) fn renumber(&mut self, new: impl Fn(KeyId) -> Option<KeyId>) {
        self.changed = self.changed.iter().copied().filter_map(new).collect();
    }
}
