//! The report as Markdown: every row, and the parts of documents that are generated from it.
//!
//! A document marks the place of its part with two comments. [`generated`] makes all parts, and a
//! test compares them with the documents, so no figure of a report is typed by hand.

use std::fmt::Write;

use super::Report;
use super::sentences::sentences;
use crate::figures::row::{Figure, Row, Unit};
use crate::figures::table::{amount, need, p99, times, verdict};

/// The rows of the long table, in docs/performance.md.
const TABLE: [&str; 43] = [
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
    "windows.add",
    "windows.heap",
    "past.resets.join",
    "past.removals.join",
    "system.visible.p50",
    "system.visible.p99",
    "far.visible",
    "sim.many.p99",
    "sim.loss.p99",
    "sim.partition.p99",
    "system.fresh.32",
    "system.fresh.100000",
    "far.fresh.static.200",
    "system.recovery.100000",
    "system.adds.http",
    "system.adds.socket",
    "system.adds.http_batches",
    "system.adds.socket_batches",
    "system.durable.1",
    "system.durable.64",
    "system.load.rate",
    "system.load.p99.9",
    "system.fan_out.p50",
    "system.crowd.p50",
    "system.idle_clients",
    "system.million.bytes",
    "system.million.join",
    "system.million.start",
    "system.million.checkpoint.p99.9",
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
    let p99 = match p99(ours, row.unit) {
        p99 if p99.is_empty() => p99,
        p99 => format!(", p99 {p99}"),
    };
    // Writing into a string cannot fail.
    let _written = writeln!(
        out,
        "| {} | **{value}**{spread}{p99} | {} | {} | {} |",
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

/// The six sentences, and every row.
pub fn markdown(report: &Report) -> String {
    let skipped: String = report.skipped.iter().map(|line| format!("- {line}\n")).collect();
    let instructions: String = report
        .instructions
        .iter()
        .map(|(path, count)| format!("- {path}: {count} instructions an operation\n"))
        .collect();
    format!(
        "{}\n\n{}\n{}\n{instructions}{skipped}",
        sentences(report).join("\n"),
        table(&report.rows.iter().collect::<Vec<_>>()),
        origin(report)
    )
}

/// The README's figures in plain words. In two of them a peer is better.
const FIGURES: [ReadmeFigure; 6] = [
    ReadmeFigure {
        work: "one add through a handle",
        ours: &[("", "w1.handle")],
        beside: &[("a bare atomic addition: ", "w1.handle", "bound: bare fetch_add")],
    },
    ReadmeFigure {
        work: "joining another replica's 100,000 regions",
        ours: &[("", "w2.join.100000")],
        beside: &[("the `crdts` crate: ", "w2.join.100000", "crdts")],
    },
    ReadmeFigure {
        work: "an add at one of three nodes, until both others show it",
        ours: &[("median ", "system.visible.p50"), ("99 in 100 within ", "system.visible.p99")],
        beside: &[],
    },
    ReadmeFigure {
        work: "a fresh node, until it has fetched 100,000 counters and serves",
        ours: &[("", "system.fresh.100000")],
        beside: &[],
    },
    ReadmeFigure {
        work: "adds over HTTP, a request each, 32 connections",
        ours: &[("", "system.adds.http")],
        beside: &[("Redis INCR over its own protocol: ", "system.adds.http", "Redis INCR")],
    },
    ReadmeFigure {
        work: "adds that wait for the disk, one at a time; 64 at a time",
        ours: &[("", "system.durable.1"), ("", "system.durable.64")],
        beside: &[
            ("redb's own puts: ", "system.durable.1", "redb, single puts"),
            ("", "system.durable.64", "redb, single puts"),
        ],
    },
];

/// One line of the README's table: a workload in plain words, ours, and others beside it.
struct ReadmeFigure {
    work: &'static str,
    /// Words, and the row whose figure follows them.
    ours: &'static [(&'static str, &'static str)],
    /// Words, a row, and the contender whose figure of that row follows the words.
    beside: &'static [(&'static str, &'static str, &'static str)],
}

/// A part of a document that is made from a report.
pub struct Generated {
    /// The document, from the repository's root.
    pub document: &'static str,
    begin: &'static str,
    end: &'static str,
    text: String,
}

impl Generated {
    /// `document` with this part between its markers. None where it lacks them.
    pub fn put_into(&self, document: &str) -> Option<String> {
        let (head, rest) = document.split_once(self.begin)?;
        let (_, tail) = rest.split_once(self.end)?;
        Some(format!("{head}{}\n{}\n{}{tail}", self.begin, self.text, self.end))
    }
}

/// Every generated part of every document.
pub fn generated(report: &Report) -> [Generated; 2] {
    let rows: Vec<&Row> = TABLE.iter().filter_map(|id| row(report, id)).collect();
    [
        Generated {
            document: "README.md",
            begin: "<!-- figures:begin -->",
            end: "<!-- figures:end -->",
            text: figures(report),
        },
        Generated {
            document: "docs/performance.md",
            begin: "<!-- report:begin -->",
            end: "<!-- report:end -->",
            text: format!("{}\n{}", table(&rows), origin(report)),
        },
    ]
}

fn row<'a>(report: &'a Report, id: &str) -> Option<&'a Row> {
    report.rows.iter().find(|row| row.id == id)
}

/// The README's table. A figure that was not measured, or is wrong, leaves its cell without it.
fn figures(report: &Report) -> String {
    let cell = |words: &str, id: &str, whose: &str| {
        let row = row(report, id)?;
        let figure = row.figure(whose).filter(|figure| figure.right)?;
        Some(format!("{words}{}", in_words(figure.value, row.unit)))
    };
    let mut out = String::from("| | measured | beside it |\n| --- | --- | --- |\n");
    for entry in &FIGURES {
        let ours: Vec<_> =
            entry.ours.iter().filter_map(|(words, id)| cell(words, id, "ours")).collect();
        let beside: Vec<_> =
            entry.beside.iter().filter_map(|(words, id, whose)| cell(words, id, whose)).collect();
        // Writing into a string cannot fail.
        let _written =
            writeln!(out, "| {} | **{}** | {} |", entry.work, ours.join("; "), beside.join("; "));
    }
    out
}

/// An amount for readers who do not know the suite's short forms: rates with three digits and
/// commas.
pub(super) fn in_words(value: f64, unit: Unit) -> String {
    if unit != Unit::PerSecond || value < 1.0 {
        return amount(value, unit);
    }
    let step = 10_f64.powi((value.log10().floor() as i32 - 2).max(0));
    let digits = format!("{:.0}", (value / step).round() * step);
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text} a second")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_written_with_commas() {
        for (value, text) in [
            (7.4, "7 a second"),
            (862.3, "862 a second"),
            (1377.0, "1,380 a second"),
            (31_892.97, "31,900 a second"),
            (187_121_527.4, "187,000,000 a second"),
        ] {
            assert_eq!(in_words(value, Unit::PerSecond), text);
        }
    }

    #[test]
    fn document_without_markers_is_left_alone() {
        let part = Generated { document: "", begin: "<b>", end: "<e>", text: "new".into() };
        assert_eq!(part.put_into("a <b>old<e> z").as_deref(), Some("a <b>\nnew\n<e> z"));
        assert_eq!(part.put_into("a <b>old z"), None);
    }
}
