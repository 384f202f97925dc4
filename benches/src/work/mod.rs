//! The in-process workloads. Each file has the preparation, the timed part, and the check of the
//! answer.

mod add;
mod change;
mod join;
mod past;
mod read;
mod threads;

pub use add::{
    Adder, add_bare_atomic, add_by_handle, add_by_handle_of_another_thread, add_by_name,
    add_known_slot, add_to_each, heap_of_adds,
};
pub use change::{CHANGES, ChangeRounds, Changer, changes, changes_of};
pub use join::{Join, heap_of};
pub use past::{AfterPast, Past};
pub use read::{sum_of_all, total_of_one};
pub use threads::{Threads, threads_bare, threads_ours};

use std::time::Instant;

/// The time that `run` takes, in nanoseconds.
fn nanoseconds(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_nanos() as f64
}
