//! All events that will happen, in order of time. Those of one time happen in the order in which
//! they were scheduled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

/// Something that happens to a node or a pair of nodes. An event with an `incarnation` is meant for
/// that start of the node, and void after it. One with an `epoch` is void if the connection was
/// closed since.
#[derive(Clone, Debug)]
pub(in crate::sim) enum Event {
    /// A node's deadline is due.
    Wake {
        host: usize,
        incarnation: u64,
    },
    /// A copy of a gossip message arrives. `again` marks a duplicate that the mesh does not filter.
    Gossip {
        from: usize,
        to: usize,
        message: u64,
        again: bool,
    },
    Request {
        from: usize,
        incarnation: u64,
        to: usize,
        id: u64,
        payload: Rc<Vec<u8>>,
        epoch: u64,
    },
    Response {
        from: usize,
        to: usize,
        incarnation: u64,
        id: u64,
        payload: Rc<Vec<u8>>,
        epoch: u64,
    },
    /// A request fails.
    Failed {
        host: usize,
        incarnation: u64,
        peer: usize,
        id: u64,
    },
    /// Discovery answers a node.
    Discovered {
        host: usize,
        incarnation: u64,
    },
    /// The first packet of a dial arrives.
    Dialled {
        from: usize,
        incarnation: u64,
        to: usize,
        tries: u32,
    },
    /// The handshake is over.
    Connected {
        from: usize,
        incarnation: u64,
        to: usize,
        tries: u32,
    },
    /// A dial is refused, or its time is over.
    DialFailed {
        from: usize,
        incarnation: u64,
        to: usize,
        tries: u32,
    },
    /// Both ends would notice by now that a cut broke their connection.
    Lost {
        a: usize,
        b: usize,
        epoch: u64,
    },
    /// Both ends see their connection close.
    Disconnect {
        a: usize,
        b: usize,
        epoch: u64,
    },
}

/// The time of an event, its place among those of one time, and its slot.
type Scheduled = (Duration, u64, usize);

/// All events that will happen. They stay in their slots, so that the heap moves only small
/// entries: a burst in a large cluster has millions of events under way.
///
/// Invariant: each slot is either free or in the heap once.
#[derive(Debug, Default)]
pub(in crate::sim) struct Queue {
    heap: BinaryHeap<Reverse<Scheduled>>,
    slots: Vec<Option<Event>>,
    free: Vec<usize>,
    last: u64,
}

impl Queue {
    pub(in crate::sim) fn push(&mut self, at: Duration, event: Event) {
        self.last += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(event);
        self.heap.push(Reverse((at, self.last, slot)));
    }

    pub(in crate::sim) fn next_at(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    pub(in crate::sim) fn pop(&mut self) -> Option<(Duration, Event)> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        self.slots[slot].take().map(|event| (at, event))
    }
}
