//! The rows of the page: every figure as a bar whose length is the logarithm of how far it is from the best.

use std::fmt::Write;

use crate::row::{Figure, Row, Unit};
use crate::table::{amount, need, times, verdict};

/// A class of colour for a contender, the same in every plot and bar.
pub(super) fn class(name: &str) -> &'static str {
    match name {
        "ours" => "c-ours",
        "crdts" => "c-crdts",
        "crdts by hand" | "fresh node synced" | "idle, a node and second" => "c-hand",
        "click at all nodes" | "a click, a node" => "c-ours",
        name if name.starts_with("redb") || name.starts_with("Redis") || name.starts_with("node ws") => "c-peer",
        "automerge" => "c-automerge",
        "loro" => "c-loro",
        "yrs" => "c-yrs",
        name if name.starts_with("bound") => "c-bound",
        name if name.starts_with("floor") || name == "entropy" => "c-floor",
        _ => "c-other",
    }
}

/// One work as an article: its name, the verdict, a bar for each figure.
pub(super) fn article(row: &Row) -> String {
    let verdict = verdict(row);
    let badge = match verdict {
        "met" => "<span class=\"badge good\">✓ met</span>",
        "NOT MET" => "<span class=\"badge bad\">✗ not met</span>",
        "WRONG" => "<span class=\"badge bad\">✗ wrong</span>",
        _ => "",
    };
    let need = need(row);
    let required = if need.is_empty() { String::new() } else { format!("<span class=\"need\">{}</span>", escape(&need)) };
    let mut out = format!("<article><h3>{}</h3><p>{required}{badge}</p><ul>", escape(&row.work));
    let values = || row.figures.iter().map(|figure| figure.value).filter(|value| *value > 0.0);
    let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(f64::MIN, f64::max));
    for figure in &row.figures {
        let part = if high > low { (figure.value / low).ln() / (high / low).ln() } else { 1.0 };
        bar(&mut out, row, figure, 6.0 + 94.0 * part);
    }
    out.push_str("</ul></article>");
    out
}

fn bar(out: &mut String, row: &Row, figure: &Figure, percent: f64) {
    let ratio = match row.ratio(&figure.name) {
        Some(ratio) if figure.name != "ours" && figure.right => times(ratio),
        _ => String::new(),
    };
    let spread = if figure.spread > 0.0 { format!("±{:.0} %", figure.spread * 100.0) } else { String::new() };
    let value = if figure.right { amount(figure.value, row.unit) } else { "wrong".into() };
    let star = if figure.published { "*" } else { "" };
    let (class, name) = (class(&figure.name), escape(&figure.name));
    let _written = write!(
        out,
        "<li><span class=\"who\">{name}{star}</span><span class=\"track\"><span class=\"bar {class}\" style=\"width:{percent:.1}%\"></span></span>\
         <span class=\"value\">{value}</span><span class=\"spread\">{spread}</span><span class=\"ratio\">{ratio}</span></li>"
    );
}

/// Text for HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A time for the axes of the plots.
pub(super) fn time(value: f64) -> String {
    short(value, Unit::Nanoseconds)
}

/// So many a second, likewise.
pub(super) fn rate(value: f64) -> String {
    short(value, Unit::PerSecond)
}

/// Bytes, likewise.
pub(super) fn bytes(value: f64) -> String {
    short(value, Unit::Bytes)
}

fn short(value: f64, unit: Unit) -> String {
    amount(value, unit).replace(".00", "").replace(".0 ", " ")
}
