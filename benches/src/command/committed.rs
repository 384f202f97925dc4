//! The committed report, which new figures are compared with.

use std::path::Path;

use benches::report::Report;

/// Its path from the repository's root.
pub(super) const COMMITTED: &str = "benches/report.json";

/// Reads the committed report.
pub(super) fn committed() -> Result<Report, String> {
    read(COMMITTED)
}

/// Reads a report.
pub(super) fn read(path: &str) -> Result<Report, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{path} cannot be read: {error}; run this from the repository's root, and `report` to make a report"))?;
    serde_json::from_str(&text)
        .map_err(|error| format!("{path} is not a report of this version: {error}"))
}

/// A report in the form of the committed file.
pub(super) fn json(report: &Report) -> Result<String, String> {
    serde_json::to_string_pretty(report).map(|json| json + "\n").map_err(|error| error.to_string())
}

pub(super) fn write(path: impl AsRef<Path>, text: &str) -> Result<(), String> {
    let path = path.as_ref();
    std::fs::write(path, text)
        .map_err(|error| format!("{} cannot be written: {error}", path.display()))
}
