//! What each command does.

mod committed;
mod hot;
mod instructions;
#[cfg(feature = "system")]
mod report;
#[cfg(feature = "system")]
mod system;

use benches::row::Row;
use benches::suite::{self, Effort};
use benches::table;

pub(crate) use hot::hot;
pub(crate) use instructions::{check_instructions, count};

/// Prints rows; an answer of ours that is wrong fails.
fn show(rows: &[Row]) -> Result<(), String> {
    print!("{}", table::text(rows));
    match rows.iter().find(|row| row.ours().is_some_and(|ours| !ours.right)) {
        Some(row) => Err(format!("wrong: our answer in {:?}", row.work)),
        None => Ok(()),
    }
}

fn effort(quick: bool) -> Effort {
    if quick { Effort::QUICK } else { Effort::FULL }
}

/// The in-process work.
pub(crate) fn core(quick: bool) -> Result<(), String> {
    show(&suite::core(effort(quick), |part| eprintln!("· {part}")))
}

/// A work with processes; None where there is no such.
#[cfg(feature = "system")]
pub(crate) fn system(name: &str, quick: bool, keep: bool) -> Option<Result<(), String>> {
    system::run(name, quick, keep)
}

/// Without the feature there is only the in-process work.
#[cfg(not(feature = "system"))]
pub(crate) fn system(_name: &str, _quick: bool, _keep: bool) -> Option<Result<(), String>> {
    Some(Err("this was built without the feature `system`: only core, hot, count and check-instructions are here".into()))
}
