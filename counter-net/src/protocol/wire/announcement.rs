//! A node's announcement, a peer's suspicion, and the order that decides between two announcements.

use counter_core::ReplicaId;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::encoding::Id;

/// The longest region of an announcement, in bytes.
pub(crate) const REGION_BYTES_MAX: usize = 32;
/// The longest release of an announcement, in bytes.
pub(crate) const RELEASE_BYTES_MAX: usize = 64;
/// The most addresses of an announcement.
pub(crate) const ADDRESSES_MAX: usize = 4;
/// The longest address of an announcement, in bytes. An IPv6 address with its identity has about
/// 65.
pub(crate) const ADDRESS_BYTES_MAX: usize = 128;
/// The longest time that an announcement may claim to hold, in milliseconds: an hour.
const TTL_MS_MAX: u64 = 3_600_000;

/// A node's state. At one version of its announcement the greater state holds, so all nodes
/// come to the same view.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum MemberState {
    /// It was heard from.
    Live,
    /// A peer lost its connection to it. It may refute that with a greater version.
    Suspected,
    /// It did not refute that, or its ttl is over. Its presence ended.
    Ended,
    /// It announced its leave.
    Left,
}

/// A node's description of itself. Only the node makes it, and all nodes pass it on. The one that
/// is greater in (incarnation, version, state) holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Announcement {
    #[serde(rename = "i")]
    pub replica: Id,
    #[serde(rename = "g")]
    pub region: String,
    #[serde(rename = "u")]
    pub viewers: u64,
    #[serde(rename = "r")]
    pub release: String,
    /// Raised by the node with each announcement. Only a greater one renews.
    #[serde(rename = "n")]
    pub version: u64,
    /// Time left, in milliseconds: until a live or suspected node ends, or until an ended or left
    /// one is forgotten.
    #[serde(rename = "t")]
    pub ttl_ms: u64,
    #[serde(rename = "s", default, skip_serializing_if = "is_live")]
    pub state: u8,
    /// The node says that it has caught up.
    #[serde(rename = "y", default)]
    pub synced: bool,
    /// Where it listens, in the driver's own bytes.
    #[serde(rename = "l", default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<ByteBuf>,
}

/// A peer's word that a node may be gone. The given `version` of its announcement no longer holds
/// unless the node announces itself again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Suspicion {
    #[serde(rename = "i")]
    pub replica: Id,
    #[serde(rename = "n")]
    pub version: u64,
    /// The replica that lost the connection. It makes the payloads of two suspecting peers differ,
    /// and those of two incarnations of one peer.
    #[serde(rename = "b")]
    pub by: Id,
}

impl Announcement {
    pub(crate) fn replica(&self) -> ReplicaId {
        self.replica.0
    }

    /// The state, or `None` for one that a later release invented.
    pub(crate) fn state(&self) -> Option<MemberState> {
        [MemberState::Live, MemberState::Suspected, MemberState::Ended, MemberState::Left]
            .get(usize::from(self.state))
            .copied()
    }

    /// True if every field is within its bounds.
    pub(crate) fn is_sound(&self) -> bool {
        !self.region.is_empty()
            && self.region.len() <= REGION_BYTES_MAX
            && self.release.len() <= RELEASE_BYTES_MAX
            && !self.region.chars().chain(self.release.chars()).any(char::is_control)
            && self.ttl_ms <= TTL_MS_MAX
            && self.addresses.len() <= ADDRESSES_MAX
            && self.addresses.iter().all(|address| address.len() <= ADDRESS_BYTES_MAX)
            && self.state().is_some()
    }
}

fn is_live(state: &u8) -> bool {
    *state == 0
}
