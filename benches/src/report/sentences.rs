//! The report in six sentences, for readers who know none of its words.

use super::Report;
use super::markdown::in_words;

/// A sentence whose figures come from the report. `{}` stands for the next figure.
struct Template {
    text: &'static str,
    /// A row, and the contender whose figure it is.
    figures: &'static [(&'static str, &'static str)],
}

const TEMPLATES: [Template; 5] = [
    Template {
        text: "Adding 1 to a counter takes {}; one atomic addition of the processor, the least that \
               any counter needs, takes {}.",
        figures: &[("w1.handle", "ours"), ("w1.handle", "bound: bare fetch_add")],
    },
    Template {
        text: "Joining, which means taking in all that another copy counted, takes {} for 100,000 \
               counts; the crdts crate takes {}.",
        figures: &[("w2.join.100000", "ours"), ("w2.join.100000", "crdts")],
    },
    Template {
        text: "A click at one of three nodes is shown by both others after {}, and 99 of 100 clicks \
               within {}.",
        figures: &[("system.visible.p50", "ours"), ("system.visible.p99", "ours")],
    },
    Template {
        text: "A node that starts with nothing has fetched all 100,000 counters of its cluster, and \
               serves them, after {}.",
        figures: &[("system.fresh.100000", "ours")],
    },
    Template {
        text: "Adds that wait until the disk has them: {} one at a time and {} where 64 wait at a \
               time; redb, the database underneath, reaches {} on its own.",
        figures: &[
            ("system.durable.1", "ours"),
            ("system.durable.64", "ours"),
            ("system.durable.1", "redb, single puts"),
        ],
    },
];

/// Ends the sentences: what stands beside our figures.
const BESIDE: &str = "Whatever stands beside our figures did the same work in the same run on this \
                      machine, and each of its answers was checked, like ours.";

/// The sentences. One whose figures were not all measured, or are wrong, is left out.
pub(super) fn sentences(report: &Report) -> Vec<String> {
    let measured = TEMPLATES.iter().filter_map(|template| filled(report, template));
    measured.chain([BESIDE.to_owned()]).collect()
}

fn filled(report: &Report, template: &Template) -> Option<String> {
    let mut parts = template.text.split("{}");
    let mut sentence = parts.next()?.to_owned();
    for ((id, whose), part) in template.figures.iter().zip(parts) {
        let row = report.rows.iter().find(|row| row.id == *id)?;
        let figure = row.figure(whose).filter(|figure| figure.right)?;
        sentence.push_str(&in_words(figure.value, row.unit));
        sentence.push_str(part);
    }
    Some(sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::row::{Row, Unit};
    use crate::report::Machine;

    fn report(rows: Vec<Row>) -> Report {
        let (curves, instructions, skipped) = (Vec::new(), Default::default(), Vec::new());
        Report { machine: Machine::here(), quick: true, rows, curves, instructions, skipped }
    }

    #[test]
    fn sentences_have_every_figure_or_are_left_out() {
        let all = TEMPLATES.iter().flat_map(|template| template.figures);
        assert!(
            TEMPLATES
                .iter()
                .all(|template| template.text.matches("{}").count() == template.figures.len())
        );
        assert_eq!(all.count(), 10);
        let times = [("ours", 3.9), ("bound: bare fetch_add", 3.1)];
        let adds = Row::exact("w1.handle", "an add", Unit::Nanoseconds, &times);
        let fresh = |ours| {
            let name = "system.fresh.100000";
            Row::exact(name, name, Unit::Nanoseconds, &[("ours", ours)])
        };
        let said = sentences(&report(vec![adds, fresh(282e6)]));
        assert!(said[0].starts_with("Adding 1 to a counter takes 3.90 ns; one atomic"), "{said:?}");
        assert!(said[1].ends_with("serves them, after 282 ms."), "{said:?}");
        assert_eq!(said.len(), 3);
        let wrong = Row::exact("system.fresh.100000", "", Unit::Nanoseconds, &[]).wrong("ours");
        assert_eq!(sentences(&report(vec![wrong])), [BESIDE]);
    }
}
