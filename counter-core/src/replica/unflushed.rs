//! Changes that a replica wrote at once, outside a flush.

use std::collections::BTreeSet;

use crate::lattice::keys::KeyId;
use crate::lattice::versions::Version;

/// Changes that were written at once. The next flush reports them: a span that starts before the
/// first change, and the changed keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Unflushed {
    /// The replica's version before the first change; None if there are no changes.
    after: Option<Version>,
    changed: BTreeSet<KeyId>,
}

impl Unflushed {
    pub(super) fn is_empty(&self) -> bool {
        self.after.is_none()
    }

    /// Notes a change of a key. `before` is the replica's version before it.
    pub(super) fn note(&mut self, before: Version, key: KeyId) {
        self.after.get_or_insert(before);
        self.changed.insert(key);
    }

    /// Takes all changes: the version before the first one, and the keys.
    pub(super) fn take(&mut self) -> (Option<Version>, BTreeSet<KeyId>) {
        let Self { after, changed } = std::mem::take(self);
        (after, changed)
    }

    /// The changed keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.changed.iter().copied()
    }

    /// Renumbers the keys.
    pub(super) fn renumber(&mut self, new: impl Fn(KeyId) -> Option<KeyId>) {
        self.changed = self.changed.iter().copied().filter_map(new).collect();
    }
}
