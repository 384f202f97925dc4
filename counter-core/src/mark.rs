//! One mark: what a writer says of the adds of one client, of one single id, or of an add that it took back.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::error::AddError;
use crate::replica_id::ReplicaId;
use crate::version_vector::Version;

/// The longest id of an add, in bytes.
pub const ID_BYTES_MAX: usize = 64;

/// How far a client's sequence may lie behind the latest that was applied: 64 adds of it are told apart, this one included.
pub const ID_WINDOW: u64 = 64;

/// Runs of equal adds of one client of which the counter and the amount are known: what can be taken back.
pub(crate) const RUNS_MAX: usize = 8;

/// Kinds of marks.
pub(crate) const KINDS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Client = 0,
    Single = 1,
    TakenBack = 2,
}

/// A mark. Only its writer writes it; a greater version replaces the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// In the writer's sequence, of its own.
    pub(crate) version: Version,
    /// A client, an id, or for what was taken back the writer that had applied it (16 bytes) and the id.
    pub(crate) name: Arc<[u8]>,
    pub(crate) said: Said,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Which sequence numbers of a client this writer applied.
    Client(Window),
    /// What this writer added for an id.
    Single(Add),
    /// What this writer took back, because another writer had applied the same id; 0 or of the other sign where others had done so too.
    TakenBack(Add),
}

impl Said {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Client(_) => Kind::Client,
            Self::Single(_) => Kind::Single,
            Self::TakenBack(_) => Kind::TakenBack,
        }
    }

    fn adds_mut(&mut self) -> impl Iterator<Item = &mut Add> {
        let (runs, one) = match self {
            Self::Client(window) => (window.runs.as_mut_slice(), None),
            Self::Single(add) | Self::TakenBack(add) => (Default::default(), Some(add)),
        };
        runs.iter_mut().map(|run| &mut run.add).chain(one).filter(|add| add.amount != 0)
    }

    fn adds(&self) -> impl Iterator<Item = Add> + Clone + '_ {
        let (runs, one) = match self {
            Self::Client(window) => (window.runs.as_slice(), None),
            Self::Single(add) | Self::TakenBack(add) => (Default::default(), Some(*add)),
        };
        runs.iter().map(|run| run.add).chain(one).filter(|add| add.amount != 0)
    }
}

impl Mark {
    /// The keys that it names.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        self.said.adds().map(|add| add.key)
    }

    /// The same in another numbering of keys.
    pub(crate) fn renumber(&mut self, rank: impl Fn(u32) -> u32) {
        self.said.adds_mut().for_each(|add| add.key = rank(add.key));
    }

    /// The name of the mark that takes back what `replica` applied for `id`.
    pub(crate) fn taken_back_name(replica: ReplicaId, id: &str) -> Arc<[u8]> {
        [&replica.to_bytes()[..], id.as_bytes()].concat().into()
    }
}

/// What one add added to one key; unknown where the amount is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Add {
    pub(crate) key: u32,
    pub(crate) amount: i64,
}

/// So many equal adds, one after the other among those applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) count: u8,
    pub(crate) add: Add,
}

/// Which sequence numbers of a client were applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// The greatest.
    pub(crate) last: u64,
    /// Bit i: `last - i` was applied; bit 0 is set.
    pub(crate) applied: u64,
    /// What was added, from the greatest sequence number down over those applied; for what no run names it is not known any more.
    pub(crate) runs: SmallVec<[Run; 1]>,
}

/// What a window says of a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    New,
    Applied,
    /// It lies before the window: whether it was applied is not known.
    TooOld,
}

impl Window {
    pub(crate) fn new(sequence: u64, add: Add) -> Self {
        Self { last: sequence, applied: 1, runs: compressed(&[add]) }
    }

    pub(crate) fn look(&self, sequence: u64) -> Look {
        match self.last.checked_sub(sequence) {
            None => Look::New,
            Some(back) if back >= ID_WINDOW => Look::TooOld,
            Some(back) if self.applied >> back & 1 == 1 => Look::Applied,
            Some(_) => Look::New,
        }
    }

    /// Notes an add whose sequence number is new; an amount of 0 where it is not known.
    pub(crate) fn apply(&mut self, sequence: u64, add: Add) {
        let mut adds: SmallVec<[Add; 64]> = SmallVec::new();
        self.runs.iter().for_each(|run| adds.extend(std::iter::repeat_n(run.add, run.count.into())));
        if sequence > self.last {
            let by = sequence - self.last;
            self.applied = if by < ID_WINDOW { self.applied << by | 1 } else { 1 };
            self.last = sequence;
            adds.insert(0, add);
        } else {
            let back = self.last - sequence;
            let newer = (self.applied & ((1 << back) - 1)).count_ones() as usize;
            self.applied |= 1 << back;
            if adds.len() < newer {
                adds.resize(newer, Add::default());
            }
            adds.insert(newer, add);
        }
        adds.truncate(self.applied.count_ones() as usize);
        self.runs = compressed(&adds);
    }

    /// The sequence numbers that were applied, with what they added, from the greatest down; only those of which that is known.
    pub(crate) fn known(&self) -> impl Iterator<Item = (u64, Add)> + '_ {
        let sequences = (0..ID_WINDOW).filter(|back| self.applied >> back & 1 == 1).map(|back| self.last.wrapping_sub(back));
        let adds = self.runs.iter().flat_map(|run| std::iter::repeat_n(run.add, run.count.into()));
        sequences.zip(adds).filter(|(_, add)| add.amount != 0)
    }

    /// What an applied sequence number added, where that is known.
    pub(crate) fn add_of(&self, sequence: u64) -> Option<Add> {
        self.known().find(|known| known.0 == sequence).map(|known| known.1)
    }

    /// Every sequence number that was applied.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = u64> + '_ {
        (0..ID_WINDOW).filter(|back| self.applied >> back & 1 == 1).map(|back| self.last.wrapping_sub(back))
    }
}

/// Equal neighbours as runs, the first few; unknown ones at the end say nothing.
fn compressed(adds: &[Add]) -> SmallVec<[Run; 1]> {
    let mut runs: SmallVec<[Run; 1]> = SmallVec::new();
    for &add in adds {
        let is_full = runs.len() == RUNS_MAX;
        match runs.last_mut() {
            Some(run) if run.add == add => run.count += 1,
            _ if is_full => break,
            _ => runs.push(Run { count: 1, add }),
        }
    }
    while runs.last().is_some_and(|run| run.add.amount == 0) {
        runs.pop();
    }
    runs
}

/// An add's id, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Id<'a> {
    Of { client: &'a str, sequence: u64 },
    Single(&'a str),
}

impl<'a> Id<'a> {
    /// `<client>:<sequence>` where what follows the last colon is a decimal number without leading zeros, else a single id.
    pub(crate) fn read(id: &'a str) -> Result<Self, AddError> {
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            return Err(AddError::IdOutOfRange);
        }
        let parts = id.rsplit_once(':').filter(|(client, digits)| {
            let shortest = digits.len() == 1 || !digits.starts_with('0');
            !client.is_empty() && shortest && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
        let numbered = parts.and_then(|(client, digits)| Some(Self::Of { client, sequence: digits.parse().ok()? }));
        Ok(numbered.unwrap_or(Self::Single(id)))
    }

    /// Under which kind and name a writer has its mark.
    pub(crate) fn place(&self) -> (Kind, &'a [u8]) {
        match self {
            Self::Of { client, .. } => (Kind::Client, client.as_bytes()),
            Self::Single(id) => (Kind::Single, id.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Add = Add { key: 3, amount: 1 };

    #[test]
    fn ids_with_a_number_at_the_end_are_a_clients() {
        assert_eq!(Id::read("c:7"), Ok(Id::Of { client: "c", sequence: 7 }));
        assert_eq!(Id::read("a:b:0"), Ok(Id::Of { client: "a:b", sequence: 0 }));
        for single in ["c", "c:", ":7", "c:07", "c:-7", "c:+7", "c:18446744073709551616"] {
            assert_eq!(Id::read(single), Ok(Id::Single(single)));
        }
        assert!(Id::read("").is_err() && Id::read(&"x".repeat(65)).is_err() && Id::read(&"x".repeat(64)).is_ok());
    }

    #[test]
    fn a_window_tells_64_numbers_apart_and_no_more() {
        let mut window = Window::new(100, ONE);
        window.apply(98, ONE);
        assert_eq!([100, 99, 98, 37, 36, 101].map(|sequence| window.look(sequence)), {
            use Look::*;
            [Applied, New, Applied, New, TooOld, New]
        });
        window.apply(162, ONE);
        assert_eq!([98, 99, 100].map(|sequence| window.look(sequence)), [Look::TooOld, Look::New, Look::Applied]);
        window.apply(1_000, ONE);
        assert_eq!((window.applied, window.runs.len(), window.runs[0].count), (1, 1, 1));
    }

    #[test]
    fn what_each_number_added_is_known_whatever_order_they_came_in() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..2_000 {
            let mut window = Window::new(500, Add { key: 0, amount: 500 });
            let mut truth = std::collections::BTreeMap::from([(500, 500)]);
            for _ in 0..random.usize(..80) {
                let (sequence, amount) = (random.u64(430..620), [1, 1, 1, 2, 500][random.usize(..5)]);
                if window.look(sequence) == Look::New {
                    window.apply(sequence, Add { key: 0, amount });
                    truth.insert(sequence, amount);
                }
            }
            let kept: Vec<(u64, i64)> =
                truth.iter().rev().filter(|(sequence, _)| window.last - **sequence < ID_WINDOW).map(|(a, b)| (*a, *b)).collect();
            assert_eq!(window.sequences().collect::<Vec<_>>(), kept.iter().map(|kept| kept.0).collect::<Vec<_>>());
            assert!(window.known().all(|(sequence, add)| truth[&sequence] == add.amount));
            assert!(window.runs.len() <= RUNS_MAX && window.known().next().is_some());
        }
    }
}
