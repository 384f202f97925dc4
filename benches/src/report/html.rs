//! The report as one page that needs nothing else: no network, no script.

use super::page_rows::{article, bytes, class, escape, rate, time};
use super::svg::{Plot, draw};
use super::{Report, histogram};
use crate::plot::Curve;

/// Sections of the page: what the rows' ids begin with, a heading, and what it is about.
const SECTIONS: [(&str, &str, &str); 7] = [
    ("w1", "Adds", "1,000,000 times +1 over 32 regions, one writer."),
    (
        "w2",
        "Joins",
        "Two replicas of R regions and 3 writers, every region changed on both sides; alone, through bytes, and in bytes and heap.",
    ),
    ("w3", "One change", "+1 to one of 100,000 counters: what it costs to produce, to send, to apply."),
    ("w4", "Reads", "All regions one by one, and one counter's total."),
    ("threads", "Threads", "64 threads adding through handles on this machine's cores."),
    ("sim", "Between continents", "The same replicator in the simulator: virtual time, 20 to 400 ms a message. The same on every machine."),
    ("system", "The whole system", "Real processes on loopback, real sockets, clients on the same machine."),
];

/// The plots: id, heading, x axis, whether x goes by powers of ten, a value of y in words.
type PlotOf = (&'static str, &'static str, &'static str, bool, fn(f64) -> String);
const PLOTS: [PlotOf; 11] = [
    ("w2.join", "Join in memory", "regions", true, time),
    ("w2.send", "Encode, decode and join", "regions", true, time),
    ("w2.writers", "Join of 1,000 regions", "writers", true, time),
    ("w4.sum", "Read all regions", "regions", true, time),
    ("system.fan_out", "Click to all of 1,000 sockets", "percent of clicks", false, time),
    ("system.visible", "Click to the other nodes' clients", "percent of clicks", false, time),
    ("system.fan_out.clients", "Click to all sockets, median", "sockets", true, time),
    ("system.fresh", "Fresh process, until synced", "counters", true, time),
    ("system.durable", "Durable adds a second", "committers", true, rate),
    ("sim.times", "A cluster between continents, simulated", "nodes", true, time),
    ("sim.bytes", "Payload of such a cluster, simulated", "nodes", true, bytes),
];

/// The histograms: id of what is measured, heading.
const HISTOGRAMS: [(&str, &str); 3] = [
    ("system.visible", "A click, until clients of both other nodes show it"),
    ("sim.loss", "A click on all of 10 nodes between continents, 20 % of gossip lost (simulated)"),
    ("sim.partition", "10 nodes agree after a minute in halves (simulated)"),
];

/// The page.
pub fn html(report: &Report) -> String {
    let met = report.rows.iter().filter(|row| row.met() == Some(true)).count();
    let required = report.rows.iter().filter(|row| row.met().is_some()).count();
    let sections: String = SECTIONS.iter().map(|section| self::section(report, section)).collect();
    let skipped: String = report.skipped.iter().map(|line| format!("<li>{}</li>", escape(line))).collect();
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Replicated counter: benchmarks</title><style>{}</style><main><header><h1>Replicated counter: benchmarks</h1>{}\
         <p class=\"sum\"><strong>{met}</strong> of {required} required figures met</p></header>{}<section><h2>How cost grows</h2>\
         <p>Both axes by powers of ten; x^1 is in proportion.</p><div class=\"plots\">{}</div></section>{}{sections}{}\
         <footer><p>Bars are by logarithm, from the best figure of the work to its worst; ratios say how many times ours is better. \
         ± is half the distance of the quartiles of interleaved rounds. Answers are asserted: who is wrong is shown as wrong. \
         * published or measured elsewhere, not in this run.</p><ul>{skipped}</ul></footer></main></html>\n",
        include_str!("style.css"),
        origin(report),
        headline(report),
        plots(report),
        histograms(report),
        instructions(report),
    )
}

fn origin(report: &Report) -> String {
    let machine = &report.machine;
    let versions: String = machine.versions.iter().map(|(name, version)| format!(" · {name} {version}")).collect();
    let quick = if report.quick { " · quick run" } else { "" };
    escape_line(&format!(
        "{} · {} threads · {} · {} · commit {}{versions}{quick}",
        machine.processor, machine.cores, machine.kernel, machine.rustc, machine.commit
    ))
}

fn escape_line(text: &str) -> String {
    format!("<p class=\"origin\">{}</p>", escape(text))
}

/// Four figures for who reads no further.
fn headline(report: &Report) -> String {
    let tiles = [
        ("w1.handle", "an add by handle"),
        ("w2.join.100000", "join of 100,000 regions"),
        ("system.visible.p50", "click seen at the other nodes"),
        ("system.fresh.100000", "fresh node, 100,000 counters"),
    ];
    let tile = |(id, text): &(&str, &str)| -> Option<String> {
        let row = report.rows.iter().find(|row| row.id == *id)?;
        let value = crate::table::amount(row.ours()?.value, row.unit);
        let peer = row.figures.iter().find(|figure| figure.name == "crdts" || figure.published);
        let peer = peer.and_then(|peer| Some(format!("{} {}", crate::table::times(row.ratio(&peer.name)?), peer.name)));
        Some(format!("<div class=\"tile\"><b>{value}</b><span>{text}</span><small>{}</small></div>", peer.unwrap_or_default()))
    };
    format!("<div class=\"tiles\">{}</div>", tiles.iter().filter_map(tile).collect::<String>())
}

fn section(report: &Report, (prefix, heading, about): &(&str, &str, &str)) -> String {
    let rows = report.rows.iter().filter(|row| row.id.split('.').next() == Some(prefix));
    let articles: String = rows.map(article).collect();
    if articles.is_empty() {
        return String::new();
    }
    format!("<section><h2>{heading}</h2><p>{about}</p><div class=\"rows\">{articles}</div></section>")
}

fn plots(report: &Report) -> String {
    let curves = report.scaling();
    let mut out = String::new();
    for (id, heading, x, x_log, label) in PLOTS {
        let of_plot: Vec<&Curve> = curves.iter().filter(|curve| curve.plot == id && curve.points.len() > 1).collect();
        if !of_plot.is_empty() {
            let plot = Plot { x, x_log, label, curves: &of_plot };
            let slopes = if x_log { slopes(&of_plot, x) } else { String::new() };
            out.push_str(&format!("<figure><figcaption>{heading}</figcaption>{}{slopes}</figure>", draw(&plot, class)));
        }
    }
    out
}

/// How each line of a plot grows, in words.
fn slopes(curves: &[&Curve], x: &str) -> String {
    let slope = |curve: &&Curve| curve.slope().map(|slope| format!("{} {x}<sup>{slope:.2}</sup>", escape(&curve.name)));
    format!("<p class=\"slopes\">grows as: {}</p>", curves.iter().filter_map(slope).collect::<Vec<_>>().join(" · "))
}

fn histograms(report: &Report) -> String {
    let mut out = String::new();
    for (id, heading) in HISTOGRAMS {
        let Some(curve) = report.curves.iter().find(|curve| curve.plot == format!("{id}.histogram")) else { continue };
        let mark = |name: &'static str| {
            let row = report.rows.iter().find(|row| row.id == format!("{id}.{name}"))?;
            Some((name, row.ours()?.value))
        };
        let marks: Vec<(&str, f64)> = ["p50", "p99"].into_iter().filter_map(mark).collect();
        out.push_str(&format!("<figure><figcaption>{heading}</figcaption>{}</figure>", histogram::draw(curve, &marks)));
    }
    match out.is_empty() {
        true => out,
        false => format!(
            "<section><h2>How times are spread</h2><p>How many of all lie in each fifth of a doubling.</p><div class=\"plots\">{out}</div></section>"
        ),
    }
}

fn instructions(report: &Report) -> String {
    if report.instructions.is_empty() {
        return String::new();
    }
    let rows: String = report.instructions.iter().map(|(path, count)| format!("<tr><th>{path}</th><td>{count}</td></tr>")).collect();
    format!(
        "<section><h2>Instructions of the hot paths</h2><p>Counted by callgrind, an operation each; joins, encodings and decodings are of 1,000 regions.</p><table>{rows}</table></section>"
    )
}
