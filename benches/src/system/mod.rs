//! The workloads with real processes of the built binary, over real sockets.
//!
//! Each workload has a file, and `suite::system` turns its result into rows. The workloads share a
//! node (`process`), cheap clients (`socket`, `http`, `redis`) and private networks (`lab` for
//! separate hosts, `apart` with `distance` for far ones).

mod add_rate;
#[path = "../../../counter-web/tests/support/network/apart.rs"]
mod apart;
#[path = "../../../counter-web/tests/support/network/distance.rs"]
mod distance;
mod durable;
mod durable_cluster;
mod fan_out;
mod far;
mod fresh;
mod harness;
mod hosts;
mod latency;
mod million;
mod million_on_disk;
#[allow(dead_code)]
#[path = "../../../counter-net/tests/cluster/name_server.rs"]
mod name_server;
mod recovery;
mod redis;
#[cfg(feature = "sim")]
mod simulated;
mod traffic;

pub use add_rate::{
    AddRates, BATCH, BATCH_CLIENTS, BATCH_COUNTERS, CLIENTS, Rates, WINDOW, add_rates,
};
pub use durable::{DurableRates, durable};
pub use durable_cluster::{DurableLoad, LOAD_BATCH, LOAD_SOCKETS, durable_load};
pub use fan_out::{Crowd, FanOut, Server, crowd, fan_out};
pub use far::{Far, FarOutcome, ROUND_TRIP, Times, far, far_inside};
pub use fresh::fresh;
pub use harness::quantiles::Quantiles;
pub use harness::raw_server::raw_write_loop;
pub use hosts::{Hosts, LOSS, OUTAGE, hosts, hosts_inside};
pub use latency::latency;
pub use million::{Million, million, million_inside};
pub use million_on_disk::{COMMITTERS, MillionOnDisk, million_on_disk};
pub use recovery::recovery;
pub use redis::{Redis, RedisLoad, Trip};
#[cfg(feature = "sim")]
pub use simulated::{
    MANY, MANY_LATENCY, MANY_LOSS, Size, clicks_at_many, clicks_under_loss, cluster_of,
    healed_partitions,
};
pub use traffic::{click_bytes, idle};

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
