//! The command line of the suite.

mod command;

use std::process::ExitCode;

const USAGE: &str = "benches COMMAND [--quick]

  core      the in-process work as a table: adds, joins, bytes, heaps, changes, reads, threads
  latency   an add at one node until the two others show it
  fresh     a fresh process until it is synced
  million   a node with 1,000,000 counters: bytes of each, and how soon a fresh process has them
  disk      the same node with a directory: how soon it starts from that, and durable adds during a checkpoint
  traffic   bytes of a click with 32 regions, and of ten idle nodes
  adds      adds a second through HTTP, WebSocket and handle, one by one and in batches, beside Redis
  redis     a single add that its caller knows is counted: by handle, and by a round trip to Redis
  durable   durable adds a second with 1 to 64 committers, beside redb and the disk
  load      three nodes with directories under durable adds with ids, in batches of 50 over sockets
  recovery  a node killed and started again from its directory, until it is synced and exact
  simulated clusters of many nodes, loss and partitions in virtual time (with --features sim)
  many      a click at all of 800 simulated nodes (with --features sim; minutes)
  fanout    one node, 1,000 WebSocket clients, beside node's ws and a bare loop of writes
  crowd     one node, 10,000 WebSocket clients, beside the same; 10,000 idle ones; some that never read
  hosts     three nodes, each in a network namespace: clicks under loss, and after a pulled cable (as root)
  far       nodes 200 ms from each other, in a network namespace: a fresh one, a click, and when its node knows that all hold it
  report    builds the node and this program, measures all of that, into target/report (index.html, report.json, table.md); with --keep also as the
            committed report and in the documents
  page [FILE]    the page again, from a report.json, or from the committed one
  table     the figures in README.md and docs/performance.md again, from the committed report
  check [FILE]   measures again and names what is worse than in the committed report; what looks worse is measured twice. With FILE, a report.json
            that was written before is compared, and nothing is measured
  count     instructions of the hot paths, by valgrind; with --keep also into the committed report
  check-instructions   counts them, and names what takes more than in the committed report: what CI runs
  hot PATH  one hot path alone, for a profiler; without a right one it lists them

The system work spawns the node's binary. It must lie beside this one, or be named in COUNTER_WEB.
`report` and `check` build it. For the other commands:
  cargo build --release -p counter-web -p benches --features benches/sim";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let flags =
        command::Flags { quick: has("--quick"), keep: has("--keep"), built: has("--built") };
    let words: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let outcome = match words.as_slice() {
        ["core"] => command::core(flags.quick),
        ["count"] => command::count(flags.keep),
        ["check-instructions"] => command::check_instructions(),
        ["hot", path] => command::hot(path),
        [name, file @ ..] if file.len() < 2 || *name == "hosts-inside" => {
            command::system(name, file.first().copied(), flags).unwrap_or_else(|| {
                Err(format!("there is no {:?} here\n\n{USAGE}", words.join(" ")))
            })
        }
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
