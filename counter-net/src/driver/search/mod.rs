//! The search for peers: which discovery methods and dialled members have yet to answer.
//!
//! [`PeerSearch`] tracks them, and knows when a node has heard from all. `search_log` writes the
//! log lines about peers that are reached or not, and bounds how many there are.

mod peer_search;
mod search_log;

pub(super) use peer_search::PeerSearch;
