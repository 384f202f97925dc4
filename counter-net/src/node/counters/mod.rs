//! The counting part of the API: counters by name, their values, batches, windows and viewers.
//!
//! [`Counter`] is the handle of one counter. A [`CounterView`] is its state at one moment,
//! [`Counters`] lists all names, and a [`Window`] counts recent adds.

mod batch;
mod clearing;
mod counter;
mod expiry;
mod listing;
mod on_node;
mod view;
mod viewer;
mod window;

pub use batch::{AddedBatch, BatchError, BatchResult};
pub use counter::Counter;
pub use listing::{CounterTotal, Counters};
pub use view::{CounterView, RegionView};
pub use viewer::Viewer;
pub use window::{LimitCheck, Window};
