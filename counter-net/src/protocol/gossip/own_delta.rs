//! What this replica wrote itself, as a delta.

use counter_core::{Delta, Replica, Version};

/// The own cells beyond `after`, closed.
pub(crate) fn own_since(replica: &Replica, after: Version) -> Delta {
    replica.map().delta_of(replica.id(), after).unwrap_or_default()
}

/// The replica's first delta, as bytes: its record, by which others know it.
pub(crate) fn birth_of(replica: &Replica) -> Vec<u8> {
    own_since(replica, 0).encode()
}
