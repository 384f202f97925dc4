//! The plots and histograms of the page. A plot shows how a cost grows, and its legend how fast. A
//! histogram shows how times are spread.

use super::histogram;
use super::looks::{Look, look};
use super::rows::{bytes, escape, rate, time};
use super::svg::{self, Plot};
use crate::figures::plot::Curve;
use crate::report::Report;

/// One plot of the page.
struct PlotKind {
    /// The curves that it draws.
    id: &'static str,
    heading: &'static str,
    /// The meaning of x, and the letter or word that growth is expressed in. `None` if x is no
    /// size.
    x: &'static str,
    symbol: Option<&'static str>,
    y: &'static str,
    label: fn(f64) -> String,
}

const fn kind(
    id: &'static str,
    heading: &'static str,
    (x, symbol): (&'static str, Option<&'static str>),
    y: &'static str,
) -> PlotKind {
    PlotKind { id, heading, x, symbol, y, label: time }
}

const REGIONS: (&str, Option<&str>) = ("regions, R", Some("R"));
const NODES: (&str, Option<&str>) = ("nodes", Some("nodes"));
const PERCENT: (&str, Option<&str>) = ("percent of clicks", None);

const PLOT_KINDS: [PlotKind; 13] = [
    kind("w2.join", "Join in memory", REGIONS, "time a join"),
    kind("w2.send", "Encode, decode and join", REGIONS, "time a transfer"),
    kind("w2.writers", "Join of 1,000 regions", ("writers", Some("writers")), "time a join"),
    kind("w4.sum", "Read all regions", REGIONS, "time a reading"),
    kind(
        "system.fan_out.clients",
        "Click on all sockets, median",
        ("clients", Some("clients")),
        "time",
    ),
    kind("system.fresh", "Fresh process, until synced", ("counters", Some("counters")), "time"),
    PlotKind {
        label: rate,
        ..kind(
            "system.durable",
            "Durable adds",
            ("committers at once", Some("committers")),
            "adds a second",
        )
    },
    kind("sim.times", "A cluster between continents, simulated", NODES, "virtual time"),
    kind("far.known", "A click's node knows that all hold it, 200 ms apart", NODES, "time"),
    PlotKind {
        label: bytes,
        ..kind("sim.bytes", "Payload of such a cluster, simulated", NODES, "bytes")
    },
    kind("system.fan_out", "Click to all of 1,000 sockets, by quantile", PERCENT, "time"),
    kind("system.visible", "Click to the other nodes' clients, by quantile", PERCENT, "time"),
    kind("hosts.visible", "Click to the other hosts' clients, by quantile", PERCENT, "time"),
];

/// The histograms: the id of the measurement, and a heading.
const HISTOGRAMS: [(&str, &str); 4] = [
    ("system.visible", "A click, until clients of both other nodes show it"),
    ("hosts.loss", "The same between hosts that lose a twentieth of their packets"),
    ("sim.loss", "A click on all of 10 nodes between continents, 20 % of gossip lost (simulated)"),
    ("sim.partition", "10 nodes agree after a minute in halves (simulated)"),
];

/// The growth of a time as HTML: `grows with R<sup>1.02</sup>`.
fn growth(slope: f64, symbol: &str) -> String {
    match slope {
        slope if slope.abs() < 0.05 => format!("the same whatever {symbol}"),
        slope if slope < 0.0 => format!("falls with {symbol}<sup>{slope:.2}</sup>"),
        slope => format!("grows with {symbol}<sup>{slope:.2}</sup>"),
    }
}

/// All plots that have points, as figures.
pub(super) fn plots(report: &Report) -> String {
    let curves = report.scaling();
    PLOT_KINDS.iter().filter_map(|kind| figure(kind, &curves)).collect()
}

fn figure(kind: &PlotKind, curves: &[Curve]) -> Option<String> {
    let curves: Vec<&Curve> =
        curves.iter().filter(|curve| curve.plot == kind.id && curve.points.len() > 1).collect();
    let plot = Plot {
        heading: kind.heading,
        x: kind.x,
        y: kind.y,
        x_log: kind.symbol.is_some(),
        label: kind.label,
        curves: &curves,
    };
    let legend: String = curves.iter().map(|curve| legend(kind, curve)).collect();
    let drawn = (!curves.is_empty()).then(|| svg::draw(&plot))?;
    Some(format!(
        "<figure><figcaption>{}</figcaption>{drawn}<table class=\"legend\">{legend}</table></figure>",
        kind.heading
    ))
}

fn legend(kind: &PlotKind, curve: &Curve) -> String {
    let says = match (kind.symbol, curve.slope()) {
        (Some(symbol), Some(slope)) => growth(slope, symbol),
        _ => quantiles(kind, curve),
    };
    let last = curve
        .points
        .last()
        .filter(|_| kind.symbol.is_some())
        .map_or(String::new(), |last| (kind.label)(last.1));
    format!(
        "<tr><td>{}</td><th>{}</th><td>{says}</td><td class=\"num\">{last}</td></tr>",
        legend_sample(&curve.name),
        escape(&curve.name)
    )
}

/// The mark and the line of one curve, for the legend.
fn legend_sample(name: &str) -> String {
    let Look { class, shape } = look(name);
    let mut out = format!(
        "<svg class=\"key\" viewBox=\"0 0 26 12\" aria-hidden=\"true\"><path class=\"line {class}\" d=\"M0 6H26\"/>"
    );
    svg::mark(&mut out, class, shape, (13.0, 6.0), "");
    out + "</svg>"
}

fn quantiles(kind: &PlotKind, curve: &Curve) -> String {
    let at = |percent: f64| {
        curve
            .points
            .iter()
            .find(|point| point.0 >= percent)
            .map_or(String::new(), |point| (kind.label)(point.1))
    };
    format!("half within {}, 99 % within {}", at(50.0), at(99.0))
}

/// All histograms that have times, as figures.
pub(super) fn histograms(report: &Report) -> String {
    HISTOGRAMS.iter().filter_map(|(id, heading)| histogram_of(report, id, heading)).collect()
}

fn histogram_of(report: &Report, id: &str, heading: &str) -> Option<String> {
    let curve = report.curves.iter().find(|curve| curve.plot == format!("{id}.histogram"))?;
    let mark = |name: &'static str| {
        let row = report.rows.iter().find(|row| row.id == format!("{id}.{name}"))?;
        Some((name, row.ours()?.value))
    };
    let marks: Vec<(&str, f64)> = ["p50", "p99"].into_iter().filter_map(mark).collect();
    Some(format!(
        "<figure><figcaption>{heading}</figcaption>{}</figure>",
        histogram::draw(heading, curve, &marks)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_in_words() {
        assert_eq!(growth(1.023, "R"), "grows with R<sup>1.02</sup>");
        assert_eq!(growth(-0.5, "committers"), "falls with committers<sup>-0.50</sup>");
        assert_eq!(growth(0.01, "R"), "the same whatever R");
    }
}
