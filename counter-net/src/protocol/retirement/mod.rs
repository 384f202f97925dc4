//! Ended incarnations pass to their successors.
//!
//! An incarnation ends when its node starts anew, leaves for good, or is retired by an operator. A
//! member claims it and becomes its successor. The successor absorbs the ended incarnation's cells,
//! folds it away, and rebases its own cells. `docs/retirement.md` draws the steps, which are
//! counter-core's `Inheritance`. This folder decides when each may be taken.
//!
//! [`Retirement`] holds the state. [`Claims`] are the incarnations that wait to be claimed, and
//! [`Leave`] is this node's own leave.

mod claiming;
mod claims;
mod leave;
mod leaving;
mod renewal;
mod successor;

use counter_core::{CounterMap, Inheritance, VersionVector};

use claims::Claims;
use leave::Leave;

/// This node's duties for ended incarnations, and for its own end.
///
/// Invariant: a successor takes a step only once every enrolled replica has promised to keep what
/// the step rests on. Nothing outside this folder changes this state, except through its methods.
#[derive(Debug)]
pub(super) struct Retirement {
    work: Option<Inheritance>,
    /// Records changed, so the work has to be looked up anew.
    is_stale: bool,
    /// Own cells may still name resets of incarnations that are folded.
    forgets: bool,
    claims: Claims,
    leave: Leave,
    /// This incarnation was ended, or another process writes as it. It is renewed before the next
    /// input.
    renewal_is_due: bool,
}

impl Default for Retirement {
    fn default() -> Self {
        let (claims, leave) = Default::default();
        Self { work: None, is_stale: true, forgets: false, claims, leave, renewal_is_due: false }
    }
}

impl Retirement {
    /// A replica that may take over this leaver has sent its own digest.
    pub(super) fn shown(&mut self, digest: &VersionVector, map: &CounterMap) {
        self.leave.shown(digest, |writer| map.is_folded(writer));
    }

    /// This incarnation has to be renewed.
    pub(super) fn want_renewal(&mut self) {
        self.renewal_is_due = true;
    }

    /// True if this incarnation has to be renewed. Only once for each request.
    pub(super) fn take_renewal(&mut self) -> bool {
        std::mem::take(&mut self.renewal_is_due)
    }

    /// True if a member was shown to cover this node's last statement.
    pub(super) fn is_leave_covered(&self) -> bool {
        self.leave.is_covered()
    }
}
