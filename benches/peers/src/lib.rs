//! automerge, loro and yrs as contenders of the benchmark suite.

pub mod automerge_doc;
pub mod loro_doc;
pub mod yrs_doc;
