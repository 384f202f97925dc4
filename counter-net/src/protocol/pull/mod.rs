//! Anti-entropy: finds what gossip lost and fetches it.
//!
//! Once a round a node compares hashes with one random peer. Where they differ the two exchange
//! digests, and each pulls what it lacks, page by page and each writer from one peer at a time.
//! [`DigestExchange`] sends the digests. [`AntiEntropy`] is the machine that decides which writers
//! are pulled from which peer.
//!
//! Pulled cells take effect in one step; see the module `catch_up`.

mod catch_up;
mod exchange;
mod machine;
mod peer_pull;

pub(super) use exchange::{ASKED_AT_ONCE_MAX, DigestExchange};
pub(super) use machine::AntiEntropy;
