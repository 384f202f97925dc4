//! The process at the far end of each connection. A clone of a running node's disk gives two
//! processes one identity.
//!
//! A process reports when it connects which incarnation it started as. If two connections of one
//! peer lead to two processes, the earlier one has time to answer a ping. If it answers, the later
//! one is a second process, and its messages are refused.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use libp2p::PeerId;
use libp2p::request_response::ResponseChannel;
use libp2p::swarm::ConnectionId;

use crate::network::started_as;

/// Requests that wait until it is known which process sent them.
const DEFERRED_MAX: usize = 64;

/// Every open connection with its process, and the requests whose sender is not known yet.
///
/// Connections are bounded by the connection limits, requests by [`DEFERRED_MAX`]: a further one
/// replaces the earliest.
#[derive(Debug, Default)]
pub(in crate::driver) struct Processes {
    connections: HashMap<ConnectionId, OpenConnection>,
    deferred: VecDeque<IncomingRequest>,
}

/// A peer's request, with the connection it came over and the channel for its answer.
#[derive(Debug)]
pub(in crate::driver) struct IncomingRequest {
    pub(in crate::driver) peer: PeerId,
    pub(in crate::driver) connection: ConnectionId,
    pub(in crate::driver) request: Vec<u8>,
    pub(in crate::driver) channel: ResponseChannel<Vec<u8>>,
}

#[derive(Debug)]
struct OpenConnection {
    peer: PeerId,
    opened: Duration,
    process: ProcessIdentity,
    /// When the process became known.
    since: Duration,
    /// When it last answered a ping.
    answered: Option<Duration>,
    is_logged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProcessIdentity {
    /// It has not identified itself yet.
    Unknown,
    /// It runs an earlier release, which does not name its incarnation.
    Unnamed,
    StartedAs(u64),
}

/// Where a connection's process stands among those of its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) enum ProcessOrder {
    /// It is the only one.
    Only,
    /// There is an earlier one, which may have ended.
    Unsure,
    /// An earlier one is running.
    Second,
}

impl Processes {
    pub(in crate::driver) fn connected(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        now: Duration,
    ) {
        self.connections.insert(
            connection,
            OpenConnection {
                peer,
                opened: now,
                process: ProcessIdentity::Unknown,
                since: now,
                answered: None,
                is_logged: false,
            },
        );
    }

    pub(in crate::driver) fn closed(&mut self, connection: ConnectionId) {
        self.connections.remove(&connection);
    }

    pub(in crate::driver) fn identified(
        &mut self,
        connection: ConnectionId,
        agent_version: &str,
        now: Duration,
    ) {
        if let Some(open) = self
            .connections
            .get_mut(&connection)
            .filter(|open| open.process == ProcessIdentity::Unknown)
        {
            (open.process, open.since) = (
                started_as(agent_version)
                    .map_or(ProcessIdentity::Unnamed, ProcessIdentity::StartedAs),
                now,
            );
        }
    }

    pub(in crate::driver) fn answered(&mut self, connection: ConnectionId, now: Duration) {
        if let Some(open) = self.connections.get_mut(&connection) {
            open.answered = Some(now);
        }
    }

    /// Where this connection's process stands now. O(connections).
    pub(in crate::driver) fn order(&self, connection: ConnectionId) -> ProcessOrder {
        let Some(own) = self.connections.get(&connection) else { return ProcessOrder::Only };
        let others = self
            .connections
            .iter()
            .filter(|(id, open)| **id != connection && open.peer == own.peer);
        others
            .map(|(_, other)| own.beside(other))
            .max_by_key(|order| *order as u8)
            .unwrap_or(ProcessOrder::Only)
    }

    /// Returns true if all of the peer's connections lead to its only process.
    pub(in crate::driver) fn is_one(&self, peer: &PeerId) -> bool {
        let connections = self.connections.iter().filter(|(_, open)| open.peer == *peer);
        connections
            .map(|(connection, _)| self.order(*connection))
            .all(|order| order == ProcessOrder::Only)
    }

    /// Keeps a request until more is known of its process.
    pub(in crate::driver) fn defer(&mut self, request: IncomingRequest) {
        if self.deferred.len() >= DEFERRED_MAX {
            self.deferred.pop_front();
        }
        self.deferred.push_back(request);
    }

    /// Takes the deferred requests, to judge them again.
    pub(in crate::driver) fn take_deferred(&mut self) -> VecDeque<IncomingRequest> {
        std::mem::take(&mut self.deferred)
    }

    /// Returns true if the second process on this connection was not logged yet, and marks it as
    /// logged.
    pub(in crate::driver) fn take_news(&mut self, connection: ConnectionId) -> bool {
        self.connections
            .get_mut(&connection)
            .is_some_and(|open| !std::mem::replace(&mut open.is_logged, true))
    }
}

impl OpenConnection {
    fn beside(&self, other: &OpenConnection) -> ProcessOrder {
        match (self.process, other.process) {
            // Two connections opened together mostly come from two nodes that dialled each other.
            (ProcessIdentity::Unknown, ProcessIdentity::StartedAs(_))
                if other.since < self.opened =>
            {
                ProcessOrder::Unsure
            }
            (ProcessIdentity::StartedAs(own), ProcessIdentity::StartedAs(others))
                if others < own =>
            {
                if other.answered > Some(self.since) {
                    ProcessOrder::Second
                } else {
                    ProcessOrder::Unsure
                }
            }
            _ => ProcessOrder::Only,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::agent_version;

    const SECOND: Duration = Duration::from_secs(1);

    fn connection(id: usize) -> ConnectionId {
        ConnectionId::new_unchecked(id)
    }

    /// Connection 1 leads to a process that started as 5. Connection 2 is of the same peer.
    fn processes(peer: PeerId) -> Processes {
        let mut processes = Processes::default();
        processes.connected(connection(1), peer, SECOND);
        processes.identified(connection(1), &agent_version(5), SECOND);
        processes.answered(connection(1), 2 * SECOND);
        processes.connected(connection(2), peer, 3 * SECOND);
        processes
    }

    fn orders(processes: &Processes) -> [ProcessOrder; 2] {
        [1, 2].map(|id| processes.order(connection(id)))
    }

    #[test]
    fn later_process_is_second_once_earlier_answers() {
        let peer = PeerId::random();
        let mut processes = processes(peer);
        assert_eq!(orders(&processes), [ProcessOrder::Only, ProcessOrder::Unsure]);
        assert!(!processes.is_one(&peer));
        processes.identified(connection(2), &agent_version(7), 4 * SECOND);
        assert_eq!(
            orders(&processes),
            [ProcessOrder::Only, ProcessOrder::Unsure],
            "it answered before"
        );
        processes.answered(connection(1), 5 * SECOND);
        assert_eq!(orders(&processes), [ProcessOrder::Only, ProcessOrder::Second]);
        assert!(!processes.is_one(&peer) && processes.is_one(&PeerId::random()));
        assert_eq!(
            [processes.take_news(connection(2)), processes.take_news(connection(2))],
            [true, false]
        );
    }

    #[test]
    fn restarted_process_is_heard_after_old_connection_closes() {
        let peer = PeerId::random();
        let mut processes = processes(peer);
        processes.identified(connection(2), &agent_version(7), 4 * SECOND);
        processes.closed(connection(1));
        assert_eq!(orders(&processes)[1], ProcessOrder::Only);
        assert!(processes.is_one(&peer));
    }

    #[test]
    fn second_connection_of_one_process_is_heard() {
        let peer = PeerId::random();
        let mut processes = processes(peer);
        processes.identified(connection(2), &agent_version(5), 4 * SECOND);
        processes.answered(connection(1), 5 * SECOND);
        assert_eq!(orders(&processes), [ProcessOrder::Only; 2]);
        assert!(processes.is_one(&peer));
    }

    #[test]
    fn simultaneous_connections_are_heard_unidentified() {
        let (peer, mut processes) = (PeerId::random(), Processes::default());
        (1..=2).for_each(|id| processes.connected(connection(id), peer, SECOND));
        processes.identified(connection(1), &agent_version(5), 2 * SECOND);
        assert_eq!(orders(&processes), [ProcessOrder::Only; 2]);
        assert!(processes.is_one(&peer));
    }

    #[test]
    fn process_of_an_earlier_release_is_heard() {
        let mut processes = processes(PeerId::random());
        processes.identified(connection(2), "counter-net/0.1.0", 4 * SECOND);
        processes.answered(connection(1), 5 * SECOND);
        assert_eq!(orders(&processes), [ProcessOrder::Only; 2]);
    }
}
