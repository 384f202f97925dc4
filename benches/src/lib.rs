//! The benchmark suite: our figures beside those of other crates and servers, on the same work,
//! with every answer checked.
//!
//! A [`Contender`] is one way to hold counters. A [`work`] is one thing to do with them, the same
//! for all contenders. The binary, the criterion benches and the separate workspace of peers all
//! measure through this library, so they all measure the same.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `contender` | ours, `crdts` twice, and the bounds of the machine |
//! | `shape` | the states of the work: how many regions and writers, with which values |
//! | `work` | W1 to W4 and the threads: what is timed, and which answer is right |
//! | `processors` | work that stays on one processor |
//! | `sample` | times of interleaved rounds: medians and spreads |
//! | `suite` | which works make up the tables, with what is required of them |
//! | `system` (feature) | the works with real processes, and the clients that they need |
//! | `report` | a whole run: JSON, page, tables, what is worse than in another |
//! | `row`, `table` | one work's figures of all contenders; ratios, and the text of a table |
//!
//! It does not judge the absolute figures of one run. The machine drifts, so only ratios within a
//! run count.

pub mod contender;
pub mod plot;
mod processors;
pub mod report;
pub mod row;
mod sample;
mod shape;
pub mod suite;
#[cfg(feature = "system")]
pub mod system;
pub mod table;
pub mod work;

pub use contender::Contender;
pub use row::Row;
pub use sample::{Sample, Series, Turn, interleave, interleave_pinned};
pub use shape::{Shape, Values};
