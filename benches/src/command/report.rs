//! `report`, `page` and `table`: measures everything with a progress bar, and writes the report.

use std::time::Instant;

use benches::figures::row::{Row, Unit};
use benches::figures::table;
use benches::report::{Machine, Report, add_peers, generated, html, instructions, markdown};
use benches::suite::{self, CORE_PARTS, system};
use benches::system::{MeasureFailure, Measured};
use tokio::runtime::Runtime;

use super::committed::{COMMITTED, committed, json, read, write};
use super::{all_right, effort};

/// The folder that the report is written to.
const FOLDER: &str = "target/report";

/// The workloads with processes, in the order of the report. `traffic` is not here, because it runs
/// beside the instruction counts.
const SYSTEM_PARTS: [&str; 15] = [
    "latency",
    "fresh",
    "recovery",
    "redis",
    "adds",
    "durable",
    "load",
    "fanout",
    "crowd",
    "million",
    "disk",
    "hosts",
    "far",
    "simulated",
    "many",
];

/// A progress bar on standard error, with the workload that runs now and the time since the start.
struct ReportProgress {
    done: usize,
    all: usize,
    start: Instant,
}

impl ReportProgress {
    fn show(&mut self, name: &str) {
        const WIDTH: usize = 24;
        let full = self.done * WIDTH / self.all;
        self.done += 1;
        let (done, empty) = ("█".repeat(full), "░".repeat(WIDTH - full));
        eprintln!(
            "{done}{empty} {:2}/{} {:4} s  {name}",
            self.done,
            self.all,
            self.start.elapsed().as_secs()
        );
    }
}

/// Measures everything.
pub(super) fn measure(runtime: &Runtime, quick: bool) -> Report {
    let mut progress =
        ReportProgress { done: 0, all: CORE_PARTS + SYSTEM_PARTS.len() + 2, start: Instant::now() };
    let mut report = Report {
        machine: Machine::here(),
        quick,
        rows: suite::core(effort(quick), |part| progress.show(part)),
        curves: Vec::new(),
        instructions: Default::default(),
        skipped: vec![
            "figures marked * come from an earlier run on another machine of 2 cores, with the defaults of what was measured".into(),
        ],
    };
    if !effort(quick).seeded_crdts {
        report.skipped.push("crdts: joins of 100,000 seeded regions: left out of a quick run; `report` without --quick has them".into());
    }
    progress.show("peers with a workspace of their own");
    match add_peers(&mut report.rows, quick) {
        Ok(peers) => {
            report.skipped.extend(peers.skipped);
            report.machine.versions.extend(peers.versions);
        }
        Err(line) => report.skipped.push(line),
    }
    for name in SYSTEM_PARTS {
        progress.show(name);
        add_part(&mut report, name, runtime.block_on(part(name, quick)));
    }
    // Neither bytes nor instructions depend on how busy the machine is, so these two run at once.
    progress.show("traffic, and instructions of the hot paths");
    let (traffic, counts) = std::thread::scope(|scope| {
        let counts = scope.spawn(instructions);
        (runtime.block_on(part("traffic", quick)), counts.join())
    });
    add_part(&mut report, "traffic", traffic);
    match counts.unwrap_or_else(|_| Err("instruction counts: skipped; the counting broke".into())) {
        Ok(counts) => report.instructions = counts,
        Err(line) => report.skipped.push(line),
    }
    report
}

fn add_part(report: &mut Report, name: &str, part: Measured<system::Part>) {
    match part {
        Ok(part) => {
            report.rows.extend(part.rows);
            report.curves.extend(part.curves);
            report.skipped.extend(part.skipped);
            report.machine.versions.extend(part.versions);
        }
        Err(failure) if failure.is_wrong() => report.rows.push(wrong(name, &failure)),
        Err(failure) => report.skipped.push(format!("{name}: {failure}")),
    }
}

/// The row of a workload with a wrong answer. It is not left out, but shown as wrong.
fn wrong(name: &str, failure: &MeasureFailure) -> Row {
    let mut row = Row::exact(
        format!("system.{name}"),
        format!("{name}: {failure}"),
        Unit::Nanoseconds,
        &[("ours", 0.0)],
    );
    row.figures[0].right = false;
    row
}

async fn part(name: &str, quick: bool) -> Measured<system::Part> {
    match name {
        "latency" => system::latency(quick).await,
        "fresh" => system::fresh(quick).await,
        "adds" => system::adds(quick).await,
        "redis" => system::round_trips(quick).await,
        "durable" => system::durable(quick).await,
        "recovery" => system::recovery(quick).await,
        "million" => system::million().await,
        "disk" => system::million_on_disk(quick).await,
        "load" => system::durable_load(quick).await,
        "crowd" => system::crowd(quick).await,
        "hosts" => system::hosts(quick).await,
        "far" => system::far(quick).await,
        #[cfg(feature = "sim")]
        "simulated" => system::simulated(quick).await,
        #[cfg(feature = "sim")]
        "many" => system::many(quick),
        #[cfg(not(feature = "sim"))]
        "simulated" | "many" => Err(MeasureFailure("skipped; build with --features sim".into())),
        "fanout" => system::fan_out(quick).await,
        _ => system::traffic(quick).await,
    }
}

/// Measures everything and writes the report. With `keep` it also becomes the committed report, and
/// its figures go into the documents.
pub(super) fn report(runtime: &Runtime, quick: bool, keep: bool) -> Result<(), String> {
    let report = measure(runtime, quick);
    write_page(&report)?;
    let json = json(&report)?;
    write(format!("{FOLDER}/report.json"), &json)?;
    write(format!("{FOLDER}/table.md"), &markdown(&report))?;
    if keep {
        write(COMMITTED, &json)?;
        put_into_documents(&report)?;
    }
    print!("{}", table::text(&report.rows));
    report.instructions.iter().for_each(|(path, count)| println!("{path}: {count} instructions"));
    report.skipped.iter().for_each(|line| println!("- {line}"));
    report.slowest().iter().for_each(|(row, bound, times)| {
        println!("slow: {}, {times:.2} times the {}", row.work, bound.name)
    });
    println!("\nthe page: {FOLDER}/index.html");
    all_right(&report.rows)
}

fn write_page(report: &Report) -> Result<(), String> {
    std::fs::create_dir_all(FOLDER).map_err(|error| format!("{FOLDER} cannot be made: {error}"))?;
    write(format!("{FOLDER}/index.html"), &html(report))
}

/// Draws the page of a report that was written before, by default the committed one. Measures
/// nothing.
pub(super) fn page_again(path: Option<&str>) -> Result<(), String> {
    write_page(&read(path.unwrap_or(COMMITTED))?)?;
    println!("the page: {FOLDER}/index.html");
    Ok(())
}

/// Puts the figures of a report into the documents that show them.
fn put_into_documents(report: &Report) -> Result<(), String> {
    for part in generated(report) {
        let path = part.document;
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{path} cannot be read: {error}"))?;
        let text = part
            .put_into(&text)
            .ok_or_else(|| format!("{path} has no markers for its figures and was left alone"))?;
        write(path, &text)?;
    }
    Ok(())
}

/// Puts the committed report's figures into the documents again, after a change of their form.
pub(super) fn table_again() -> Result<(), String> {
    put_into_documents(&committed()?)
}
