//! The workloads with real processes of the built binary, over real sockets.
//!
//! Each workload has a file, and `suite::system` turns its result into rows. Those of nodes with a
//! directory are in `disk`, those of distance, loss and bytes between nodes in `network`. All share
//! the nodes, clients and private networks of `harness`.

mod add_rate;
mod disk;
mod fan_out;
mod fresh;
mod harness;
mod million;
mod network;
mod redis;
#[cfg(feature = "sim")]
mod simulated;

pub use add_rate::{
    AddRates, BATCH, BATCH_CLIENTS, BATCH_COUNTERS, CLIENTS, Rates, WINDOW, add_rates,
};
pub use disk::{
    COMMITTERS, DurableLoad, DurableRates, LOAD_BATCH, LOAD_SOCKETS, MillionOnDisk, durable,
    durable_load, million_on_disk, recovery,
};
pub use fan_out::{Crowd, FanOut, Server, crowd, fan_out};
pub use fresh::fresh;
pub use harness::quantiles::Quantiles;
pub use harness::raw_server::raw_write_loop;
pub use million::{Million, million, million_inside};
pub use network::{
    Far, FarOutcome, Hosts, LOSS, OUTAGE, ROUND_TRIP, Times, click_bytes, far, far_inside, hosts,
    hosts_inside, idle, latency,
};
pub use redis::{Redis, RedisLoad, Trip};
#[cfg(feature = "sim")]
pub use simulated::{
    MANY, MANY_LATENCY, MANY_LOSS, Size, clicks_at_many, clicks_under_loss, cluster_of,
    healed_partitions,
};

use std::fmt;

/// Why a workload could not be measured, in a sentence. It begins with `wrong:` if an answer was
/// wrong.
#[derive(Debug)]
pub struct MeasureFailure(pub String);

impl fmt::Display for MeasureFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl MeasureFailure {
    /// True if an answer was wrong, rather than something missing or broken. The report then shows
    /// the contender as wrong.
    pub fn is_wrong(&self) -> bool {
        self.0.starts_with("wrong:")
    }
}

impl std::error::Error for MeasureFailure {}

impl From<std::io::Error> for MeasureFailure {
    fn from(error: std::io::Error) -> Self {
        Self(format!("a connection to a node broke: {error}"))
    }
}

/// The result of a workload with processes.
pub type Measured<T> = Result<T, MeasureFailure>;
