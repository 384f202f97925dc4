//! The report as Markdown tables: the whole, and the part for the README.

use std::fmt::Write;

use super::Report;
use crate::row::{Figure, Row};
use crate::table::{amount, need, times, verdict};

/// The marker before the README's table.
pub const BEGIN: &str = "<!-- report:begin -->";
/// The marker after the README's table.
pub const END: &str = "<!-- report:end -->";

/// The rows of the README: those that help a reader choose.
const README: [&str; 28] = [
    "w1.name",
    "w1.handle",
    "system.round_trip",
    "w2.join.32",
    "w2.join.1000",
    "w2.join.100000",
    "w2.join.100000.seeded",
    "w2.again.100000",
    "w2.send.100000",
    "w2.bytes.100000",
    "w2.heap.100000",
    "w3.apply",
    "w4.sum.100000",
    "system.visible.p50",
    "system.visible.p99",
    "sim.loss.p99",
    "sim.partition.p99",
    "system.fresh.32",
    "system.fresh.100000",
    "system.recovery.100000",
    "system.adds.http",
    "system.adds.socket",
    "system.durable.1",
    "system.durable.64",
    "system.fan_out.p50",
    "system.idle_clients",
    "system.million.bytes",
    "system.idle.wire",
];

fn peer(row: &Row, figure: &Figure) -> String {
    let value = if figure.right { amount(figure.value, row.unit) } else { "wrong".into() };
    let ratio = row
        .ratio(&figure.name)
        .filter(|_| figure.right)
        .map_or(String::new(), |ratio| format!(" ({})", times(ratio)));
    format!("{}{} {value}{ratio}", figure.name, if figure.published { "\\*" } else { "" })
}

fn is_bound(figure: &Figure) -> bool {
    figure.name.starts_with("bound") || figure.name.starts_with("floor") || figure.name == "entropy"
}

fn line(out: &mut String, row: &Row) {
    let figures = |bound: bool| -> String {
        let kept =
            row.figures.iter().filter(|figure| figure.name != "ours" && is_bound(figure) == bound);
        kept.map(|figure| peer(row, figure)).collect::<Vec<_>>().join(", ")
    };
    let Some(ours) = row.ours() else { return };
    let spread =
        if ours.spread > 0.0 { format!(" ±{:.0} %", ours.spread * 100.0) } else { String::new() };
    let required = format!("{} {}", need(row), verdict(row));
    let value = amount(ours.value, row.unit);
    // Writing into a string cannot fail.
    let _written = writeln!(
        out,
        "| {} | **{value}**{spread} | {} | {} | {} |",
        row.work,
        figures(false),
        figures(true),
        required.trim()
    );
}

fn table(rows: &[&Row]) -> String {
    let mut out = String::from(
        "| work | ours | peers (how many times ours is better) | bound | required |\n| --- | --- | --- | --- | --- |\n",
    );
    rows.iter().for_each(|row| line(&mut out, row));
    out
}

fn origin(report: &Report) -> String {
    let machine = &report.machine;
    let versions: Vec<String> =
        machine.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    format!(
        "{}, {} threads, {}, commit {}, {}; ± is half the distance of the quartiles. \\* published or measured elsewhere, not in this run.\n",
        machine.processor,
        machine.cores,
        machine.rustc.split(" (").next().unwrap_or_default(),
        machine.commit,
        versions.join(", ")
    )
}

/// Every row.
pub fn markdown(report: &Report) -> String {
    let skipped: String = report.skipped.iter().map(|line| format!("- {line}\n")).collect();
    let instructions: String = report
        .instructions
        .iter()
        .map(|(path, count)| format!("- {path}: {count} instructions an operation\n"))
        .collect();
    format!(
        "{}\n{}\n{instructions}{skipped}",
        table(&report.rows.iter().collect::<Vec<_>>()),
        origin(report)
    )
}

/// The README's part, with its markers.
pub fn readme(report: &Report) -> String {
    let rows: Vec<&Row> =
        README.iter().filter_map(|id| report.rows.iter().find(|row| row.id == *id)).collect();
    format!("{BEGIN}\n{}\n{}{END}", table(&rows), origin(report))
}

/// `text` with everything between the markers replaced by `part`. `None` if it has no markers.
pub fn between_markers(text: &str, part: &str) -> Option<String> {
    let (head, rest) = text.split_once(BEGIN)?;
    let (_, tail) = rest.split_once(END)?;
    Some(format!("{head}{part}{tail}"))
}
