//! A caller's wait for copies or versions: its size, and how it ended.

/// How many enrolled replicas must hold a change, counting the one that made it.
///
/// A replica holds a change once it is in memory. One with a data directory has it on disk a few
/// milliseconds later.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Copies {
    /// This many. The change survives the loss of all but one of them. A greater number waits for
    /// slower nodes, and one above the cluster's size waits for a newcomer.
    Nodes(usize),
    /// More than half of the enrolled replicas. Any two such sets share a replica.
    Majority,
    /// Every enrolled replica. This is impossible while one is down.
    All,
}

impl Copies {
    /// The number of copies among `enrolled` replicas, at least one.
    pub fn of(self, enrolled: usize) -> usize {
        let copies = match self {
            Self::Nodes(nodes) => nodes,
            Self::Majority => enrolled / 2 + 1,
            Self::All => enrolled,
        };
        copies.max(1)
    }
}

/// How a wait ended.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Waited {
    /// The copies or versions are there.
    Reached,
    /// The time is over, and too few replicas are known to hold the change.
    Few {
        /// Replicas that are known to hold it, this one included.
        held: usize,
        /// How many copies the caller asked for.
        wanted: usize,
        /// Enrolled replicas, this one included.
        enrolled: usize,
    },
    /// The time is over, and versions are still missing here.
    Behind {
        /// Writers with missing versions.
        writers: usize,
        /// Missing versions of all these writers. A version is one change of one cell.
        versions: u64,
    },
    /// The wait was refused, because too many callers wait already.
    TooMany,
}
