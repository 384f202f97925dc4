//! Instructions of the hot paths, counted by callgrind: they do not drift with the machine.

use std::collections::BTreeMap;
use std::process::Command;

/// The hot paths of `benches hot`, with how many operations each does.
pub const HOT_PATHS: [(&str, u64); 5] = [("add", 100_000), ("join", 50), ("encode", 50), ("decode", 50), ("apply", 10_000)];

/// Instructions an operation of each path, what makes it ready taken off.
///
/// # Errors
/// A line that says how to get valgrind, where it is missing.
pub fn instructions() -> Result<BTreeMap<String, u64>, String> {
    const HOW: &str = "instruction counts: skipped; they need valgrind (Debian's package valgrind)";
    let count = |path: &str| count(path).ok_or(HOW);
    HOT_PATHS
        .iter()
        .map(|&(path, times)| Ok((path.to_owned(), count(path)?.saturating_sub(count(&format!("{path}-ready"))?) / times)))
        .collect()
}

fn count(path: &str) -> Option<u64> {
    let own = std::env::current_exe().ok()?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(own).args(["hot", path]);
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().find_map(|line| line.split("Collected : ").nth(1)?.trim().parse().ok())
}
