//! The adds that one process has shown so far, by key.

use counter_core::{CounterMap, KeyId, ReplicaId, Version};

/// The adds of one key, as bits by place.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Mask {
    /// Adds that the value counts.
    pub shown: u32,
    /// Adds that a reset took off the value.
    pub cleared: u32,
    /// All adds that were ever shown or cleared.
    pub known: u32,
    /// Adds that the value counted last, even if a process that had not caught up owes less.
    pub last: u32,
}

/// The account of a process: all that it has shown, by key.
#[derive(Clone, Debug, Default)]
pub(in crate::sim::oracle) struct Seen(Vec<Mask>);

impl Seen {
    pub(super) fn get(&self, key: usize) -> Mask {
        self.0.get(key).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, key: usize, mask: Mask) {
        if self.0.len() <= key {
            self.0.resize(key + 1, Mask::default());
        }
        self.0[key] = mask;
    }
}

/// One process of a node, as the ledger has watched it.
///
/// A process that has not caught up yet may take in a reset before the adds that the reset saw. So
/// until then it must show only what its directory had shown. Adds that it learns on the way may
/// vanish again. If its directory holds a state, it shows that state and its own adds, and nothing
/// else.
#[derive(Debug)]
pub(super) struct View {
    pub writer: ReplicaId,
    /// True if it has written its last statement. It need not show anything that it hears after
    /// that.
    pub has_left: bool,
    /// Its version at the last look.
    pub version: Version,
    /// The fingerprint of the state at the last look.
    pub fingerprint: u64,
    seen: Seen,
    from_disk: Seen,
    /// Whether it started from a state. Then it takes in nothing until it has caught up.
    has_state: bool,
    is_synced: bool,
    /// Where each key of the ledger lies in the node's map.
    places: Vec<Option<KeyId>>,
    /// The generation of keys that these places are of.
    generation: u64,
}

impl View {
    /// A process that has just started, from a directory that had shown this if it `has_state`.
    pub(super) fn new(writer: ReplicaId, from_disk: Seen, has_state: bool) -> Self {
        Self {
            writer,
            has_left: false,
            version: 0,
            fingerprint: 0,
            seen: from_disk.clone(),
            from_disk,
            has_state,
            is_synced: false,
            places: Vec::new(),
            generation: 0,
        }
    }

    /// The process continues as a new writer. Others ended the old one, so it forgot what they did
    /// not have.
    pub(super) fn renew(&mut self, writer: ReplicaId) {
        (self.writer, self.seen, self.version) = (writer, Seen::default(), 0);
        (self.from_disk, self.has_state, self.is_synced) = (Seen::default(), false, false);
    }

    /// All that it has shown until now.
    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Notes whether it has caught up. It never falls back.
    pub(super) fn note_synced(&mut self, is_synced: bool) {
        self.is_synced |= is_synced;
    }

    /// True if it had caught up at an earlier look.
    pub(super) fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// What its directory had shown of a key, if it must show just that and its own adds.
    pub(super) fn only(&self, key: usize) -> Option<u32> {
        (self.has_state && !self.is_synced).then(|| self.from_disk.get(key).last)
    }

    /// The account of one key that it must still show.
    pub(super) fn owes(&self, key: usize) -> Mask {
        let seen = self.seen.get(key);
        match self.is_synced {
            true => seen,
            false => Mask { known: seen.known, last: seen.last, ..self.from_disk.get(key) },
        }
    }

    /// The account that it must show again after a crash. Once it has caught up, that is all that
    /// it has shown. Before that, it is only the account of its directory and the adds that it has
    /// known since.
    pub(super) fn owed(&self) -> Seen {
        Seen((0..self.seen.0.len()).map(|key| self.owes(key)).collect())
    }

    /// Notes what it shows of a key.
    pub(super) fn note(&mut self, key: usize, mask: Mask) {
        self.seen.set(key, mask);
    }

    /// The value that it shows of a key.
    pub(super) fn value(&mut self, map: &CounterMap, at: usize, key: (&str, &str)) -> i128 {
        if self.generation != map.renumberings() {
            (self.generation, self.places) = (map.renumberings(), Vec::new());
        }
        if self.places.len() <= at {
            self.places.resize(at + 1, None);
        }
        self.places[at] = self.places[at].or_else(|| map.key(key.0, key.1));
        self.places[at].map_or(0, |place| map.value_of(place))
    }
}
