//! Dispatch of the commands that need processes or read a report: one workload as a table,
//! `report`, `page`, `table` and `check`.

use benches::suite::system;
use benches::system as system_work;

use super::build::build;
use super::check::{check, check_file};
use super::report::{page_again, report, table_again};
use super::{Flags, show};

/// Runs the command `name`. `None` if there is no such command.
pub(super) fn run(name: &str, file: Option<&str>, flags: Flags) -> Option<Result<(), String>> {
    let Flags { quick, keep, built } = flags;
    match (name, file) {
        ("table", None) => return Some(table_again()),
        ("page", path) => return Some(page_again(path)),
        ("check", Some(path)) => return Some(check_file(path)),
        ("hosts-inside" | "far-inside" | "million-inside", Some(_)) => {}
        (_, Some(_)) => return None,
        ("report" | "check", None) if !built => build(),
        _ => {}
    }
    raise_file_limit();
    let mut builder = match name {
        "raw-write-loop" => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Some(Err(error.to_string())),
    };
    match name {
        "hosts-inside" => {
            let arguments: Vec<String> = std::env::args().skip(2).collect();
            return Some(
                runtime
                    .block_on(system_work::hosts_inside(&arguments))
                    .map_err(|failure| failure.to_string()),
            );
        }
        "far-inside" => {
            let times = file.unwrap_or_default();
            return Some(
                runtime
                    .block_on(system_work::far_inside(times))
                    .map_err(|failure| failure.to_string()),
            );
        }
        "million-inside" => {
            let counters = file.unwrap_or_default();
            return Some(
                runtime
                    .block_on(system_work::million_inside(counters))
                    .map_err(|failure| failure.to_string()),
            );
        }
        "raw-write-loop" => {
            return Some(
                runtime
                    .block_on(system_work::raw_write_loop())
                    .map_err(|failure| failure.to_string()),
            );
        }
        "report" => return Some(report(&runtime, quick, keep)),
        "check" => return Some(check(&runtime)),
        _ => {}
    }
    let rows = runtime.block_on(async {
        Some(match name {
            "latency" => system::latency(quick).await,
            "million" => system::million().await,
            "disk" => system::million_on_disk(quick).await,
            "load" => system::durable_load(quick).await,
            "fresh" => system::fresh(quick).await,
            "traffic" => system::traffic(quick).await,
            "adds" => system::adds(quick).await,
            "redis" => system::round_trips(quick).await,
            "durable" => system::durable(quick).await,
            "recovery" => system::recovery(quick).await,
            "hosts" => system::hosts(quick).await,
            "far" => system::far(quick).await,
            #[cfg(feature = "sim")]
            "simulated" => system::simulated(quick).await,
            #[cfg(feature = "sim")]
            "many" => system::many(quick),
            "fanout" => system::fan_out(quick).await,
            "crowd" => system::crowd(quick).await,
            _ => return None,
        })
    })?;
    Some(rows.map_err(|failure| failure.to_string()).and_then(|part| {
        part.skipped.iter().for_each(|line| eprintln!("- {line}"));
        show(&part.rows)
    }))
}

/// Raises the limit of open files, because thousands of sockets need thousands of them. If that is
/// refused, the workload that lacks files fails with its own error.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _raised =
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
