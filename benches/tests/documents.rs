//! The figures in the documents are those of the committed report.

use std::path::Path;

use benches::report::{Report, generated};

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn documents_show_the_committed_report() {
    let report: Report = serde_json::from_str(&text("benches/report.json"))
        .expect("benches/report.json is a report");
    for part in generated(&report) {
        let document = text(part.document);
        let expected = part
            .put_into(&document)
            .unwrap_or_else(|| panic!("{} lacks its markers", part.document));
        assert!(
            document == expected,
            "{} differs from benches/report.json: run `benches -- table`",
            part.document
        );
    }
}

/// Six rows, each with a figure in its second cell: no row of the report went missing or was
/// renamed.
#[test]
fn readme_shows_six_figures() {
    let text = text("README.md");
    let part = text
        .split("<!-- figures:begin -->")
        .nth(1)
        .and_then(|rest| rest.split("<!-- figures:end -->").next())
        .expect("the markers of the figures");
    let rows: Vec<&str> = part.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert_eq!(rows.len(), 6);
    for row in rows {
        let measured = row.split('|').nth(2).unwrap_or_default();
        assert!(measured.contains(|c: char| c.is_ascii_digit()), "{row}");
    }
}

#[test]
fn committed_report_has_no_wrong_answer_of_ours() {
    let report: Report = serde_json::from_str(&text("benches/report.json"))
        .expect("benches/report.json is a report");
    assert!(report.rows.iter().filter_map(|row| row.ours()).all(|ours| ours.right));
    assert!(report.rows.len() > 40, "all work is in it");
}

/// The rows of the long table, as cells.
fn table_rows() -> Vec<Vec<String>> {
    let text = text("docs/performance.md");
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

/// Each `(12x)` in a cell of others' figures, with whose it is: worked out here once more, from the
/// JSON and nothing else.
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
fn every_ratio_is_that_of_two_figures_of_the_report() {
    let report: serde_json::Value =
        serde_json::from_str(&text("benches/report.json")).expect("benches/report.json is JSON");
    let rows = report["rows"].as_array().expect("rows");
    let mut seen = 0;
    for line in table_rows() {
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

/// Where the repository's files are read by those who see only a crate's page.
const ONLINE: &str = "https://github.com/replicated-counter/replicated-counter/blob/main/";

/// Every document: those in the root and in docs, and the README of each crate.
fn documents() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let names = |folder: &str| -> Vec<String> {
        let folder = root.join(folder);
        let entries = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect()
    };
    let is_document = |name: &String| name.ends_with(".md");
    let mut documents: Vec<String> = names("").into_iter().filter(is_document).collect();
    documents
        .extend(names("docs").into_iter().filter(is_document).map(|name| format!("docs/{name}")));
    let readmes = names("").into_iter().map(|folder| format!("{folder}/README.md"));
    documents.extend(readmes.filter(|readme| root.join(readme).exists()));
    documents.sort();
    documents
}

#[test]
fn every_document_is_found() {
    let documents = documents();
    for wanted in ["README.md", "docs/removal.md", "docs/windows.md", "counter-web/README.md"] {
        assert!(documents.iter().any(|found| found == wanted), "{wanted} in {documents:?}");
    }
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
}

/// What a link in `document` points to within the repository, and the anchor there. None for the
/// rest of the web.
fn target(document: &str, link: &str) -> Option<(String, String)> {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = match path.strip_prefix(ONLINE) {
        Some(path) => path.to_owned(),
        None if path.contains("://") => return None,
        None if path.is_empty() => document.to_owned(),
        None => Path::new(document).with_file_name(path).display().to_string(),
    };
    Some((path, anchor.to_owned()))
}

#[test]
fn links_lead_to_files_and_headings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut seen = 0;
    for document in documents() {
        let text = text(&document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let Some((path, wanted)) = target(&document, link) else { continue };
            assert!(root.join(&path).exists(), "{document} links to {path}, which is not there");
            let found = wanted.is_empty()
                || self::text(&path)
                    .lines()
                    .filter_map(|line| line.strip_prefix('#'))
                    .any(|heading| anchor(heading.trim_start_matches('#')) == wanted);
            assert!(found, "{document} links to {path}#{wanted}, and no heading has that name");
            seen += 1;
        }
    }
    assert!(seen > 60, "{seen} links");
}

/// A file of the repository that a document names in backquotes, by its whole path, is there.
#[test]
fn files_that_documents_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let crates = ["counter-core/", "counter-net/", "counter-web/", "benches/", "deploy/", "docs/"];
    let mut seen = 0;
    for document in documents() {
        let text = text(&document);
        for name in text.split('`').skip(1).step_by(2) {
            let is_path = crates.iter().any(|start| name.starts_with(start))
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
            if is_path {
                assert!(root.join(name).exists(), "{document} names {name}, which is not there");
                seen += 1;
            }
        }
    }
    assert!(seen > 30, "{seen} files");
}
