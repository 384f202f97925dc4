//! The driver: one loop that owns the network and feeds the replicator, local work first.
//!
//! `start` builds everything, what is shared with the handles too (`crate::shared`), and hands over
//! to the loop in `engine`; `network` turns what happens on the network into inputs, `effects`
//! turns the replicator's outputs into network calls; `incarnation` begins, `predecessors` settles
//! what came before; `book` knows whom to dial and why a dial failed (`cause`), `search` tells the
//! replicator what looking for peers has come to, `contacts` who is there, `introductions` spreads
//! addresses, `processes` tells two processes under one identity apart, `isolation` cuts this node
//! from all others and heals that, `codec` frames requests.

mod addresses;
mod book;
mod cause;
mod codec;
mod contacts;
mod departed;
mod effects;
mod engine;
mod farewell;
mod incarnation;
mod introductions;
mod isolation;
mod network;
mod predecessors;
mod processes;
mod search;
mod start;

pub(crate) use codec::BoundedCodec;
pub(crate) use processes::agent_version;
pub(crate) use start::start;
