//! The README's figures are those of the committed report.

use std::path::Path;

use benches::report::{Report, between_markers, readme};

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn readme_table_is_the_committed_report() {
    let report: Report =
        serde_json::from_str(&text("report.json")).expect("benches/report.json is a report");
    let readme_text = text("../README.md");
    let expected = between_markers(&readme_text, &readme(&report))
        .expect("README.md has the markers of the table");
    assert!(
        readme_text == expected,
        "README.md's table differs from benches/report.json: run `benches -- report --keep`"
    );
}

#[test]
fn committed_report_has_no_wrong_answer() {
    let report: Report =
        serde_json::from_str(&text("report.json")).expect("benches/report.json is a report");
    assert!(report.rows.iter().filter_map(|row| row.ours()).all(|ours| ours.right));
    assert!(report.rows.len() > 40, "all work is in it");
}

/// The cells of the README's table, by row.
fn readme_rows() -> Vec<Vec<String>> {
    let text = text("../README.md");
    let table = text
        .split("<!-- report:begin -->")
        .nth(1)
        .and_then(|rest| rest.split("<!-- report:end -->").next())
        .expect("the table's markers");
    let lines = table.lines().filter(|line| line.starts_with("| ")).skip(2);
    lines
        .map(|line| {
            line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

/// Each factor `(12x)` in a cell, with its contender. It is computed here again, from the JSON
/// alone.
fn ratios(cell: &str) -> Vec<(String, f64)> {
    let ratio = |part: &str| {
        let (head, ratio) = part.rsplit_once(" (")?;
        let ratio = ratio.split("x)").next()?.parse().ok()?;
        let name = head.rsplitn(3, ' ').nth(2)?.trim_start_matches(", ").trim_end_matches("\\*");
        Some((name.to_owned(), ratio))
    };
    cell.split_inclusive("x)").filter_map(ratio).collect()
}

#[test]
fn readme_ratios_follow_from_the_committed_report() {
    let report: serde_json::Value =
        serde_json::from_str(&text("report.json")).expect("benches/report.json is JSON");
    let rows = report["rows"].as_array().expect("rows");
    let mut seen = 0;
    for line in readme_rows() {
        let row = rows
            .iter()
            .find(|row| row["work"] == line[0])
            .unwrap_or_else(|| panic!("{} is in no row of the report", line[0]));
        let value = |name: &str| {
            let figure = row["figures"]
                .as_array()
                .expect("figures")
                .iter()
                .find(|figure| figure["name"] == name);
            figure.unwrap_or_else(|| panic!("{name} is not in {}", line[0]))["value"]
                .as_f64()
                .expect("a number")
        };
        for (name, shown) in line[2..4].iter().flat_map(|cell| ratios(cell)) {
            let (ours, other) = (value("ours"), value(&name));
            let ratio = if row["unit"] == "per_second" { ours / other } else { other / ours };
            assert!(
                (ratio - shown).abs() <= 0.5_f64.max(ratio * 0.006)
                    && (shown >= 10.0 || (ratio - shown).abs() <= 0.006),
                "{name} in {}: {shown}, {ratio}",
                line[0]
            );
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen} ratios");
}
