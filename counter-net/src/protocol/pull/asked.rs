//! A request that has no answer yet, and what it asked for.

use std::time::Duration;

use counter_core::{ReplicaId, Version};

use crate::protocol::input::NodeId;
use crate::protocol::stats::Kind;

/// A request without an answer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pending {
    pub peer: NodeId,
    pub asked: Asked,
    /// As which incarnation of this node.
    pub asker: ReplicaId,
    pub sent: Duration,
}

/// What was asked.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    Compare {
        /// Hash of the version vector that was compared.
        seen: u128,
    },
    /// With cells or only for the digest.
    Ask {
        cells: bool,
    },
    Pull,
    Tell,
    /// How much of this replica it holds, which is at `version`.
    Hold {
        version: Version,
    },
    /// Which targets it and others have confirmed.
    Confirm,
    /// Nothing: it is sent a part of this node's digest.
    Digest,
    /// Which incarnations of this node it knows.
    Number,
}

impl Asked {
    /// Whether the answer says what the peer holds.
    pub(crate) fn tells_digest(self) -> bool {
        matches!(self, Asked::Compare { .. } | Asked::Ask { .. } | Asked::Tell)
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Asked::Compare { .. } => Kind::Compare,
            Asked::Ask { .. } => Kind::Ask,
            Asked::Pull => Kind::Pull,
            Asked::Tell => Kind::Tell,
            Asked::Hold { .. } => Kind::Hold,
            Asked::Confirm => Kind::Confirm,
            Asked::Digest => Kind::Digest,
            Asked::Number => Kind::Number,
        }
    }
}
