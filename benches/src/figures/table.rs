//! The text of a table, in columns for a terminal.

use crate::figures::row::{Figure, Need, Row, Unit};

/// A figure of three digits, with its unit.
pub fn amount(value: f64, unit: Unit) -> String {
    let (steps, digits): (&[(&str, f64)], _) = match unit {
        Unit::Nanoseconds => (&[("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)], value),
        Unit::Bytes => (&[("B", 1.0), ("kB", 1e3), ("MB", 1e6)], value),
        Unit::BytesPerSecond => (&[("B/s", 1.0), ("kB/s", 1e3), ("MB/s", 1e6)], value),
        Unit::PerSecond => (&[("/s", 1.0), ("k/s", 1e3), ("M/s", 1e6), ("G/s", 1e9)], value),
    };
    let &(name, size) = steps.iter().rev().find(|(_, size)| digits >= *size).unwrap_or(&steps[0]);
    let scaled = digits / size;
    match scaled {
        scaled
            if scaled >= 100.0 || (unit == Unit::Bytes && size == 1.0 && scaled.fract() == 0.0) =>
        {
            format!("{scaled:.0} {name}")
        }
        scaled if scaled >= 10.0 => format!("{scaled:.1} {name}"),
        scaled => format!("{scaled:.2} {name}"),
    }
}

/// A factor, as text.
pub fn times(ratio: f64) -> String {
    if ratio >= 10.0 { format!("{ratio:.0}x") } else { format!("{ratio:.2}x") }
}

/// The requirement of a row, in words.
pub fn need(row: &Row) -> String {
    match &row.need {
        Need::Better(least, name) => format!("{least}x {name}{}", measured(row, name)),
        Need::Within(most, name) => format!("<= {most} of {name}{}", measured(row, name)),
        Need::AtMost(value) => format!("<= {}", amount(*value, row.unit)),
        Need::AtLeast(value) => format!(">= {}", amount(*value, row.unit)),
        Need::Shown => String::new(),
    }
}

/// The figure of the contender compared with, if no column has it.
fn measured(row: &Row, name: &str) -> String {
    let other = row
        .figure(name)
        .filter(|figure| figure.name != "crdts" && !figure.name.starts_with("bound"));
    other.map_or(String::new(), |other| format!(" ({})", amount(other.value, row.unit)))
}

/// `met`, `NOT MET` or `WRONG`. Empty if nothing is required.
pub fn verdict(row: &Row) -> &'static str {
    match (row.met(), row.ours()) {
        (_, Some(ours)) if !ours.right => "WRONG",
        (Some(true), _) => "met",
        (Some(false), _) => "NOT MET",
        (None, _) => "",
    }
}

fn cell(row: &Row, name: &str) -> String {
    row.figure(name).map_or(String::new(), |figure| {
        if figure.right { amount(figure.value, row.unit) } else { "wrong".into() }
    })
}

/// The p99 of a figure. Empty if it has none, or a wrong answer.
pub fn p99(figure: &Figure, unit: Unit) -> String {
    figure.p99.filter(|_| figure.right).map_or(String::new(), |p99| amount(p99, unit))
}

/// The contenders that have no column.
fn others(row: &Row) -> String {
    let other = |name: &str| {
        !["ours", "crdts", "crdts by hand"].contains(&name)
            && !name.starts_with("bound")
            && !name.starts_with("floor")
    };
    // A published figure has a star, as everywhere.
    let text = |figure: &Figure| {
        let (name, star) = (figure.name.as_str(), if figure.published { "*" } else { "" });
        format!("{name}{star} {} {}", cell(row, name), row.ratio(name).map_or(String::new(), times))
    };
    let others = row.figures.iter().filter(|figure| other(&figure.name));
    others.map(|figure| text(figure).trim_end().to_owned()).collect::<Vec<_>>().join(", ")
}

/// The column heads of [`line()`].
pub const HEAD: [&str; 13] = [
    "work", "ours", "±", "p99", "crdts", "ratio", "by hand", "ratio", "bound", "of bound",
    "required", "", "others",
];

/// One row in the columns of [`HEAD`].
pub fn line(row: &Row) -> [String; 13] {
    let ratio = |name: &str| row.ratio(name).map_or(String::new(), times);
    let bound = row.bound();
    let spread = row
        .ours()
        .filter(|ours| ours.spread > 0.0)
        .map_or(String::new(), |ours| format!("{:.0} %", ours.spread * 100.0));
    [
        row.work.clone(),
        cell(row, "ours"),
        spread,
        row.ours().map_or(String::new(), |ours| p99(ours, row.unit)),
        cell(row, "crdts"),
        ratio("crdts"),
        cell(row, "crdts by hand"),
        ratio("crdts by hand"),
        bound.map_or(String::new(), |bound| amount(bound.value, row.unit)),
        bound
            .and_then(|bound| row.ratio(&bound.name))
            .map_or(String::new(), |ratio| format!("{:.2}", 1.0 / ratio)),
        need(row),
        verdict(row).into(),
        others(row),
    ]
}

/// Rows in columns of equal width.
pub fn text(rows: &[Row]) -> String {
    let mut lines: Vec<[String; 13]> = vec![HEAD.map(String::from)];
    lines.extend(rows.iter().map(line));
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let padded = if column == 0 || column >= 10 {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            };
            out.push_str(&padded);
            out.push_str("  ");
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}
