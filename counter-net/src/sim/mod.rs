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
//! sim.cut(&nodes[..1], &nodes[1..]); // nothing gets from ord to the others any more
//! sim.add(nodes[0], "clicks", 2);
//! sim.run_for(Duration::from_secs(5));
//! sim.heal();
//! let took = sim.run_until_converged(Duration::from_secs(30))?;
//! assert_eq!(sim.total(nodes[2], "clicks"), 7);
//! println!("{took:?}, {} bytes", sim.cost().bytes());
//! # Ok::<(), counter_net::sim::Failure>(())
//! ```
//!
//! Everything is decided by [`SimConfig::seed`]: a run repeats exactly. The [`Truth`] keeps what
//! every writer ever did in plain integers; a node that shows more than a writer did is found at
//! the very step, and [`Sim::run_until_converged`] compares every node, key and writer with it.
//! [`Sim::cost`] says what it took. [`Chaos`] draws a whole story of faults from a seed, for tests
//! that run thousands.
//!
//! What is modelled: requests over connections that may be cut, one way too, and that break when
//! they stay cut; gossip over a mesh of a given degree, passed on after the node's own verdict,
//! lossy, duplicated, overtaking; slow nodes; clocks of any origin and rate, which may jump; crash
//! and restart, with and without the disk; the handshake of a new connection, dials that are
//! refused or not answered, peers that accept and stay silent, and a discovery that takes its time.
//! What is not: bandwidth.

mod chaos;
mod churn;
mod config;
mod cost;
mod dials;
mod faults;
mod host;
mod links;
mod mesh;
pub mod oracle;
mod queue;
mod sessions;
mod traffic;
mod truth;
mod world;

pub use chaos::Chaos;
pub use config::{Latency, Link, SimConfig};
pub use cost::Cost;
pub use truth::{Failure, Truth};
pub use world::Sim;
