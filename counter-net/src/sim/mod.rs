//! Whole clusters in one thread and virtual time: the real replicator and the real lattice over
//! simulated links, from one seed.
//!
//! ```
//! use std::time::Duration;
//! use counter_net::sim::{Sim, SimConfig};
//!
//! let mut sim = Sim::new(SimConfig { seed: 7, ..SimConfig::default() });
//! let nodes = [sim.start("ord"), sim.start("fra"), sim.start("sin")];
//! sim.connect_all();
//! sim.add(nodes[0], "clicks", 5);
//! sim.cut(&nodes[..1], &nodes[1..]); // ord and the others no longer reach each other
//! sim.add(nodes[0], "clicks", 2);
//! sim.run_for(Duration::from_secs(5));
//! sim.heal();
//! let took = sim.run_until_converged(Duration::from_secs(30))?;
//! assert_eq!(sim.total(nodes[2], "clicks"), 7);
//! println!("{took:?}, {} bytes", sim.cost().bytes());
//! # Ok::<(), counter_net::sim::Failure>(())
//! ```
//!
//! [`SimConfig::seed`] decides everything, so a run repeats exactly. The [`Truth`] keeps what every
//! writer did, in plain integers. A node that shows more than a writer made is caught at that very
//! step, and [`Sim::run_until_converged`] compares every node, key and writer with it.
//! [`Sim::cost`] returns what a run cost. [`Chaos`] draws a story of faults from a seed. [`oracle`]
//! does too, and knows the fate of each single add.
//!
//! The simulator models:
//! - requests over connections, which may be cut in one or both directions and break if they stay
//!   cut;
//! - gossip over a mesh of a given degree, passed on after the node's own validation, which gets
//!   lost, is duplicated and overtakes;
//! - slow nodes, and clocks of any origin and rate, which may jump;
//! - crashes, and restarts with and without the disk;
//! - the handshake of a new connection, dials that are refused or not answered, peers that accept
//!   and stay silent, and a discovery that takes its time.
//!
//! It does not model bandwidth.

mod chaos;
mod cluster;
mod config;
mod cost;
mod network;
pub mod oracle;
mod truth;

pub use chaos::Chaos;
pub use cluster::Sim;
pub use config::{Latency, Link, SimConfig};
pub use cost::Cost;
pub use truth::{Failure, Truth};
