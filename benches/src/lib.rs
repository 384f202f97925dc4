//! The benchmark suite: our figures beside those of other crates and servers, on the same
//! workloads, with every answer checked.
//!
//! A [`Contender`] is one way to hold counters. A workload ([`work`]) is one thing to do with them,
//! the same for all contenders. The binary, the criterion benches and the separate workspace of
//! peers all measure through this library, so they all measure the same.
//!
//! | module | contents |
//! | --- | --- |
//! | `contender` | ours, `crdts` twice, and the bounds of the machine |
//! | `shape` | the states that workloads run on: regions, writers and values |
//! | `work` | the in-process workloads, W1 to W4 and the threads, with their right answers |
//! | `processors` | keeping a measurement on one processor |
//! | `sample` | times of interleaved rounds: medians and spreads |
//! | `suite` | the rows: which workloads are measured, and the requirements on ours |
//! | `system` (feature) | the workloads with real processes, and their clients |
//! | `report` | a whole run as JSON, page and tables, and its comparison with another |
//! | `figures` | the figures of all contenders for one workload; ratios, curves, and tables as text |
//!
//! Absolute figures of one run are not judged. The machine drifts, so only ratios within a run
//! count.
//!
//! **A new row in process** starts with its timed part in `work`, and becomes a row in
//! `suite/joins.rs` or `suite/others.rs`. **A new row with processes** starts in `system`, and
//! becomes a row in `suite/system`. If it is a command of its own, it also needs an arm in
//! `command/system.rs` and in `command/report.rs`, and a line in the usage text of `main.rs`. The
//! prefix of its id chooses its section in `report/page/html.rs`, and `TABLE` in
//! `report/markdown.rs` lists the rows of docs/performance.md.
//!
//! **A new peer** in process implements [`Contender`] and joins the lists in `suite`. A crate that
//! must not enter this lock file goes into the workspace `benches/peers`. A server goes beside
//! `system/redis.rs`, or into `Server` of `system/fan_out.rs`. `report/page/looks.rs` gives it a
//! colour.

pub mod contender;
pub mod figures;
mod processors;
pub mod report;
mod sample;
mod shape;
pub mod suite;
#[cfg(feature = "system")]
pub mod system;
pub mod work;

pub use contender::Contender;
pub use figures::row::Row;
pub use sample::{Sample, Series, Turn, interleave, interleave_pinned};
pub use shape::{Shape, Values};
