//! The committed report, which new figures are held against.

use std::path::Path;

use benches::report::Report;

/// Where it lies, from the repository's root.
pub(super) const COMMITTED: &str = "benches/report.json";

/// Reads it.
pub(super) fn committed() -> Result<Report, String> {
    let text =
        std::fs::read_to_string(COMMITTED).map_err(|error| format!("{COMMITTED} cannot be read: {error}; `report --keep` makes it"))?;
    serde_json::from_str(&text).map_err(|error| format!("{COMMITTED}: {error}"))
}

/// A report as the committed file has it.
pub(super) fn json(report: &Report) -> Result<String, String> {
    serde_json::to_string_pretty(report).map(|json| json + "\n").map_err(|error| error.to_string())
}

pub(super) fn write(path: impl AsRef<Path>, text: &str) -> Result<(), String> {
    let path = path.as_ref();
    std::fs::write(path, text).map_err(|error| format!("{} cannot be written: {error}", path.display()))
}
