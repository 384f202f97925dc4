//! The works with processes, each as a table of its own, and the report of everything.

use benches::suite::system;

use super::report::{check, check_instructions, report, table_again};
use super::show;

/// Runs one by its name; None where there is no such.
pub(super) fn run(name: &str, quick: bool, keep: bool) -> Option<Result<(), String>> {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Some(Err(error.to_string())),
    };
    match name {
        "report" => return Some(report(&runtime, quick, keep)),
        "table" => return Some(table_again()),
        "check" => return Some(check(&runtime)),
        "check-instructions" => return Some(check_instructions()),
        _ => {}
    }
    let rows = runtime.block_on(async {
        Some(match name {
            "latency" => system::latency(quick).await,
            "fresh" => system::fresh(quick).await,
            "traffic" => system::traffic(quick).await,
            "adds" => system::adds(quick).await,
            "fanout" => system::fan_out(quick).await,
            _ => return None,
        })
    })?;
    Some(rows.map_err(|failure| failure.to_string()).and_then(|part| show(&part.rows)))
}
