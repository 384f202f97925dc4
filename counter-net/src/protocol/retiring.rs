//! How far this replica is with lives that ended, and with handing over its own.

use counter_core::Inheritance;

use super::input::NodeId;

/// What this replica has to do for lives that ended.
#[derive(Debug, Default)]
pub(super) struct Retirement {
    pub(super) work: Option<Inheritance>,
    /// Own cells may still name what was cleared of lives that are folded.
    pub(super) forgets: bool,
    /// Who is to be this leaving replica's heir.
    pub(super) heir: Heir,
    /// An heir was named: from now on nothing is written.
    pub(super) bequeathed: bool,
}

/// Whether a leaving replica hands over for good.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Heir {
    /// It does not leave, or its next life is the heir.
    #[default]
    None,
    /// An heir is to be named as soon as all that was written here is handed over.
    Wanted,
    /// The heir was told and has not answered.
    Told(NodeId),
}
