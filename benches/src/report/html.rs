//! The report as one page that needs nothing else: no network, no script.

use super::Report;
use super::page_rows::{article, class, escape, time};
use super::svg::{Plot, draw};
use crate::plot::Curve;

/// Sections of the page: what the rows' ids begin with, a heading, and what it is about.
const SECTIONS: [(&str, &str, &str); 6] = [
    ("w1", "Adds", "1,000,000 times +1 over 32 regions, one writer."),
    (
        "w2",
        "Joins",
        "Two replicas of R regions and 3 writers, every region changed on both sides; alone, through bytes, and in bytes and heap.",
    ),
    ("w3", "One change", "+1 to one of 100,000 counters: what it costs to produce, to send, to apply."),
    ("w4", "Reads", "All regions one by one, and one counter's total."),
    ("threads", "Threads", "64 threads adding through handles on this machine's cores."),
    ("system", "The whole system", "Real processes on loopback, real sockets, clients on the same machine."),
];

/// The plots: id, heading, x axis, whether x goes by powers of ten.
const PLOTS: [(&str, &str, &str, bool); 8] = [
    ("w2.join", "Join in memory", "regions", true),
    ("w2.send", "Encode, decode and join", "regions", true),
    ("w2.writers", "Join of 1,000 regions", "writers", true),
    ("w4.sum", "Read all regions", "regions", true),
    ("system.visible", "Click to the other nodes' clients", "percent of clicks", false),
    ("system.fan_out", "Click to all of 1,000 sockets", "percent of clicks", false),
    ("system.fan_out.clients", "Click to all sockets, median", "sockets", true),
    ("system.fresh", "Fresh process, until synced", "counters", true),
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
         <p>Both axes by powers of ten; x^1 is in proportion.</p><div class=\"plots\">{}</div></section>{sections}{}\
         <footer><p>Bars are by logarithm, from the best figure of the work to its worst; ratios say how many times ours is better. \
         ± is half the distance of the quartiles of interleaved rounds. Answers are asserted: who is wrong is shown as wrong. \
         * published or measured elsewhere, not in this run.</p><ul>{skipped}</ul></footer></main></html>\n",
        include_str!("style.css"),
        origin(report),
        headline(report),
        plots(report),
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
    for (id, heading, x, x_log) in PLOTS {
        let of_plot: Vec<&Curve> = curves.iter().filter(|curve| curve.plot == id && curve.points.len() > 1).collect();
        if !of_plot.is_empty() {
            let plot = Plot { x, x_log, label: time, curves: &of_plot };
            out.push_str(&format!("<figure><figcaption>{heading}</figcaption>{}</figure>", draw(&plot, class)));
        }
    }
    out
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
