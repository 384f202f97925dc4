//! What the README claims is what the committed report says.

use std::path::Path;

use benches::report::{Report, between_markers, readme};

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn readme_table_is_the_committed_report() {
    let report: Report = serde_json::from_str(&text("report.json")).expect("benches/report.json is a report");
    let readme_text = text("../README.md");
    let expected = between_markers(&readme_text, &readme(&report)).expect("README.md has the markers of the table");
    assert!(readme_text == expected, "README.md's table differs from benches/report.json: run `benches -- report --keep`");
}

#[test]
fn committed_report_has_no_wrong_answer_of_ours() {
    let report: Report = serde_json::from_str(&text("report.json")).expect("benches/report.json is a report");
    assert!(report.rows.iter().filter_map(|row| row.ours()).all(|ours| ours.right));
    assert!(report.rows.len() > 40, "all work is in it");
}
