//! Builds the node and this program from the checkout before a measurement, so that no old binary
//! is measured.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Builds both into this program's own directory, with the simulator, and restarts this program.
/// Returns only if that fails. The existing binaries are then measured, and a line on standard
/// error says so.
pub(super) fn build() {
    match build_and_start() {
        Ok(never) => match never {},
        Err(why) => {
            eprintln!("· not built, so the binaries beside this program are measured: {why}")
        }
    }
}

fn build_and_start() -> Result<std::convert::Infallible, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = own.parent().filter(|folder| folder.file_name() == Some(OsStr::new("release")));
    let target = folder
        .and_then(Path::parent)
        .ok_or("this program is not in a release folder of cargo's")?;
    if std::env::var_os("COUNTER_WEB").is_some() {
        return Err("COUNTER_WEB names the node".into());
    }
    eprintln!("· cargo build --release -p counter-web -p benches --features benches/sim");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--quiet",
        "--release",
        "--locked",
        "-p",
        "counter-web",
        "-p",
        "benches",
        "--features",
        "benches/sim",
    ]);
    command.arg("--target-dir").arg(target);
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("cargo build ended with {status}")),
        Err(error) => return Err(format!("cargo does not start: {error}")),
    }
    // `exec` returns only if it fails.
    Err(Command::new(&own).args(std::env::args_os().skip(1)).arg("--built").exec().to_string())
}
