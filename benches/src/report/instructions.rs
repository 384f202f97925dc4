//! Instructions of the hot paths, counted by callgrind. They do not drift with the machine.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The hot paths of `benches hot`, the longest first, each with its number of operations.
///
/// The name of a join gives its regions. Adds go to 32 counters, and all other paths use 1,000
/// regions or counters. Hash tables are seeded at random, so the preparation varies between runs.
/// Short paths have many operations, so that this stays far below the limit of 2 %.
pub const HOT_PATHS: [(&str, u64); 13] = [
    ("join-20000", 15),
    ("add-by-name", 100_000),
    ("add-by-handle", 100_000),
    ("join-32", 2_000),
    ("join-1000", 50),
    ("join-nothing-new", 50_000),
    ("encode", 50),
    ("decode", 50),
    ("join-decoded", 50),
    ("produce", 10_000),
    ("apply", 10_000),
    ("total", 100_000),
    ("read-all", 100),
];

/// Instructions for one operation of each path, less the preparation. Counts do not depend on the
/// load of the machine, so as many paths run at once as there are processors.
///
/// # Errors
/// If valgrind is missing, a line that says how to get it.
pub fn instructions() -> Result<BTreeMap<String, u64>, String> {
    const HOW_TO_GET: &str =
        "instruction counts: skipped; they need valgrind (Debian's package valgrind)";
    let (next, counts) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || -> Option<()> {
        while let Some((path, times)) = HOT_PATHS.get(next.fetch_add(1, Ordering::Relaxed)) {
            let each = count(path)?.saturating_sub(count(&format!("{path}-ready"))?) / times;
            counts.lock().ok()?.insert((*path).to_owned(), each);
        }
        Some(())
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let done = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        workers.into_iter().all(|worker| matches!(worker.join(), Ok(Some(()))))
    });
    counts.into_inner().ok().filter(|_| done).ok_or_else(|| HOW_TO_GET.into())
}

fn count(path: &str) -> Option<u64> {
    let own = std::env::current_exe().ok()?;
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--read-inline-info=no"])
        .arg(own)
        .args(["hot", path]);
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().find_map(|line| line.split("Collected : ").nth(1)?.trim().parse().ok())
}
