//! Ended incarnations pass to their successors.
//!
//! An incarnation ends when its node starts again, leaves for good, or is retired by an operator. A
//! member claims it and becomes its successor. The successor absorbs the ended incarnation's cells,
//! folds it away, and rebases its own cells. `docs/retirement.md` draws the steps, which are
//! counter-core's `AbsorbRound`. This folder decides when each may be taken.
//!
//! [`Retirement`] is the machine: the successor's work, and the incarnations that wait to be
//! claimed. [`Leave`] is the other side: this node's own leave for good.

mod claims;
mod leave;
mod machine;

pub(super) use leave::Leave;
pub(super) use machine::{Retirement, TakeOver};
