//! `report` and `check`: everything, with a line of progress.

use std::path::Path;

use benches::report::{Machine, Report, add_peers, between_markers, compare, html, instructions, markdown, readme};
use benches::suite::{self, CORE_PARTS, system};
use benches::table;
use tokio::runtime::Runtime;

use super::effort;

const FOLDER: &str = "target/report";
const COMMITTED: &str = "benches/report.json";

/// A bar on standard error that says what runs now.
struct Progress {
    done: usize,
    all: usize,
}

impl Progress {
    fn tell(&mut self, name: &str) {
        const WIDTH: usize = 24;
        let full = self.done * WIDTH / self.all;
        self.done += 1;
        let (done, empty) = ("█".repeat(full), "░".repeat(WIDTH - full));
        eprintln!("{done}{empty} {:2}/{} {name}", self.done, self.all);
    }
}

fn measure(runtime: &Runtime, quick: bool) -> Report {
    let mut progress = Progress { done: 0, all: CORE_PARTS + 7 };
    let mut report = Report {
        machine: Machine::here(),
        quick,
        rows: suite::core(effort(quick), |part| progress.tell(part)),
        curves: Vec::new(),
        instructions: Default::default(),
        skipped: vec![
            "Redis INCR, node ws: figures marked * come from an earlier run on another machine of 2 cores".into(),
            "Phoenix.Tracker, delta_crdt_ex: figures marked * likewise, with their defaults".into(),
        ],
    };
    progress.tell("peers with a workspace of their own");
    if let Err(line) = add_peers(&mut report.rows, quick) {
        report.skipped.push(line);
    }
    for name in ["latency", "fresh", "adds", "fanout", "traffic"] {
        progress.tell(name);
        match runtime.block_on(part(name, quick)) {
            Ok(part) => {
                report.rows.extend(part.rows);
                report.curves.extend(part.curves);
            }
            Err(failure) => report.skipped.push(format!("{name}: {failure}")),
        }
    }
    progress.tell("instructions of the hot paths");
    match instructions() {
        Ok(counts) => report.instructions = counts,
        Err(line) => report.skipped.push(line),
    }
    report
}

async fn part(name: &str, quick: bool) -> benches::system::Measured<system::Part> {
    match name {
        "latency" => system::latency(quick).await,
        "fresh" => system::fresh(quick).await,
        "adds" => system::adds(quick).await,
        "fanout" => system::fan_out(quick).await,
        _ => system::traffic(quick).await,
    }
}

/// Measures everything and writes the report; with `keep`, also as the committed one and into the README's table.
pub(super) fn report(runtime: &Runtime, quick: bool, keep: bool) -> Result<(), String> {
    let report = measure(runtime, quick);
    std::fs::create_dir_all(FOLDER).map_err(|error| format!("{FOLDER} cannot be made: {error}"))?;
    let json = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
    write(format!("{FOLDER}/index.html"), &html(&report))?;
    write(format!("{FOLDER}/report.json"), &json)?;
    write(format!("{FOLDER}/table.md"), &markdown(&report))?;
    if keep {
        write(COMMITTED, &(json + "\n"))?;
        put_into_readme(&report)?;
    }
    print!("{}", table::text(&report.rows));
    report.instructions.iter().for_each(|(path, count)| println!("{path}: {count} instructions an operation"));
    report.skipped.iter().for_each(|line| println!("- {line}"));
    println!("\nthe page: {FOLDER}/index.html");
    Ok(())
}

fn put_into_readme(report: &Report) -> Result<(), String> {
    let text = std::fs::read_to_string("README.md").map_err(|error| format!("README.md cannot be read: {error}"))?;
    match between_markers(&text, &readme(report)) {
        Some(text) => write("README.md", &text),
        None => Err("README.md has no markers for the table: it was left alone".into()),
    }
}

/// The committed report.
fn committed() -> Result<Report, String> {
    let text =
        std::fs::read_to_string(COMMITTED).map_err(|error| format!("{COMMITTED} cannot be read: {error}; `report --keep` makes it"))?;
    serde_json::from_str(&text).map_err(|error| format!("{COMMITTED}: {error}"))
}

/// Puts the committed report's table into the README again: after a change of its form.
pub(super) fn table_again() -> Result<(), String> {
    put_into_readme(&committed()?)
}

/// Measures again and names what is worse than in the committed report.
pub(super) fn check(runtime: &Runtime) -> Result<(), String> {
    let text =
        std::fs::read_to_string(COMMITTED).map_err(|error| format!("{COMMITTED} cannot be read: {error}; `report --keep` makes it"))?;
    let before: Report = serde_json::from_str(&text).map_err(|error| format!("{COMMITTED}: {error}"))?;
    let worse = compare(&before, &measure(runtime, true));
    if worse.is_empty() {
        println!("nothing is worse than in the report of commit {}", before.machine.commit);
        return Ok(());
    }
    let lines: Vec<String> =
        worse.iter().map(|worse| format!("worse: {}, {:.2} times (noise ends at {:.2})", worse.work, worse.times, worse.noise)).collect();
    Err(lines.join("\n"))
}

/// Only the instruction counts against the committed ones: what CI runs.
pub(super) fn check_instructions() -> Result<(), String> {
    let before = committed()?;
    let counts = match instructions() {
        Ok(counts) => counts,
        Err(line) => {
            println!("SKIPPED {line}");
            return Ok(());
        }
    };
    let mut now = Report { rows: Vec::new(), instructions: counts, ..before.clone() };
    now.curves.clear();
    now.instructions
        .iter()
        .for_each(|(path, count)| println!("{path}: {count} instructions, committed {:?}", before.instructions.get(path)));
    match compare(&before, &now).as_slice() {
        [] => Ok(()),
        worse => Err(worse.iter().map(|worse| format!("worse: {}, {:.3} times", worse.work, worse.times)).collect::<Vec<_>>().join("\n")),
    }
}

fn write(path: impl AsRef<Path>, text: &str) -> Result<(), String> {
    let path = path.as_ref();
    std::fs::write(path, text).map_err(|error| format!("{} cannot be written: {error}", path.display()))
}
