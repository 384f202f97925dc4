//! What will happen, in order of time; at one time, in order of arrival.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

/// Something that happens to a node or a pair of nodes. `incarnation` is which incarnation of the
/// node it is meant for.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Wake {
        host: usize,
        incarnation: u64,
    },
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
    /// A dial is refused, or was not answered for too long.
    DialFailed {
        from: usize,
        incarnation: u64,
        to: usize,
        tries: u32,
    },
    Lost {
        a: usize,
        b: usize,
        epoch: u64,
    },
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

/// The future.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<Scheduled>>,
    last: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: Duration, event: Event) {
        self.last += 1;
        self.heap.push(Reverse(Scheduled { at, order: self.last, event }));
    }

    pub(super) fn next_at(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(next)| next.at)
    }

    pub(super) fn pop(&mut self) -> Option<(Duration, Event)> {
        self.heap.pop().map(|Reverse(next)| (next.at, next.event))
    }
}
