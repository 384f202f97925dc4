//! Which process is at the far end of each connection: a clone of a running node's disk gives two
//! processes one identity.
//!
//! A process says when it connects as which incarnation it started. Where two connections of one
//! peer lead to two processes, the earlier process is given the time to answer a ping or to be
//! gone. If it answers, the later one is a second one, and nothing of it is taken.

use std::collections::HashMap;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::swarm::ConnectionId;

/// What stands in the agent version before the incarnation.
const AGENT: &str = concat!("counter-net/", env!("CARGO_PKG_VERSION"));

/// How a process names itself to its peers.
pub(crate) fn agent_version(incarnation: u64) -> String {
    format!("{AGENT} {incarnation:016x}")
}

/// As which incarnation a process started; None where it does not say, such as one of an earlier
/// release.
fn started_as(agent_version: &str) -> Option<u64> {
    u64::from_str_radix(agent_version.strip_prefix("counter-net/")?.split_once(' ')?.1, 16).ok()
}

/// Every open connection and its process. Bounded by the connection limits.
#[derive(Debug, Default)]
pub(super) struct Processes(HashMap<ConnectionId, Connection>);

#[derive(Debug)]
struct Connection {
    peer: PeerId,
    opened: Duration,
    process: Process,
    /// When the process was known.
    since: Duration,
    /// When it last answered a ping.
    answered: Option<Duration>,
    is_told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    /// It has not said yet.
    Unknown,
    /// It does not say.
    Unnamed,
    StartedAs(u64),
}

/// What to do with what comes over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is the peer.
    Only,
    /// Another process may be the peer. It is not known yet whether that one is still there.
    Unsure,
    /// Another process is the peer, and was there before.
    Second,
}

impl Processes {
    pub(super) fn connected(&mut self, connection: ConnectionId, peer: PeerId, now: Duration) {
        self.0.insert(
            connection,
            Connection {
                peer,
                opened: now,
                process: Process::Unknown,
                since: now,
                answered: None,
                is_told: false,
            },
        );
    }

    pub(super) fn closed(&mut self, connection: ConnectionId) {
        self.0.remove(&connection);
    }

    pub(super) fn identified(
        &mut self,
        connection: ConnectionId,
        agent_version: &str,
        now: Duration,
    ) {
        if let Some(open) =
            self.0.get_mut(&connection).filter(|open| open.process == Process::Unknown)
        {
            (open.process, open.since) =
                (started_as(agent_version).map_or(Process::Unnamed, Process::StartedAs), now);
        }
    }

    pub(super) fn answered(&mut self, connection: ConnectionId, now: Duration) {
        if let Some(open) = self.0.get_mut(&connection) {
            open.answered = Some(now);
        }
    }

    /// O(connections).
    pub(super) fn standing(&self, connection: ConnectionId) -> Standing {
        let Some(own) = self.0.get(&connection) else { return Standing::Only };
        let others = self.0.iter().filter(|(id, open)| **id != connection && open.peer == own.peer);
        others
            .map(|(_, other)| own.beside(other))
            .max_by_key(|standing| *standing as u8)
            .unwrap_or(Standing::Only)
    }

    /// Whether one process alone can have said what this peer says.
    pub(super) fn is_one(&self, peer: &PeerId) -> bool {
        let connections = self.0.iter().filter(|(_, open)| open.peer == *peer);
        connections
            .map(|(connection, _)| self.standing(*connection))
            .all(|standing| standing == Standing::Only)
    }

    /// True the first time for each connection.
    pub(super) fn is_news(&mut self, connection: ConnectionId) -> bool {
        self.0.get_mut(&connection).is_some_and(|open| !std::mem::replace(&mut open.is_told, true))
    }
}

impl Connection {
    fn beside(&self, other: &Connection) -> Standing {
        match (self.process, other.process) {
            // Two that were opened at once are mostly of two nodes that dialled each other.
            (Process::Unknown, Process::StartedAs(_)) if other.since < self.opened => {
                Standing::Unsure
            }
            (Process::StartedAs(own), Process::StartedAs(others)) if others < own => {
                if other.answered > Some(self.since) { Standing::Second } else { Standing::Unsure }
            }
            _ => Standing::Only,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn connection(id: usize) -> ConnectionId {
        ConnectionId::new_unchecked(id)
    }

    /// Connection 1 of a process that started as 5, and connection 2 of the same peer.
    fn processes(peer: PeerId) -> Processes {
        let mut processes = Processes::default();
        processes.connected(connection(1), peer, SECOND);
        processes.identified(connection(1), &agent_version(5), SECOND);
        processes.answered(connection(1), 2 * SECOND);
        processes.connected(connection(2), peer, 3 * SECOND);
        processes
    }

    fn standings(processes: &Processes) -> [Standing; 2] {
        [1, 2].map(|id| processes.standing(connection(id)))
    }

    #[test]
    fn later_process_is_second_once_the_earlier_one_answers() {
        let peer = PeerId::random();
        let mut processes = processes(peer);
        assert_eq!(standings(&processes), [Standing::Only, Standing::Unsure]);
        assert!(!processes.is_one(&peer));
        processes.identified(connection(2), &agent_version(7), 4 * SECOND);
        assert_eq!(standings(&processes), [Standing::Only, Standing::Unsure], "it answered before");
        processes.answered(connection(1), 5 * SECOND);
        assert_eq!(standings(&processes), [Standing::Only, Standing::Second]);
        assert!(!processes.is_one(&peer) && processes.is_one(&PeerId::random()));
        assert_eq!(
            [processes.is_news(connection(2)), processes.is_news(connection(2))],
            [true, false]
        );
    }

    #[test]
    fn restarted_process_is_heard_once_the_earlier_connection_is_closed() {
        let peer = PeerId::random();
        let mut processes = processes(peer);
        processes.identified(connection(2), &agent_version(7), 4 * SECOND);
        processes.closed(connection(1));
        assert_eq!(standings(&processes)[1], Standing::Only);
        assert!(processes.is_one(&peer));
    }

    #[test]
    fn second_connection_of_one_process_is_heard() {
        let peer = PeerId::random();
        let mut processes = processes(peer);
        processes.identified(connection(2), &agent_version(5), 4 * SECOND);
        processes.answered(connection(1), 5 * SECOND);
        assert_eq!(standings(&processes), [Standing::Only; 2]);
        assert!(processes.is_one(&peer));
    }

    #[test]
    fn two_connections_opened_at_once_are_heard_before_they_say_whose_they_are() {
        let (peer, mut processes) = (PeerId::random(), Processes::default());
        (1..=2).for_each(|id| processes.connected(connection(id), peer, SECOND));
        processes.identified(connection(1), &agent_version(5), 2 * SECOND);
        assert_eq!(standings(&processes), [Standing::Only; 2]);
        assert!(processes.is_one(&peer));
    }

    #[test]
    fn process_of_an_earlier_release_is_heard() {
        let mut processes = processes(PeerId::random());
        processes.identified(connection(2), "counter-net/0.1.0", 4 * SECOND);
        processes.answered(connection(1), 5 * SECOND);
        assert_eq!(standings(&processes), [Standing::Only; 2]);
    }

    #[test]
    fn agent_version_names_the_incarnation() {
        assert_eq!(started_as(&agent_version(0x1234)), Some(0x1234));
        assert_eq!(
            [started_as("counter-net/0.1.0"), started_as("rust-libp2p 1f"), started_as("")],
            [None; 3]
        );
    }
}
