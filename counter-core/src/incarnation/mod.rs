//! Ended incarnations, and resets. Both decide how much of a writer's amounts still counts.
//!
//! An incarnation is one run of one node, and the only writer of its cells. After it has ended, a
//! successor claims it and absorbs its amounts. Once every enrolled replica holds the absorbed
//! amounts, the successor folds the incarnation, and all replicas forget it. Then the successor
//! rebases: the absorbed amounts become its own. A reset raises a writer's baseline, and only the
//! amounts above the baseline count.

pub(crate) mod absorbed;
pub(crate) mod baseline;
pub(crate) mod index;
pub(crate) mod record;
pub(crate) mod work;
