//! The network below the protocol: names, transport and libp2p behaviours.
//!
//! [`Behaviour`] combines gossip, requests, identify and ping within their limits. `transport`
//! makes encrypted connections and reports why one failed. `resolve` looks up names at each dial.

mod agent;
mod behaviour;
mod codec;
pub(crate) mod resolve;
pub(crate) mod transport;

#[cfg(test)]
pub(crate) use agent::agent_version;
pub(crate) use agent::started_as;
pub(crate) use behaviour::{Behaviour, BehaviourEvent, ProtocolNames, limits, node_id};
pub(crate) use codec::TOO_LONG;
