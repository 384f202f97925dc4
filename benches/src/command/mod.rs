//! What each command does.

#[cfg(feature = "system")]
mod build;
#[cfg(feature = "system")]
mod check;
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

/// What stands behind a command's name.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "system"), allow(dead_code))]
pub(crate) struct Flags {
    /// Fewer rounds, and the slowest peers' largest states left out.
    pub(crate) quick: bool,
    /// The figures become the committed ones.
    pub(crate) keep: bool,
    /// What is measured was built just now: this program was started anew for it.
    pub(crate) built: bool,
}

/// Prints rows; an answer of ours that is wrong fails.
fn show(rows: &[Row]) -> Result<(), String> {
    print!("{}", table::text(rows));
    all_right(rows)
}

fn all_right(rows: &[Row]) -> Result<(), String> {
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

/// A work with processes, or what is done with reports; None where there is no such.
#[cfg(feature = "system")]
pub(crate) fn system(name: &str, file: Option<&str>, flags: Flags) -> Option<Result<(), String>> {
    system::run(name, file, flags)
}

/// Without the feature there is only the in-process work.
#[cfg(not(feature = "system"))]
pub(crate) fn system(
    _name: &str,
    _file: Option<&str>,
    _flags: Flags,
) -> Option<Result<(), String>> {
    Some(Err("this was built without the feature `system`: only core, hot, count and check-instructions are here".into()))
}
