//! The summary at the top of the page: requirements that are met or not, wrong answers, the rows
//! furthest from their bound, and the workloads that were not measured.

use super::rows::{escape, micro};
use crate::figures::row::{Figure, Need, Row};
use crate::figures::table::{amount, need, times};
use crate::report::Report;
use crate::report::sentences::sentences;

/// The figures shown to a reader who stops here.
const TILES: [(&str, &str); 4] = [
    ("w1.handle", "an add by handle"),
    ("w2.join.100000", "join of 100,000 regions"),
    ("system.visible.p50", "add seen at the other nodes, p50"),
    ("system.fresh.100000", "fresh node, 100,000 counters"),
];

/// The top of the page.
pub(super) fn summary(report: &Report) -> String {
    let (met, judged) = (
        report.rows.iter().filter(|row| row.met() == Some(true)),
        report.rows.iter().filter(|row| row.met().is_some()),
    );
    let sum = format!(
        "<p class=\"sum\"><b>{}</b> of {} required figures met. {}</p>",
        met.clone().count(),
        judged.count(),
        answers(report)
    );
    let unmet: String =
        report.rows.iter().filter(|row| row.met() == Some(false)).map(unmet_line).collect();
    let unmet = if unmet.is_empty() {
        "<li>Nothing: all that is required holds.</li>".into()
    } else {
        unmet
    };
    let slowest: String = report.slowest().iter().map(slow_line).collect();
    let met_lines: String = met.map(met_line).collect();
    format!(
        "<header id=\"summary\">{}{sum}{}<div class=\"cards\"><article class=\"card\"><h2>What does not hold</h2><ul>{unmet}</ul></article>\
         <article class=\"card\"><h2>Slowest beside their bounds</h2><ol>{slowest}</ol></article></div>{}\
         <details><summary>What holds</summary><table class=\"plain\">{met_lines}</table></details></header>",
        in_sentences(report),
        tiles(report),
        skipped(report),
    )
}

/// The report for readers who know none of its words.
fn in_sentences(report: &Report) -> String {
    let sentences = sentences(report).into_iter().map(|line| escape(&micro(line)));
    format!("<p class=\"lead\">{}</p>", sentences.collect::<Vec<_>>().join(" "))
}

fn answers(report: &Report) -> String {
    let wrong = |row: &Row| {
        row.figures
            .iter()
            .filter(|figure| !figure.right)
            .map(|figure| format!("{} in {}", figure.name, row.work))
            .collect()
    };
    let wrong: Vec<String> =
        report.rows.iter().flat_map(|row| -> Vec<String> { wrong(row) }).collect();
    match wrong.is_empty() {
        true => "Every answer was right, the peers' too.".into(),
        false => format!("<b class=\"bad\">Wrong answers:</b> {}.", escape(&wrong.join("; "))),
    }
}

fn link(row: &Row) -> String {
    format!("<a href=\"#{}\">{}</a>", escape(&row.id), escape(&row.work))
}

fn ours(row: &Row) -> String {
    row.ours().map_or(String::new(), |ours| micro(amount(ours.value, row.unit)))
}

fn unmet_line(row: &Row) -> String {
    let says = match (&row.need, row.ours()) {
        (_, Some(ours)) if !ours.right => "<b class=\"bad\">the answer is wrong</b>".into(),
        (Need::Better(least, name), _) => {
            let ratio = row.ratio(name).map_or(String::new(), times);
            format!("{}: {ratio} as good as {}, {least}x is required", ours(row), escape(name))
        }
        (Need::Within(most, name), _) => {
            let ratio = row.ratio(name).map_or(String::new(), |ratio| times(1.0 / ratio));
            format!("{}: {ratio} of {}, {most}x at most is required", ours(row), escape(name))
        }
        _ => format!("{}, {} is required", ours(row), escape(&micro(need(row)))),
    };
    format!("<li>{}<small>{says}</small></li>", link(row))
}

fn slow_line((row, bound, factor): &(&Row, &Figure, f64)) -> String {
    let (ours, floor) = (ours(row), micro(amount(bound.value, row.unit)));
    format!(
        "<li>{}<small><b>{}</b> the {}: {ours}, {floor}</small></li>",
        link(row),
        times(*factor),
        escape(&bound.name)
    )
}

fn met_line(row: &Row) -> String {
    format!(
        "<tr><th>{}</th><td class=\"num\">{}</td><td>{}</td></tr>",
        link(row),
        ours(row),
        escape(&micro(need(row)))
    )
}

fn skipped(report: &Report) -> String {
    let lines: String =
        report.skipped.iter().map(|line| format!("<li>{}</li>", escape(line))).collect();
    match lines.is_empty() {
        true => String::new(),
        false => {
            format!(
                "<details open><summary>What was not measured, and how to get it</summary><ul class=\"notes\">{lines}</ul></details>"
            )
        }
    }
}

fn tiles(report: &Report) -> String {
    let tile = |(id, text): &(&str, &str)| -> Option<String> {
        let row = report.rows.iter().find(|row| row.id == *id)?;
        let peer = row.figures.iter().find(|figure| figure.name == "crdts" || figure.published);
        let peer = peer.and_then(|peer| {
            Some(format!("{} better than {}", times(row.ratio(&peer.name)?), escape(&peer.name)))
        });
        Some(format!(
            "<a class=\"tile\" href=\"#{id}\"><b>{}</b><span>{text}</span><small>{}</small></a>",
            ours(row),
            peer.unwrap_or_default()
        ))
    };
    format!("<div class=\"tiles\">{}</div>", TILES.iter().filter_map(tile).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::row::Unit;
    use crate::report::Machine;

    fn row(id: &str, ours: f64, bound: f64) -> Row {
        Row::exact(id, id, Unit::Nanoseconds, &[("ours", ours), ("bound: b", bound)])
    }

    fn report(rows: Vec<Row>) -> Report {
        let (curves, instructions, skipped) = (Vec::new(), Default::default(), Vec::new());
        Report { machine: Machine::here(), quick: true, rows, curves, instructions, skipped }
    }

    #[test]
    fn three_slowest_are_different_works_worst_first() {
        let rows = vec![
            row("a.x.1", 20.0, 10.0),
            row("a.x.2", 90.0, 10.0),
            row("b.x", 30.0, 10.0),
            row("c.x", 5.0, 10.0),
            row("d.x", 40.0, 10.0),
        ];
        let report = report(rows);
        let names: Vec<&str> = report.slowest().iter().map(|slow| slow.0.id.as_str()).collect();
        assert_eq!(names, ["a.x.2", "d.x", "b.x"]);
    }

    #[test]
    fn unmet_and_wrong_rows_are_at_the_top() {
        let rows = vec![
            row("a.x", 20.0, 10.0).needs(Need::Within(1.5, "bound: b".into()), ""),
            row("b.x", 1.0, 1.0).wrong("loser"),
        ];
        let top = summary(&report(rows));
        assert!(top.contains("20.0 ns: 2.00x of bound: b, 1.5x at most is required"), "{top}");
        assert!(top.contains("loser in b.x") && top.contains("<b>0</b> of 1 required"), "{top}");
    }
}
