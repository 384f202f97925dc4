//! Anti-entropy: finds what gossip lost and fetches it.
//!
//! Once a round a node compares hashes with one random peer. Where they differ the two exchange
//! digests, and each pulls what it lacks, page by page and each writer from one peer at a time.
//! [`Peers`] holds what every connected peer was heard to hold, [`Pulls`] the pulls in flight.
//!
//! What pulls bring takes effect as one step, see [`CatchUp`].
//!
//! A node with a data directory promises only what is on its disk. [`Commits`] knows what that is,
//! and keeps the requests that wait for a commit.

mod answers;
mod catch_up;
mod commits;
mod digests;
mod open_requests;
mod peers;
mod pulls;
mod requests;
mod rounds;
mod serve;

pub(super) use catch_up::CatchUp;
pub(super) use commits::Commits;
pub(super) use open_requests::{Asked, OpenRequests};
pub(super) use peers::{ConnectedPeer, Peers};
pub(super) use pulls::Pulls;
