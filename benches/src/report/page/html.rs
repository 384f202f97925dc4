//! The report as one page that needs no network and no script.

use super::plots::{histograms, plots};
use super::rows::{article, escape};
use super::summary::summary;
use crate::report::Report;

/// Sections of the page: the prefix of their rows' ids, a heading, and a description.
const SECTIONS: [(&str, &str, &str); 11] = [
    ("w1", "Adds", "1,000,000 times +1 over 32 regions, one writer."),
    (
        "w2",
        "Joins",
        "Two replicas of R regions and 3 writers, every region changed on both sides; alone, through bytes, and in bytes and heap.",
    ),
    (
        "w3",
        "One change",
        "+1 to one of 100,000 counters: what it costs to produce, to send, to apply.",
    ),
    ("w4", "Reads", "All regions one by one, and one counter's total."),
    (
        "windows",
        "Windows",
        "A window counts the adds of a recent time, here of the last minute, beside a counter that counts them all.",
    ),
    (
        "past",
        "After a long life",
        "Replicas that have seen 100,000 resets, or 100,000 counters made and removed, beside fresh ones with the same 1,000 counters.",
    ),
    ("threads", "Threads", "64 threads adding through handles on this machine's cores."),
    (
        "system",
        "The whole system",
        "Real processes on loopback, real sockets, clients on the same machine.",
    ),
    (
        "hosts",
        "Between hosts",
        "Real processes, each in a network namespace of its own: packets lost, and a cable pulled.",
    ),
    (
        "far",
        "Far apart",
        "Real processes, 200 ms from each other: a proxy in a network namespace delays each way, and the handshake.",
    ),
    (
        "sim",
        "Between continents",
        "The same replicator in the simulator: virtual time, 20 to 400 ms a message. The same on every machine.",
    ),
];

const HOW_TO_READ: &str = "Bars begin at ours: to the right ours is better, to the left worse, as far as the powers of ten between the two; \
    the last number says how many times better ours is. ± is half the distance of the quartiles of interleaved rounds, and p99 the time \
    that 99 of 100 stayed within (with fewer than 100 rounds, the slowest). Answers are asserted: \
    who is wrong is shown as wrong. * published or measured elsewhere, not in this run: it decides nothing.";

/// The page.
pub fn html(report: &Report) -> String {
    let mut nav = String::new();
    let mut sections = String::new();
    let mut add = |id: &str, heading: &str, about: &str, class: &str, inner: &str| {
        if !inner.is_empty() {
            nav.push_str(&format!("<a href=\"#{id}\">{heading}</a>"));
            sections
                .push_str(&format!("<section id=\"{id}\"><h2>{heading}</h2><p>{about}</p><div class=\"{class}\">{inner}</div></section>"));
        }
    };
    let growth =
        "Each line's growth in words: R<sup>1</sup> is in proportion, R<sup>0</sup> not at all.";
    add("growth", "How cost grows", growth, "plots", &plots(report));
    add(
        "spread",
        "How times are spread",
        "How many of all lie in each fifth of a doubling.",
        "plots",
        &histograms(report),
    );
    for (prefix, heading, about) in SECTIONS {
        let rows = report.rows.iter().filter(|row| row.id.split('.').next() == Some(prefix));
        add(prefix, heading, about, "rows", &rows.map(article).collect::<String>());
    }
    let counted = "Counted by callgrind, an operation each: they do not drift with the machine. What has no number in its name is of 1,000 \
        regions, adds of 32.";
    add("instructions", "Instructions of the hot paths", counted, "", &instructions(report));
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Replicated counter: benchmarks</title><style>{}</style><main><h1>Replicated counter: benchmarks</h1>{}<nav>{nav}</nav>{}\
         <details><summary>How to read the bars</summary><p>{HOW_TO_READ}</p></details>{sections}</main></html>\n",
        include_str!("style.css"),
        origin(report),
        summary(report),
    )
}

/// The machine, the commit, the versions.
fn origin(report: &Report) -> String {
    let machine = &report.machine;
    let mut parts = vec![
        ("commit", machine.commit.clone()),
        ("run", if report.quick { "quick, fewer rounds".into() } else { "full".into() }),
        ("machine", format!("{}, {} threads", machine.processor, machine.cores)),
        ("kernel", machine.kernel.clone()),
        ("compiler", machine.rustc.split(" (").next().unwrap_or_default().to_owned()),
    ];
    let versions: Vec<String> =
        machine.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    parts.push(("beside", versions.join(", ")));
    let part = |(name, value): &(&str, String)| {
        format!("<div><dt>{name}</dt><dd>{}</dd></div>", escape(value))
    };
    format!("<dl class=\"origin\">{}</dl>", parts.iter().map(part).collect::<String>())
}

fn instructions(report: &Report) -> String {
    let row = |(path, count): (&String, &u64)| {
        format!("<tr><th>{}</th><td class=\"num\">{}</td></tr>", escape(path), grouped(*count))
    };
    let rows: String = report.instructions.iter().map(row).collect();
    if rows.is_empty() { rows } else { format!("<table class=\"plain boxed\">{rows}</table>") }
}

/// A whole number with separated thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let grouped: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|chunk| std::str::from_utf8(chunk).unwrap_or_default())
        .collect();
    grouped.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        assert_eq!(
            (grouped(7), grouped(1_000), grouped(1_691_204)),
            ("7".into(), "1,000".into(), "1,691,204".into())
        );
    }
}
