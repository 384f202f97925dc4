//! The clients whose forgotten numbers this replica will remember.

use std::collections::HashSet;

use foldhash::fast::RandomState;

/// The clients that number their adds, send them to this replica, and have no forgotten entry yet.
/// When one of their entries is dropped, its numbers are remembered.
#[derive(Debug, Default)]
pub(crate) struct Clients(HashSet<Box<[u8]>, RandomState>);

impl Clients {
    /// Admits a client if there is room. `others` clients are remembered elsewhere, and `max` is
    /// the bound on all.
    pub(crate) fn admit(&mut self, client: &[u8], others: usize, max: usize) {
        if self.0.len() + others < max && !self.0.contains(client) {
            self.0.insert(client.into());
        }
    }

    /// Takes a client out. Returns true if it was admitted.
    pub(crate) fn remove(&mut self, client: &[u8]) -> bool {
        self.0.remove(client)
    }
}
