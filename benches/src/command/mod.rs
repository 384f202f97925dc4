//! The commands of the binary. `system` runs those that need processes or read a report; the
//! others need only this program.

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

use benches::figures::row::Row;
use benches::figures::table;
use benches::suite::{self, Effort};

pub(crate) use hot::hot;
pub(crate) use instructions::{check_instructions, count};

/// The flags of a command.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "system"), allow(dead_code))]
pub(crate) struct Flags {
    /// Run fewer rounds, and leave out the largest states of the slowest peers.
    pub(crate) quick: bool,
    /// Make the figures the committed ones.
    pub(crate) keep: bool,
    /// Everything was built just now, and this program was started again for it.
    pub(crate) built: bool,
}

/// Prints rows. Fails if an answer of ours is wrong.
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

/// Runs the in-process workloads.
pub(crate) fn core(quick: bool) -> Result<(), String> {
    show(&suite::core(effort(quick), |part| eprintln!("· {part}")))
}

/// Runs a workload with processes, or a command on reports. `None` if there is no such command.
#[cfg(feature = "system")]
pub(crate) fn system(name: &str, file: Option<&str>, flags: Flags) -> Option<Result<(), String>> {
    system::run(name, file, flags)
}

/// Without the feature `system` there are only the in-process workloads.
#[cfg(not(feature = "system"))]
pub(crate) fn system(
    _name: &str,
    _file: Option<&str>,
    _flags: Flags,
) -> Option<Result<(), String>> {
    Some(Err("this was built without the feature `system`: only core, hot, count and check-instructions are here".into()))
}
