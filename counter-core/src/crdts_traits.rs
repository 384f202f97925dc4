//! Implements the traits of the `crdts` crate for the lattices of this crate.
//!
//! States merge by [`CvRDT`], and deltas are the operations of [`CmRDT`]. Both can be validated
//! first; the error names the cause.

use std::fmt;

use crdts::{CmRDT, CvRDT, ResetRemove, VClock};

use crate::error::JoinError;
use crate::lattice::cell::pn_counter::PnCounter;
use crate::lattice::counter_map::CounterMap;
use crate::lattice::delta::{Delta, Span};
use crate::replica_id::ReplicaId;

/// Why two states should not be merged. Neither was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MergeError {
    /// Both hold the same version of this replica with different contents: two processes wrote
    /// under one id, or one of the states is damaged.
    TwoWriters(ReplicaId),
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::TwoWriters(replica) = self;
        write!(
            f,
            "the states hold the same version of replica {replica} with different contents; \
             nothing was merged"
        )
    }
}

impl std::error::Error for MergeError {}

/// Why a delta cannot be applied as an operation. The state is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApplyError {
    /// The map lacks versions of this replica that come before the span: apply the deltas before
    /// this one first.
    Gap(Span),
    /// The delta cannot be joined.
    Refused(JoinError),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap(Span { replica, after, .. }) => {
                write!(
                    f,
                    "the delta continues replica {replica} after version {after}, which is not \
                     held here; nothing was applied"
                )
            }
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ApplyError {}

impl From<JoinError> for ApplyError {
    fn from(error: JoinError) -> Self {
        Self::Refused(error)
    }
}

/// Merging takes the newer snapshot of each writer, as [`CounterMap::join`] does. It never fails.
impl CvRDT for CounterMap {
    type Validation = MergeError;

    /// # Complexity
    /// O(cells of the writers that both hold as of the same version).
    fn validate_merge(&self, other: &Self) -> Result<(), MergeError> {
        match self.contradicted_by(other) {
            Some(replica) => Err(MergeError::TwoWriters(replica)),
            None => Ok(()),
        }
    }

    fn merge(&mut self, other: Self) {
        self.join(&other);
    }
}

/// Deltas are the operations. Applying a delta twice has no further effect. Deltas of different
/// writers may come in any order. Those of one writer are applied in the order of their spans.
impl CmRDT for CounterMap {
    type Op = Delta;
    type Validation = ApplyError;

    /// # Complexity
    /// O(cells held): the join is tried on a copy.
    fn validate_op(&self, op: &Delta) -> Result<(), ApplyError> {
        gap(self, op)?;
        self.clone().join_delta(op)?;
        Ok(())
    }

    /// Joins the delta. [`CounterMap::join_delta`] does the same, and returns the result.
    ///
    /// # Panics
    /// If [`validate_op`](Self::validate_op) fails. The trait cannot return an error, and ignoring
    /// the operation would make totals wrong. The state is unchanged.
    fn apply(&mut self, op: Delta) {
        let applied = gap(self, &op).and_then(|()| Ok(self.join_delta(&op)?));
        if let Err(error) = applied {
            panic!("a delta was applied without being validated: {error}");
        }
    }
}

/// Fails if part of the delta would have no effect.
fn gap(map: &CounterMap, delta: &Delta) -> Result<(), ApplyError> {
    let is_gap = |span: &Span| span.after > map.seen_of(span.replica);
    match delta.spans().find(|span| is_gap(span) && !map.is_folded(span.replica)) {
        Some(span) => Err(ApplyError::Gap(span)),
        None => Ok(()),
    }
}

impl CvRDT for PnCounter {
    type Validation = MergeError;

    fn validate_merge(&self, other: &Self) -> Result<(), MergeError> {
        match self.contradicted_by(other) {
            Some(replica) => Err(MergeError::TwoWriters(replica)),
            None => Ok(()),
        }
    }

    fn merge(&mut self, other: Self) {
        self.join(&other);
    }
}

/// Forgets the cells whose versions the clock covers.
impl ResetRemove<ReplicaId> for PnCounter {
    fn reset_remove(&mut self, clock: &VClock<ReplicaId>) {
        self.forget(|replica, cell| cell.version <= clock.get(&replica));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lattice::versions::VersionVector;

    const ORD: ReplicaId = ReplicaId::new(1, 1);

    fn with(amounts: &[u64]) -> CounterMap {
        let mut map = CounterMap::new();
        for &amount in amounts {
            map.add(ORD, "clicks", "ord", amount).unwrap();
        }
        map
    }

    #[test]
    fn validation_names_the_replica_that_two_processes_wrote() {
        let (one, other) = (with(&[5]), with(&[6]));
        let clicks = |map: &CounterMap| map.pn_counter("clicks", "ord");
        assert_eq!(one.validate_merge(&other), Err(MergeError::TwoWriters(ORD)));
        assert_eq!(clicks(&one).validate_merge(&clicks(&other)), Err(MergeError::TwoWriters(ORD)));
        for newer in [with(&[5]), with(&[5, 1]), CounterMap::new()] {
            assert_eq!(one.validate_merge(&newer), Ok(()));
            assert_eq!(clicks(&one).validate_merge(&clicks(&newer)), Ok(()));
        }
    }

    #[test]
    fn operation_after_a_gap_is_refused_by_name() {
        let (first, both) = (with(&[5]), with(&[5, 1]));
        let second = both.delta_since(&first.version_vector());
        let mut map = CounterMap::new();
        let gap = Span { replica: ORD, after: 1, upto: 2 };
        assert_eq!(map.validate_op(&second), Err(ApplyError::Gap(gap)));
        map.apply(first.delta_since(&VersionVector::new()));
        map.apply(second.clone());
        map.apply(second);
        assert_eq!(map.total("clicks"), 6);
    }

    #[test]
    fn operation_past_a_bound_is_refused_by_name() {
        let map = CounterMap::with_bounds(10, 0);
        let delta = with(&[5]).delta_since(&VersionVector::new());
        assert_eq!(map.validate_op(&delta), Err(JoinError::TooManyReplicas.into()));
    }

    #[test]
    #[should_panic(expected = "which is not held here; nothing was applied")]
    fn operation_that_would_be_lost_panics() {
        let delta = with(&[5, 1]).delta_since(&with(&[5]).version_vector());
        CounterMap::new().apply(delta);
    }
}
