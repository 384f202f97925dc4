//! The traits of the `crdts` crate, where they fit.

use std::convert::Infallible;

use crdts::{CmRDT, CvRDT, ResetRemove, VClock};

use crate::error::JoinError;
use crate::lattice::counter_map::CounterMap;
use crate::lattice::delta::Delta;
use crate::lattice::pn_counter::PnCounter;
use crate::replica_id::ReplicaId;

impl CvRDT for CounterMap {
    type Validation = Infallible;

    fn validate_merge(&self, _: &Self) -> Result<(), Infallible> {
        Ok(())
    }

    fn merge(&mut self, other: Self) {
        self.join(&other);
    }
}

/// Deltas are the operations; unlike others they need no order and may come twice.
impl CmRDT for CounterMap {
    type Op = Delta;
    type Validation = JoinError;

    fn validate_op(&self, op: &Delta) -> Result<(), JoinError> {
        self.clone().join_delta(op).map(drop)
    }

    /// A delta that [`validate_op`](Self::validate_op) refuses has no effect.
    fn apply(&mut self, op: Delta) {
        let _ = self.join_delta(&op);
    }
}

impl CvRDT for PnCounter {
    type Validation = Infallible;

    fn validate_merge(&self, _: &Self) -> Result<(), Infallible> {
        Ok(())
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
