//! A peer that loses counts is shown as wrong in every table, and never as fast.

use benches::contender::{Contender, Ours};
use benches::figures::row::{Need, Row};
use benches::figures::table;
use benches::report::{Machine, Report, html, markdown};
use benches::work::{Join, sum_of_all};
use benches::{Series, Shape, Values};
use counter_core::Amounts;

/// Ours with a join that does nothing, which is very fast.
struct Loser;

impl Contender for Loser {
    const NAME: &'static str = "loser";
    type State = <Ours as Contender>::State;

    fn empty(replica: usize) -> Self::State {
        Ours::empty(replica)
    }
    fn copy(state: &Self::State) -> Self::State {
        Ours::copy(state)
    }
    fn change(state: &mut Self::State, writer: usize, region: &str, by: Amounts) {
        Ours::change(state, writer, region, by);
    }
    fn join(_into: &mut Self::State, _from: &mut Self::State) {}
    fn encode(state: &Self::State) -> Vec<u8> {
        Ours::encode(state)
    }
    fn receive(_into: &mut Self::State, _bytes: &[u8]) {}
    fn value(state: &Self::State, region: &str) -> i128 {
        Ours::value(state, region)
    }
    fn sum(state: &Self::State) -> i128 {
        Ours::sum(state)
    }
}

fn report() -> Report {
    let shape = Shape::new(Values::Formula, 32, 3);
    let (ours, loser) = (Join::<Ours>::new(&shape), Join::<Loser>::new(&shape));
    assert!(ours.right && !loser.right);
    assert!(!sum_of_all(&shape, &loser).right);
    let series =
        [Series::new("ours".into(), &[ours.join()]), Series::new("loser".into(), &[loser.join()])];
    let row =
        Row::times("w2.join.32", "a join", &series).needs(Need::Better(0.0, "loser".into()), "");
    let (curves, instructions, skipped) = (Vec::new(), Default::default(), Vec::new());
    Report { machine: Machine::here(), quick: true, rows: vec![row], curves, instructions, skipped }
}

#[test]
fn wrong_peer_is_shown_as_wrong() {
    let report = report();
    assert!(markdown(&report).contains("| loser wrong |"), "{}", markdown(&report));
    assert!(table::text(&report.rows).contains("loser wrong"), "{}", table::text(&report.rows));
    let page = html(&report);
    assert!(
        page.contains("<b class=\"bad\">wrong</b>") && page.contains("loser in a join"),
        "{page}"
    );
}

#[test]
fn wrong_peer_has_no_ratio_and_no_curve() {
    let report = report();
    assert_eq!(report.rows[0].ratio("loser"), None);
    assert_eq!(report.rows[0].met(), None);
    assert!(report.scaling().iter().all(|curve| curve.name != "loser"));
}

#[test]
fn a_wrong_answer_of_ours_is_not_met_whatever_is_required() {
    let mut row = report().rows.remove(0);
    row.figures.swap(0, 1);
    row.figures[0].name = "ours".into();
    assert_eq!((row.met(), table::verdict(&row)), (Some(false), "WRONG"));
}
