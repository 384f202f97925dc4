//! Incarnations that ended, and resets: what still counts of a writer.
//!
//! An incarnation is one run of one node, and the only writer of its cells. When it has ended, a
//! successor claims it, absorbs its cells into its own, folds it once every enrolled replica holds
//! them, and rebases: absorbed amounts become own ones. A reset raises a writer's baseline, and
//! only what lies above the baseline counts.

pub(crate) mod absorbed;
pub(crate) mod baseline;
pub(crate) mod record;
pub(crate) mod work;
