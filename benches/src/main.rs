//! The command line of the suite: which table to make.

use std::process::ExitCode;

use benches::suite::{Effort, core};
use benches::table;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let full = arguments.iter().any(|argument| argument == "--full");
    let effort = if full { Effort::FULL } else { Effort::QUICK };
    let rows = core(effort, |part| eprintln!("· {part}"));
    print!("{}", table::text(&rows));
    let wrong = rows.iter().flat_map(|row| row.ours()).any(|ours| !ours.right);
    if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
