//! Every test that docs/reports.md names exists.

use std::fs;
use std::path::Path;

#[test]
fn every_named_test_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let list = fs::read_to_string(root.join("docs/reports.md")).expect("the list is there");
    let (mut rows, mut named) = (0, 0);
    for row in list.lines().filter(|line| line.starts_with("| ")) {
        // The last column holds pairs of a quoted path and a quoted test.
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let quoted: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if quoted.is_empty() {
            assert!(["test", "---"].contains(&tests), "no test is named: {row}");
            continue;
        }
        rows += 1;
        for pair in quoted.chunks(2) {
            let [file, test] = pair else { panic!("a path without a test: {row}") };
            let source = fs::read_to_string(root.join(file))
                .unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(source.contains(&format!("fn {test}(")), "{file} has no test {test}");
            named += 1;
        }
    }
    assert!(rows >= 22 && named >= rows, "{rows} rows, {named} tests");
}
