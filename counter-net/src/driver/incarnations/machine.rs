//! The other incarnations that this node may have to take over.

use std::time::Duration;

use super::begin::NewIncarnation;
use super::departed::Departed;
use super::predecessors::Predecessors;
use crate::protocol::NodeId;
use crate::shared::Shared;

/// The incarnations that this node may have to take over, and whether it must stop itself, because
/// an earlier process runs under its identity.
#[derive(Debug)]
pub(in crate::driver) struct Incarnations {
    predecessors: Predecessors,
    departed: Departed,
    is_second: bool,
}

impl Incarnations {
    pub(in crate::driver) fn new(begun: &NewIncarnation) -> Self {
        let (earlier, copied) = (begun.earlier.clone(), begun.copied.clone());
        Self {
            predecessors: Predecessors::new(earlier, copied, begun.store.is_some()),
            departed: Departed::default(),
            is_second: false,
        }
    }

    /// The processes of these nodes, which ran on this machine, have ended.
    pub(in crate::driver) fn note_departed(&mut self, nodes: Vec<NodeId>, now: Duration) {
        self.departed.note(nodes, now);
    }

    /// Another process runs under this identity and was there first.
    pub(in crate::driver) fn note_first_process(&mut self) {
        self.is_second = true;
    }

    /// True if this process must stop in favour of an earlier one.
    pub(in crate::driver) fn gives_way(&self) -> bool {
        self.is_second
    }

    /// Takes over the incarnations whose case is decided. Returns true if the state changed.
    pub(in crate::driver) fn settle(&mut self, shared: &Shared, now: Duration) -> bool {
        let settled = self.predecessors.settle(shared, now);
        let retired = self.departed.settle(shared, now);
        settled || retired
    }
}
