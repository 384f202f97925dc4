//! The rows of the page. Every figure is a bar that starts at ours. Its length is the logarithm of
//! the ratio between the two.

use std::fmt::Write;

use super::looks::look;
use crate::figures::row::{Figure, Row, Unit};
use crate::figures::table::{amount, need, p99, times, verdict};

/// One row as an article: its workload, the verdict, and a bar for each figure.
pub(super) fn article(row: &Row) -> String {
    let required = match need(row) {
        need if need.is_empty() => String::new(),
        need => format!(
            "<p><span class=\"need\">required: {}</span>{}</p>",
            escape(&micro(need)),
            badge(row)
        ),
    };
    let mut out =
        format!("<article id=\"{}\"><h3>{}</h3>{required}<ul>", escape(&row.id), escape(&row.work));
    let span = FigureSpan::of(row);
    row.figures.iter().for_each(|figure| line(&mut out, row, figure, &span));
    out + "</ul></article>"
}

/// The verdict on the requirement, as HTML. Empty if nothing is required.
pub(super) fn badge(row: &Row) -> &'static str {
    match verdict(row) {
        "met" => "<span class=\"badge good\">✓ met</span>",
        "NOT MET" => "<span class=\"badge bad\">✗ not met</span>",
        "WRONG" => "<span class=\"badge bad\">✗ wrong</span>",
        _ => "",
    }
}

/// The range from the best figure of a row to its worst, in powers of ten from ours. It spans at
/// least one power, so that small differences look small.
struct FigureSpan {
    best: f64,
    worst: f64,
}

impl FigureSpan {
    fn of(row: &Row) -> Self {
        let powers = row
            .figures
            .iter()
            .filter_map(|figure| row.ratio(&figure.name))
            .filter(|ratio| *ratio > 0.0)
            .map(f64::log10);
        let (best, worst) = powers.fold((0.0, 0.0), |(best, worst): (f64, f64), power| {
            (best.min(power), worst.max(power))
        });
        let short = (1.0 - (worst - best)).max(0.0);
        Self { best, worst: worst + short }
    }

    /// The position of a power of ten from ours, in percent of the track.
    fn at(&self, power: f64) -> f64 {
        (power - self.best) / (self.worst - self.best) * 100.0
    }
}

fn line(out: &mut String, row: &Row, figure: &Figure, span: &FigureSpan) {
    let ours = figure.name == "ours";
    let ratio = row.ratio(&figure.name).filter(|_| !ours);
    let spread = if figure.spread > 0.0 {
        format!("±{:.0} %", figure.spread * 100.0)
    } else {
        String::new()
    };
    let value = if figure.right {
        micro(amount(figure.value, row.unit))
    } else {
        "<b class=\"bad\">wrong</b>".into()
    };
    let p99 = match p99(figure, row.unit) {
        p99 if p99.is_empty() => p99,
        p99 => micro(format!("p99 {p99}")),
    };
    let star = if figure.published { "*" } else { "" };
    let alone = row.figures.len() == 1;
    let track = match ratio {
        _ if alone => String::new(),
        ratio => track(figure, ratio, span),
    };
    let (who, ratio) = (escape(&figure.name), ratio.map_or(String::new(), times));
    let kind = if alone {
        "alone"
    } else if ours {
        "ours"
    } else {
        ""
    };
    // Writing into a string cannot fail.
    let _written = write!(
        out,
        "<li class=\"{kind}\"><span class=\"who\">{who}{star}</span>{track}<span class=\"value\">{value}</span>\
         <span class=\"spread\">{spread}</span><span class=\"p99\">{p99}</span><span class=\"ratio\">{ratio}</span></li>"
    );
}

fn track(figure: &Figure, ratio: Option<f64>, span: &FigureSpan) -> String {
    let zero = span.at(0.0);
    let place = match ratio {
        _ if figure.name == "ours" => Some(zero),
        ratio => ratio.filter(|ratio| *ratio > 0.0).map(|ratio| span.at(ratio.log10())),
    };
    let class = look(&figure.name).class;
    let bar = place.map_or(String::new(), |place| {
        let (from, wide) = (place.min(zero), (place - zero).abs());
        format!("<span class=\"bar {class}\" style=\"left:{from:.1}%;width:{wide:.1}%\"></span><span class=\"end {class}\" style=\"left:{place:.1}%\"></span>")
    });
    format!(
        "<span class=\"track\"><span class=\"zero\" style=\"left:{zero:.1}%\"></span>{bar}</span>"
    )
}

/// Text for HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Writes microseconds as `µs`. Tables for terminals have `us`, as some terminals lack the µ.
pub(super) fn micro(text: String) -> String {
    text.replace(" us", " µs")
}

/// A time for the axes of the plots.
pub(super) fn time(value: f64) -> String {
    short(value, Unit::Nanoseconds)
}

/// A rate for the axes of the plots.
pub(super) fn rate(value: f64) -> String {
    short(value, Unit::PerSecond)
}

/// Bytes for the axes of the plots.
pub(super) fn bytes(value: f64) -> String {
    short(value, Unit::Bytes)
}

fn short(value: f64, unit: Unit) -> String {
    micro(amount(value, unit).replace(".00", "").replace(".0 ", " "))
}
