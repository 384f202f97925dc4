//! Incarnations that ended, and resets: both decide how much of a writer still counts.
//!
//! An incarnation is one run of one node, and the only writer of its cells. After it has ended, a
//! successor claims it and absorbs its amounts. Once every enrolled replica holds these, the
//! successor folds the incarnation, which is then forgotten everywhere, and rebases: absorbed
//! amounts become its own. A reset raises a writer's baseline, and only the amounts above the
//! baseline count.

pub(crate) mod absorbed;
pub(crate) mod baseline;
pub(crate) mod index;
pub(crate) mod record;
pub(crate) mod work;
