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

#[derive(Debug)]
struct Scheduled {
    at: Duration,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// All events that will happen.
#[derive(Debug, Default)]
pub(in crate::sim) struct Queue {
    heap: BinaryHeap<Reverse<Scheduled>>,
    last: u64,
}

impl Queue {
    pub(in crate::sim) fn push(&mut self, at: Duration, event: Event) {
        self.last += 1;
        self.heap.push(Reverse(Scheduled { at, order: self.last, event }));
    }

    pub(in crate::sim) fn next_at(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(next)| next.at)
    }

    pub(in crate::sim) fn pop(&mut self) -> Option<(Duration, Event)> {
        self.heap.pop().map(|Reverse(next)| (next.at, next.event))
    }
}
