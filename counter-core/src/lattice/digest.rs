//! What I have, sent to ask for what I lack; and the sum that says two states are equal.

use std::fmt;

use crate::lattice::versions::vector::VersionVector;

/// XXH3-128 of each cell's and record's canonical bytes, summed modulo 2^128. Finds faults, not
/// attackers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateHash(pub u128);

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// All that there is to say about a state: what it has seen, and the hash of what it holds.
///
/// # Examples
/// ```
/// use counter_core::{CounterMap, ReplicaId};
/// let (mut here, mut there) = (CounterMap::new(), CounterMap::new());
/// here.add(ReplicaId::new(1, 1), "clicks", "ord", 5)?;
/// let asked = there.digest(); // sent to whoever may have more
/// there.join_delta(&here.delta_since(&asked.seen))?; // what comes back
/// assert_eq!(there.digest(), here.digest());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// Per writer, the version up to which everything is held.
    pub seen: VersionVector,
    /// Equal `seen` and unequal hash is a fault.
    pub state_hash: StateHash,
}
