//! Nodes and what lies between them: latency, distance, loss, and the bytes of replication.

#[path = "../../../../counter-web/tests/support/network/apart.rs"]
mod apart;
#[path = "../../../../counter-web/tests/support/network/distance.rs"]
mod distance;
mod far;
mod hosts;
mod latency;
#[allow(dead_code)]
#[path = "../../../../counter-net/tests/cluster/name_server.rs"]
mod name_server;
mod traffic;

pub use far::{Far, FarOutcome, ROUND_TRIP, Times, far, far_inside};
pub use hosts::{Hosts, LOSS, OUTAGE, hosts, hosts_inside};
pub use latency::latency;
pub use traffic::{click_bytes, idle};
