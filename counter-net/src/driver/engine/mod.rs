//! The loop of a node: it waits for the first event, handles it, and carries out the replicator's
//! outputs.
//!
//! `run` is the loop. `events` turns network events into inputs, `effects` turns outputs into
//! network calls, and `in_flight` holds the calls that have begun and not ended. `search` routes
//! reports of discovery and the outcomes of dials, and `introductions` spreads addresses.
//! `cut_peers` holds the peers that broke the rules, `expiry` ends counters whose time is over,
//! `isolation` cuts the node off on request, and `farewell` ends it.

mod cut_peers;
mod effects;
mod events;
mod expiry;
mod farewell;
mod in_flight;
mod introductions;
mod isolation;
mod run;
mod search;

use std::sync::Arc;
use std::time::Duration;

use counter_core::ExpiredBuckets;
use libp2p::Swarm;

use self::cut_peers::CutPeers;
use self::in_flight::InFlight;
use self::introductions::Introductions;
use super::address_book::AddressBook;
use super::incarnations::Incarnations;
use super::search::PeerSearch;
use super::sessions::{Processes, Sessions};
use crate::discovery::DiscoveryTasks;
use crate::network::{Behaviour, ProtocolNames};
use crate::shared::Shared;
pub(super) use run::DriverGuard;

/// One node's loop with everything it owns. Each part keeps its own invariant; this routes between
/// them.
pub(super) struct Driver {
    shared: Arc<Shared>,
    swarm: Swarm<Behaviour>,
    names: ProtocolNames,
    book: AddressBook,
    sessions: Sessions,
    processes: Processes,
    in_flight: InFlight,
    cut_peers: CutPeers,
    introductions: Introductions,
    search: PeerSearch,
    discovery_tasks: DiscoveryTasks,
    incarnations: Incarnations,
    /// When the replicator wants its next timer, on its clock.
    next_timer: Option<Duration>,
    next_sweep: Duration,
    /// When the next counter ends.
    next_expiry: Option<Duration>,
    /// Names of counters are new and not sorted yet. The loop sorts them when it has nothing else
    /// to do, so that a list need not.
    has_new_names: bool,
    /// How far the own cells of expired buckets are dropped.
    expired_buckets: ExpiredBuckets,
    /// True while the network is cut. `shared` holds the latest request.
    isolated: bool,
}
