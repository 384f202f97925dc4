//! Instructions of the hot paths, counted by callgrind: they do not drift with the machine.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The hot paths of `benches hot`, with how many operations each does: joins by regions, the others
/// of 1,000 regions or counters, but adds, which go to 32. The longest come first. Short ones are
/// done so often that what makes ready, whose hash tables are seeded by chance, differs by far less
/// than the 2 % that are judged.
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

/// Instructions an operation of each path, what makes it ready taken off. As many at once as there
/// are processors: what is counted does not depend on who else runs.
///
/// # Errors
/// A line that says how to get valgrind, where it is missing.
pub fn instructions() -> Result<BTreeMap<String, u64>, String> {
    const HOW: &str = "instruction counts: skipped; they need valgrind (Debian's package valgrind)";
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
    counts.into_inner().ok().filter(|_| done).ok_or_else(|| HOW.into())
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
