//! The command line of the suite.

mod command;

use std::process::ExitCode;

const USAGE: &str = "benches COMMAND [--quick]

  core      the in-process work as a table: adds, joins, bytes, heaps, changes, reads, threads
  latency   an add at one node, seen at the two others
  fresh     a fresh process, until it is synced
  million   a node with 1,000,000 counters: bytes each, and how soon a fresh process has them
  traffic   bytes of a click with 32 regions, and of ten idle nodes
  adds      adds a second through HTTP, WebSocket and handle, beside Redis
  redis     one add that its caller knows is counted: by handle, and by a round trip to Redis
  durable   durable adds a second with 1 to 64 that wait, beside redb and the disk
  recovery  a node killed and started again from its directory, until it is synced and exact
  simulated clusters of many nodes, loss and partitions in virtual time (with --features sim)
  fanout    one node, 1,000 WebSocket clients, beside node's ws and a bare loop of writes; 10,000 idle ones; some that never read
  report    all of that, into target/report (index.html, report.json, table.md); with --keep also as the committed report and README's table
  table     README's table again, from the committed report
  check     measures again and names what is worse than in the committed report; what looks worse is measured twice
  count     instructions of the hot paths, by valgrind; with --keep also into the committed report
  check-instructions   counts them, and names what takes more than in the committed report: what CI runs
  hot PATH  one hot path alone, for a profiler: add, join, encode, decode, apply

The system work spawns the node's binary, which lies beside this one, or is named in COUNTER_WEB. Build both at once:
  cargo build --release -p counter-web -p benches --features benches/sim && target/release/benches report --quick";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let keep = arguments.iter().any(|argument| argument == "--keep");
    let words: Vec<&str> = arguments.iter().map(String::as_str).filter(|argument| !argument.starts_with("--")).collect();
    let outcome = match words.as_slice() {
        ["core"] => command::core(quick),
        ["count"] => command::count(keep),
        ["check-instructions"] => command::check_instructions(),
        ["hot", path] => command::hot(path),
        [name] => command::system(name, quick, keep).unwrap_or_else(|| Err(format!("there is no {name:?} here\n\n{USAGE}"))),
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
