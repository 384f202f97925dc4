//! The committed report, which new figures are held against.

use std::path::Path;

use benches::report::Report;

/// Where it lies, from the repository's root.
pub(super) const COMMITTED: &str = "benches/report.json";

/// Reads it.
pub(super) fn committed() -> Result<Report, String> {
    read(COMMITTED)
}

/// Reads a report.
pub(super) fn read(path: &str) -> Result<Report, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{path} cannot be read: {error}; this is run from the repository's root, where `report` makes reports"))?;
    serde_json::from_str(&text)
        .map_err(|error| format!("{path} is not a report of this version: {error}"))
}

/// A report as the committed file has it.
pub(super) fn json(report: &Report) -> Result<String, String> {
    serde_json::to_string_pretty(report).map(|json| json + "\n").map_err(|error| error.to_string())
}

pub(super) fn write(path: impl AsRef<Path>, text: &str) -> Result<(), String> {
    let path = path.as_ref();
    std::fs::write(path, text)
        .map_err(|error| format!("{} cannot be written: {error}", path.display()))
}
