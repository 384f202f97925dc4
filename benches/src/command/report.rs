//! `report` and `check`: everything, with a line of progress.

use benches::report::{Machine, Report, add_peers, between_markers, compare, confirmed, html, instructions, markdown, readme};
use benches::suite::{self, CORE_PARTS, system};
use benches::table;
use tokio::runtime::Runtime;

use super::committed::{COMMITTED, committed, json, write};
use super::effort;

const FOLDER: &str = "target/report";

/// The works with processes, in the order of the report.
const SYSTEM_PARTS: [&str; 10] = ["latency", "fresh", "recovery", "redis", "adds", "durable", "fanout", "million", "traffic", "simulated"];

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
    let mut progress = Progress { done: 0, all: CORE_PARTS + SYSTEM_PARTS.len() + 2 };
    let mut report = Report {
        machine: Machine::here(),
        quick,
        rows: suite::core(effort(quick), |part| progress.tell(part)),
        curves: Vec::new(),
        instructions: Default::default(),
        skipped: vec![
            "figures marked * come from an earlier run on another machine of 2 cores, with the defaults of what was measured".into(),
        ],
    };
    progress.tell("peers with a workspace of their own");
    if let Err(line) = add_peers(&mut report.rows, quick) {
        report.skipped.push(line);
    }
    for name in SYSTEM_PARTS {
        progress.tell(name);
        match runtime.block_on(part(name, quick)) {
            Ok(part) => {
                report.rows.extend(part.rows);
                report.curves.extend(part.curves);
                report.skipped.extend(part.skipped);
                report.machine.versions.extend(part.versions);
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
        "redis" => system::round_trips(quick).await,
        "durable" => system::durable(quick).await,
        "recovery" => system::recovery(quick).await,
        "million" => system::million().await,
        #[cfg(feature = "sim")]
        "simulated" => system::simulated(quick).await,
        #[cfg(not(feature = "sim"))]
        "simulated" => Err(benches::system::Failure("skipped; build with --features sim".into())),
        "fanout" => system::fan_out(quick).await,
        _ => system::traffic(quick).await,
    }
}

/// Measures everything and writes the report; with `keep`, also as the committed one and into the README's table.
pub(super) fn report(runtime: &Runtime, quick: bool, keep: bool) -> Result<(), String> {
    let report = measure(runtime, quick);
    std::fs::create_dir_all(FOLDER).map_err(|error| format!("{FOLDER} cannot be made: {error}"))?;
    let json = json(&report)?;
    write(format!("{FOLDER}/index.html"), &html(&report))?;
    write(format!("{FOLDER}/report.json"), &json)?;
    write(format!("{FOLDER}/table.md"), &markdown(&report))?;
    if keep {
        write(COMMITTED, &json)?;
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

/// Puts the committed report's table into the README again: after a change of its form.
pub(super) fn table_again() -> Result<(), String> {
    put_into_readme(&committed()?)
}

/// Measures again and names what is worse than in the committed report. What looks worse is measured once more, and named if it is worse then too.
pub(super) fn check(runtime: &Runtime) -> Result<(), String> {
    let before = committed()?;
    let now = measure(runtime, true);
    now.skipped.iter().for_each(|line| println!("- {line}"));
    let mut worse = compare(&before, &now);
    if !worse.is_empty() {
        let names: Vec<&str> = worse.iter().map(|worse| worse.work.as_str()).collect();
        println!("once more, since these look worse: {}", names.join("; "));
        worse = confirmed(worse, &compare(&before, &measure(runtime, true)));
    }
    if worse.is_empty() {
        println!("nothing is worse than in the report of commit {}", before.machine.commit);
        return Ok(());
    }
    let lines: Vec<String> =
        worse.iter().map(|worse| format!("worse: {}, {:.2} times (noise ends at {:.2})", worse.work, worse.times, worse.noise)).collect();
    Err(lines.join("\n"))
}
