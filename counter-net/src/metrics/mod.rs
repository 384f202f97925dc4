//! A node's metrics: the counts it keeps, the collector that reads them, and the two text formats.
//!
//! The driver and the counters count events in [`EventCounts`] as they happen. [`NodeCollector`]
//! adds gauges read from the state at the time of a scrape. [`MetricsFormat`] writes any registry
//! as Prometheus text or as OpenMetrics.

mod collector;
mod counts;
mod format;

pub(crate) use collector::NodeCollector;
pub(crate) use counts::EventCounts;
pub use format::MetricsFormat;
